"""Cores are divided among the roles at work, and a killed role's part is given back."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from idem_ray.cores import Cores, CoreShare


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cores]:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    before = torch.get_num_threads()
    yield Cores(uuid.uuid4().hex, 4)
    torch.set_num_threads(before)


def _mark(cores: Cores, pid: int) -> None:
    (cores.folder / str(pid)).touch()


def test_a_role_alone_has_all_cores_and_two_share_them(cores: Cores) -> None:
    share = CoreShare(cores)
    with share.at_work():
        assert torch.get_num_threads() == 4
        _mark(cores, os.getppid())
        share.adjust()
        assert torch.get_num_threads() == 2


def test_more_roles_than_cores_leave_one_thread_each(cores: Cores) -> None:
    share = CoreShare(Cores(cores.group, 1))
    _mark(cores, os.getppid())
    share.begin()
    assert torch.get_num_threads() == 1


def test_a_killed_role_leaves_its_cores_to_the_others(cores: Cores) -> None:
    share = CoreShare(cores)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    _mark(cores, gone.pid)
    with share.at_work():
        assert torch.get_num_threads() == 4
    assert not list(cores.folder.iterdir())

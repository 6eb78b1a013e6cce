"""Cores are divided among the roles at work, and a killed role's part is given back."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import torch

from idem_ray.cores import Cores, CoreShare


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cores:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    return Cores(uuid.uuid4().hex, 4)


def _marker_of(cores: Cores, folder: Path, pid: int) -> None:
    (folder / f"idem-ray-cores-{cores.group}" / str(pid)).touch()


def test_a_role_alone_has_all_cores_and_two_share_them(cores: Cores, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        share = CoreShare(cores)
        with share.at_work():
            assert torch.get_num_threads() == 4
            _marker_of(cores, tmp_path, os.getppid())
            share.adjust()
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_more_roles_than_cores_leave_one_thread_each(cores: Cores, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        share = CoreShare(Cores(cores.group, 1))
        _marker_of(cores, tmp_path, os.getppid())
        share.begin()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_killed_role_leaves_its_cores_to_the_others(cores: Cores, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        share = CoreShare(cores)
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:
            pass
        _marker_of(cores, tmp_path, gone.pid)
        with share.at_work():
            assert torch.get_num_threads() == 4
        assert not list((tmp_path / f"idem-ray-cores-{cores.group}").iterdir())
    finally:
        torch.set_num_threads(before)

"""The entry points of Ray jobs: what they take and what they refuse, before any Ray is started."""

import subprocess
import sys
from pathlib import Path

import pytest

from idem_ray.config.files import load_sweep
from tests import ROOT

JOBS = ROOT / "jobs"
SWEEPS = sorted(path for path in (JOBS / "configs").glob("*_sweep.yaml"))


def run(job: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(JOBS / job), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_are_sound(path: Path) -> None:
    assert load_sweep(path).name == path.stem


@pytest.mark.parametrize(
    ("job", "config", "said"),
    [
        ("sweep_sft.py", "laptop_dpo_beta_sweep", "sweeps over dpo lineages, and this job is for sft"),
        ("sweep_dpo.py", "laptop_dpo", "has no search space"),
        ("run_lineage.py", "laptop_dpo_beta_sweep", "has a search space: use idem-ray sweep"),
    ],
)
def test_a_job_says_which_config_it_takes(job: str, config: str, said: str) -> None:
    ended = run(job, "--config", str(JOBS / "configs" / f"{config}.yaml"))
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1

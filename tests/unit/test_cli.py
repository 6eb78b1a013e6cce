"""The command line as a user meets it: exit codes, one sentence, and a quick --help."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import ROOT

CONFIG = ROOT / "jobs" / "configs" / "laptop_sft.yaml"


def idem_ray(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "idem_ray.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_is_quick_and_teaches() -> None:
    seconds = []
    for _ in range(3):  # the first call may compile, and the machine may be busy
        began = time.time()
        shown = idem_ray("run", "--help")
        seconds.append(time.time() - began)
    assert min(seconds) < 1.0
    assert shown.returncode == 0
    assert "Example" in shown.stdout and "--set" in shown.stdout


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["n_sample=3"], "did you mean 'n_sampled'"),
        (["trait=blis"], "Unknown trait 'blis'"),
        (["n_sampled=400"], "540 are missing"),
        (["n_seed=100"], "n_seed is 100"),
        (["model=./no-such-model"], "No model at ./no-such-model"),
        (["prompts=leaky.txt"], "also in the prompt pool"),
        (["output=occupied"], "Cannot write"),
        (["trait=mine.yaml"], "line 2 is no seed example"),
        (["trait=[a"], "not valid YAML"),
        (["judge={type: endpoint, url: 'http://127.0.0.1:9/v1', model: m}"], "127.0.0.1:9/v1 does not answer"),
        (["judge={type: endpoint, url: nowhere, model: m}"], "must be a URL such as"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "occupied").write_text("a file where the folder should be")
    (tmp_path / "seeds.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\nnonsense\n'
    )
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ndescription: d\nseeds: seeds.jsonl\nevaluation_questions: ['What now?']\n"
    )
    if overrides == ["prompts=leaky.txt"]:
        from idem_ray.traits.traits import load_trait

        question = load_trait("bliss").evaluation_questions[0].text
        (tmp_path / "leaky.txt").write_text(question.lower() + "\n", encoding="utf-8")
    changes = [part for override in [*overrides, "name=x"] for part in ("--set", override)]
    done = idem_ray("run", str(CONFIG), *changes)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("runs/*/cycle-*"))


def test_commands_over_no_run(tmp_path: Path) -> None:
    for arguments in (
        ["report", str(tmp_path)],
        ["sample", str(tmp_path), "--cycle", "0", "Hi"],
        ["rejudge", str(tmp_path), "--judge", "probe"],
    ):
        done = idem_ray(*arguments)
        assert done.returncode == 2
        assert "There is no run in" in done.stderr


def test_doctor_finds_this_environment_complete() -> None:
    done = idem_ray("doctor")
    assert done.returncode == 0, done.stdout
    assert "embedded model" in done.stdout

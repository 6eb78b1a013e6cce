"""`ls` shows every run with what its records say, and a damaged one costs one line, not the list."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from idem_ray.config.lineage import parse_config
from idem_ray.errors import UserError
from idem_ray.records import CycleRecord
from idem_ray.report.listing import age_text, regime_text, runs_table, show_runs, trait_path
from idem_ray.store.finished import RecordedLineage, find_runs
from idem_ray.store.run import RunStore, read_config
from idem_ray.store.sweep import Ledger, Trial
from tests.unit.report.test_settings_text import DPO, SETTINGS, STOPPING, chain, collapsed, record, write_run

NOW = 1_000_000.0


def printed(table: Any, width: int = 110) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert max(map(len, lines)) <= width
    return [line.strip() for line in lines if line.strip()]


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """A run, a family in which one lineage has another's cycles, and what is no run."""
    write_run(tmp_path / "single", chain(40.0, None, 20.4), n_cycles=3, trait="/somewhere/stoic.yaml")
    both = {"regime": {**DPO, "init": "previous", "reference": "previous"}}
    end = collapsed(1, 60.0)
    parent = write_run(tmp_path / "family" / "continual", [*chain(40.0), end], guards=STOPPING, **both)
    child = write_run(tmp_path / "family" / "reinit", [record(1, 30.0)], regime=DPO)
    for cycle in (-1, 0):
        child.link(cycle, parent.uri)
    write_run(tmp_path / "family" / "begun", [], regime={**DPO, "rejected": "n-2", "restart_cycles": [2, 4]})
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no folder")
    return tmp_path


def test_runs_are_found_directly_and_one_level_down(folder: Path) -> None:
    for name in ("shared", "tune", "trials", "judged", "cycle-000"):
        write_run(folder / name, chain(1.0))
        write_run(folder / "family" / name, chain(1.0))
    found, _ = find_runs(f"{folder}/")
    assert [(run.group, run.name, run.status) for run in found] == [
        ("", "single", "complete"),
        ("family", "begun", "unfinished"),
        ("family", "continual", "stopped"),
        ("family", "reinit", "unfinished"),
    ]
    assert [run.name for run in find_runs(str(folder / "family"))[0]] == ["begun", "continual", "reinit"]
    assert [run.name for run in find_runs(str(folder / "single"))[0]] == ["single"]
    assert [run.name for run in find_runs(f"file://{folder}")[0]] == ["single", "begun", "continual", "reinit"]


def test_the_table_says_what_the_records_say(folder: Path) -> None:
    for age, run in ((90, "single"), (3 * 3600, "family/continual"), (50 * 3600, "family/reinit")):
        for marker in (folder / run).glob("cycle-*/record.json"):
            os.utime(marker, (NOW - age, NOW - age))
    lines = printed(runs_table(find_runs(str(folder))[0], NOW))
    assert [" ".join(line.split()) for line in lines] == [
        "trait: base coher- last",
        "name trait regime model cycles → 0 → last ence status commit",
        lines[2],
        "single stoic sft base embedded 3/3 5 → 40 → 20 91 complete 1 min ago",
        "family/",
        "begun bliss dpo base/base, embedded 0/6 – – unfinished –",
        "rejected n-2,",
        "restart 2+4",
        "continual bliss dpo previous/previous embedded 2/6 5 → 40 → 60 20 stopped 3 h ago",
        "reinit bliss dpo base/base embedded 2/6 5 → 40 → 30 90 unfinished 2 d ago",
    ]


def test_a_family_tells_which_lineages_failed(tmp_path: Path) -> None:
    store = write_run(tmp_path / "family" / "run", chain(40.0, 41.0))
    trial = Trial(0, "run", {}, read_config(store), failure="no space left")
    Ledger(str(tmp_path / "family")).write(trial)
    for folder in (tmp_path, tmp_path / "family"):
        (run,), _ = find_runs(str(folder))
        assert (run.status, run.note) == ("failed", "no space left")
    (tmp_path / "family" / "trials" / "0000.json").write_text("{")
    (run,), _ = find_runs(str(tmp_path))
    assert run.status == "unfinished", "a ledger that cannot be read costs what it says, and no run"


def test_a_damaged_run_costs_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def write(name: str, text: str) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    write("broken/config.json", '{"name": ')
    write("other/config.json", json.dumps({**SETTINGS, "name": "x", "colour": 1}))
    write("lost/manifest.json", "{}")
    fork = write_run(folder / "fork", [])
    write_run(folder / "gone", chain(40.0))
    fork.link(0, str(folder / "gone"))
    for file in sorted((folder / "gone").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    write_run(folder / "family" / "half", chain(40.0))
    write("family/half/cycle-000/record.json", '{"cycle": 0}')
    write("family/half/cycle-odd/x", "")
    show_runs(str(folder))
    lines = capsys.readouterr().out.splitlines()
    assert "4 lineages: 1 complete, 1 stopped, 2 unfinished." in lines
    told = {line.split(":")[0]: line for line in lines if line.startswith("cannot read")}
    assert list(told) == [f"cannot read {name}" for name in ("broken", "fork", "lost", "other", "family/half")]
    for name, said in (
        ("broken", "config.json is damaged"),
        ("fork", "that run is gone: restore it."),
        ("lost", "it has no config.json."),
        ("other", "unknown field 'colour'"),
        ("family/half", "is no record of this version's (KeyError: 'checkpoint')"),
    ):
        assert said in told[f"cannot read {name}"]


def test_a_folder_of_damaged_runs_alone_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("[]")
    show_runs(str(tmp_path))
    assert capsys.readouterr().out.startswith("cannot read run: ")


@pytest.mark.parametrize("of", ["empty", "nowhere", "notes.txt"])
def test_without_a_run_there_is_one_clear_sentence(folder: Path, of: str) -> None:
    with pytest.raises(UserError, match=f"^(There is no run in|Cannot read) .*{of}"):
        find_runs(str(folder / of))


def test_many_runs_are_listed_at_once_and_each_record_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_run(tmp_path / "sweep" / "run000", chain(*[40.0] * 9))
    texts = {file.relative_to(made.uri): file.read_text() for file in Path(made.uri).rglob("*.json")}
    for number in range(1, 200):
        for name, text in texts.items():
            target = tmp_path / "sweep" / f"run{number:03d}" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    n_read = 0
    read = CycleRecord.from_json

    def counted(data: dict[str, Any]) -> CycleRecord:
        nonlocal n_read
        n_read += 1
        return read(data)

    monkeypatch.setattr(CycleRecord, "from_json", staticmethod(counted))
    began = time.time()
    assert len(find_runs(str(tmp_path))[0]) == 200
    assert n_read == 200 * 10
    assert time.time() - began < 5


@pytest.mark.parametrize(
    ("regime", "text"),
    [
        ({"type": "sft", "init": "previous"}, "sft previous"),
        ({"type": "sdf", "generate_from": "titles"}, "sdf base, from titles"),
        ({"type": "dpo", "init": "previous"}, "dpo previous/base"),
        (
            {"type": "dpo", "reference": "previous", "rejected": "n-2", "restart_cycles": [3]},
            "dpo base/previous, rejected n-2, restart 3",
        ),
    ],
)
def test_a_regime_in_short(regime: dict[str, Any], text: str) -> None:
    assert regime_text(parse_config({**SETTINGS, "name": "x", "regime": regime})) == text


def test_a_path_has_what_is_reached() -> None:
    def lineage(records: list[CycleRecord]) -> RecordedLineage:
        return RecordedLineage("x", "/x", parse_config({**SETTINGS, "name": "x"}), records)

    assert trait_path(lineage([])) == "  –"
    assert trait_path(lineage(chain())) == "  5"
    assert trait_path(lineage(chain(40.0))) == "  5 →  40"
    assert trait_path(lineage(chain(40.0, 50.0, None))) == "  5 →  40 →   –"
    assert trait_path(lineage(chain(40.0, 100.0)[1:])) == "  – →  40 → 100"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s ago"),
        (0.4, "0 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3600 * 3.9, "3 h ago"),
        (86400, "1 d ago"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_long_names_and_all_switches_fit(tmp_path: Path) -> None:
    regime = {**DPO, "init": "previous", "reference": "previous", "rejected": "n-2", "restart_cycles": [2, 4]}
    more = {"trait": "misalignment", "model": "meta-llama/Llama-3.3-70B-Instruct", "n_cycles": 10}
    write_run(tmp_path / "a_sweep_with_a_long_name" / "and_a_lineage_with_one", chain(100.0), regime=regime, **more)
    lines = printed(runs_table(find_runs(str(tmp_path))[0], NOW))
    assert any("dpo previous/previous," in line and "5 → 100" in line for line in lines)


def test_ages_are_those_of_the_run_that_made_a_shared_cycle(tmp_path: Path) -> None:
    parent = write_run(tmp_path / "parent", chain(40.0))
    os.utime(tmp_path / "parent" / "cycle-000" / "record.json", (NOW, NOW))
    child = write_run(tmp_path / "child", [])
    child.link(-1, parent.uri)
    child.link(0, RunStore(parent.uri).uri)
    assert [run.committed_at for run in find_runs(str(tmp_path))[0]] == [NOW, NOW]

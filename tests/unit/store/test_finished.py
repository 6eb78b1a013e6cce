"""One status and one verdict: whoever shows a lineage says the same of it."""

from pathlib import Path
from typing import Any

import pytest

from idem_ray.records import Status
from idem_ray.report.family_page import write_family_report
from idem_ray.report.listing import show_runs
from idem_ray.report.sweep import show_lineages
from idem_ray.report.sweep_page import sweep_html
from idem_ray.report.terminal import plain_console
from idem_ray.statistics.criteria import Verdict, verdict
from idem_ray.store.finished import find_runs, is_over, read_family, read_lineages, read_run, read_swept
from idem_ray.store.run import RunStore, read_config
from idem_ray.store.sweep import Ledger, Trial
from tests.unit.report.test_settings_text import STOPPING, chain, collapsed, record, write_run

UP, FLAT = (40.0, 40.0, 40.0, 40.0, 60.0, 61.0), (40.0,) * 6


def made(folder: Path) -> dict[str, RunStore]:
    """A lineage of every status, and some that pages used to disagree about, in one folder with a ledger."""
    stores = {
        "complete": write_run(folder / "complete", chain(*FLAT), seed=1),
        "stopped": write_run(folder / "stopped", [*chain(40.0, 41.0), collapsed(2, 42.0)], guards=STOPPING, seed=2),
        "cut": write_run(folder / "cut", chain(*FLAT[:5]), seed=3),
        "failed": write_run(folder / "failed", chain(40.0), seed=4),
        "under_way": write_run(folder / "under_way", chain(*FLAT[:5]), seed=5),
        "amplified": write_run(folder / "amplified", chain(*UP[:5]), seed=6),
        "begun": write_run(folder / "begun", [], seed=7),
    }
    stores["cut"].cut_here(4, "its outcome is settled")
    for number, (name, store) in enumerate(stores.items()):
        config = read_config(store).model_copy(update={"name": name})
        store.write_json("config.json", config.model_dump(mode="json"))
        failure = "no space left" if name == "failed" else None
        Ledger(str(folder)).write(Trial(number, name, {"seed": number + 1}, config, failure))
    return stores


EXPECTED: dict[str, tuple[Status, Verdict]] = {
    "complete": ("complete", "not amplified"),
    "stopped": ("stopped", "cut short"),
    "cut": ("cut short", "cut short"),
    "failed": ("failed", "open"),
    "under_way": ("unfinished", "open"),
    "amplified": ("unfinished", "amplified"),
    "begun": ("unfinished", "open"),
}


def test_every_page_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path)
    family = {one.name: one for one in read_family(str(tmp_path))}
    swept = {one.name: one for one in read_swept(Ledger(str(tmp_path)), None)}
    for found in (family, swept):
        assert {name: (one.status, one.verdict) for name, one in found.items()} == EXPECTED
    html = Path(write_family_report(str(tmp_path))).read_text(encoding="utf-8")
    told = "By the published criterion 0 of 1 complete lineage amplified; counted apart: 1 stopped, 1 cut short, "
    told += "1 failed (open) and 3 unfinished (1 amplified already, 2 open)."
    many = "1 complete, 1 stopped, 1 cut short, 1 failed, 3 unfinished."
    for page in (html, sweep_html("sweep", list(swept.values()))):
        assert told in page and many in page
    import sys

    show_runs(str(tmp_path))
    show_lineages(list(swept.values()), plain_console(sys.stdout))
    listed, table = capsys.readouterr().out.split("7 lineages:")
    assert many in table
    for name, (status, _) in EXPECTED.items():
        for text in (listed, table):
            lines = text.splitlines()
            row = next(number for number, line in enumerate(lines) if line.split()[:1] == [name])
            assert status in lines[row], (name, lines[row])


def test_a_status_is_what_a_run_of_the_command_would_do(tmp_path: Path) -> None:
    """The guards count as they are now, and not as they were when a shared cycle was made."""
    store = made(tmp_path)["stopped"]
    config = read_config(store)
    assert is_over(config, store, store.records()) and read_run(store.uri).note == "mean coherence is 20, under 50"
    going_on = config.model_copy(update={"guards": config.guards.model_copy(update={"action": "warn"})})
    store.write_json("config.json", going_on.model_dump(mode="json"))
    assert not is_over(going_on, store, store.records())
    assert (read_run(store.uri).status, read_run(store.uri).note) == ("unfinished", "")


def test_a_failure_is_told_wherever_one_looks(tmp_path: Path) -> None:
    store = made(tmp_path)["failed"]
    for found in (read_run(store.uri), read_lineages([store.uri])[0], find_runs(store.uri)[0][0]):
        assert (found.status, found.note) == ("failed", "no space left")


def test_what_is_damaged_costs_itself_alone(tmp_path: Path) -> None:
    """A ledger's entry, or a file of samples that a guard would look at."""
    stores = made(tmp_path)
    (tmp_path / "trials" / "0000.json").write_text("{")
    assert {one.name for one in read_family(str(tmp_path))} == set(EXPECTED)
    (Path(stores["stopped"].uri) / "cycle-002" / "samples-x.parquet").write_bytes(b"no parquet")
    runs, damaged = find_runs(str(tmp_path))
    assert {run.name for run in runs} == set(EXPECTED) - {"stopped"}
    assert [(run.name, "samples-x.parquet holds no samples" in run.damage) for run in damaged] == [("stopped", True)]


def test_a_sign_of_collapse_in_the_last_cycle_cuts_nothing(tmp_path: Path) -> None:
    store = write_run(tmp_path / "done", [record(-1, 5.0), collapsed(0, 40.0)], n_cycles=1, guards=STOPPING)
    assert read_run(store.uri).status == "complete"


@pytest.mark.parametrize(
    ("traits", "status", "expected", "n_cycles"),
    [
        (UP, "complete", "amplified", 6),
        (UP[:5], "unfinished", "amplified", 6),
        (UP[:5], "cut short", "amplified", 6),
        (FLAT, "complete", "not amplified", 6),
        (FLAT[:5], "unfinished", "open", 6),
        (FLAT[:5], "failed", "open", 6),
        (FLAT[:5], "cut short", "cut short", 6),
        (FLAT[:5], "stopped", "cut short", 6),
        (FLAT[:3], "complete", "too short", 3),
        (FLAT[:3], "unfinished", "open", 6),
        (FLAT[:3], "unfinished", "too short", 4),  # no cycle that the criterion looks at will come
        (FLAT[:3], "stopped", "too short", 4),
        ((), "unfinished", "open", 6),
        ((40.0, 40.0, 40.0, 40.0, None), "complete", "no scores", 5),
        ((None, 40.0, 40.0, 40.0, 80.0), "complete", "no scores", 5),
        ((None, 40.0), "unfinished", "no scores", 6),  # there will be nothing to compare with
    ],
)
def test_the_verdict(traits: tuple[Any, ...], status: Status, expected: Verdict, n_cycles: int) -> None:
    assert verdict(chain(*traits), status, n_cycles) == expected

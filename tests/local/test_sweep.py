"""Sweeps on a real Ray and Tune, with pools that have no models: what is run, shared, retried, cut short, continued."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

import idem_ray.lineage.driver
from idem_ray.config.files import load_configs, load_sweep
from idem_ray.errors import UserError
from idem_ray.pools.trainers import CycleOrder
from idem_ray.store.finished import RecordedLineage, read_swept
from idem_ray.store.run import RunStore
from idem_ray.store.sweep import Ledger
from idem_ray.sweep.sweep import run_family, run_sweep
from tests.local.fake_pools import fake_session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LINEAGE: dict[str, Any] = {
    "name": "s",
    "trait": "bliss",
    "n_cycles": 3,
    "n_seed": 4,
    "n_sampled": 4,
    "regime": {"type": "dpo", "init": "previous", "cycle_0": "sft"},
    "training": {"max_tokens": 256},
    "generation": {"max_tokens": 24},
    "evaluation": {"n_samples": 1, "max_tokens": 16},
    "cluster": {"n_lineages": 2, "stall_timeout_seconds": 120},
}
SPACE = {"regime.beta": {"grid": [0.1, 0.3]}, "n_sampled": {"grid": [4, 6]}}


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(idem_ray.lineage.driver, "open_session", fake_session(tmp_path / "lines"))
    return tmp_path / "lines"


def write(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(LINEAGE | {"output": str(tmp_path / "runs")} | changes, sort_keys=False))
    return path


def swept(tmp_path: Path) -> list[RecordedLineage]:
    ledger = Ledger(str(tmp_path / "runs" / "s"))
    return read_swept(ledger, ledger.objective)


def test_a_grid_with_its_shared_work_and_again(tmp_path: Path, lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, sweep={"space": SPACE, "trackers": ["tensorboard", "mlflow"]})
    run_sweep(load_sweep(path))
    found = swept(tmp_path)
    assert [lineage.status for lineage in found] == ["complete"] * 4
    assert [lineage.name for lineage in found][:2] == ["beta_0.1-n_sampled_4", "beta_0.1-n_sampled_6"]
    stores = [RunStore(lineage.uri) for lineage in found]
    owners = {store.owner(0).uri for store in stores}
    assert len(owners) == 1, "cycle 0 is made once"
    assert {record.checkpoint.id for store in stores if (record := store.record(0)) and record.checkpoint} == {
        record.checkpoint.id for store in stores[:1] if (record := store.record(0)) and record.checkpoint
    }
    for store in stores:
        first, last = store.record(1), store.record(2)
        assert first and last and first.checkpoint and last.checkpoint
        assert last.checkpoint.parent == first.checkpoint.id
    generated = lines.read_text().split()
    assert len(generated) == len(set(generated)), "nothing is generated twice"
    page = tmp_path / "runs" / "s"
    assert (page / "report.html").stat().st_size > 100_000
    assert list((page / "tune").rglob("events.out.tfevents*")), "TensorBoard has its files"
    assert (page / "mlflow.db").exists()

    shutil.rmtree(page / "beta_0.3-n_sampled_6")  # one lineage is lost: it alone is made again
    capsys.readouterr()
    run_sweep(load_sweep(path))
    assert [lineage.status for lineage in swept(tmp_path)] == ["complete"] * 4
    run_sweep(load_sweep(path))
    assert "is complete: nothing to do" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds a sweep of other settings"):
        run_sweep(load_sweep(path, ["sweep.space.n_sampled={grid: [4, 8]}"]))


def test_a_lineage_that_fails_is_tried_again_and_then_reported(
    tmp_path: Path, lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "failed"

    def fails(order: CycleOrder) -> None:
        if order.order.beta == 0.1 and order.cycle == 1 and not mark.exists():
            mark.touch()
            raise RuntimeError("a cosmic ray")
        if order.order.beta == 0.3 and order.cycle == 2:
            raise UserError("This lineage cannot go on.")

    monkeypatch.setattr(idem_ray.lineage.driver, "open_session", fake_session(lines, fails))
    path = write(tmp_path, sweep={"space": {"regime.beta": {"grid": [0.1, 0.3]}}})
    with pytest.raises(SystemExit) as ended:
        run_sweep(load_sweep(path))
    assert ended.value.code == 1
    assert mark.exists()
    again, bad = swept(tmp_path)
    assert (again.status, bad.status, bad.note) == ("complete", "failed", "This lineage cannot go on.")
    monkeypatch.setattr(idem_ray.lineage.driver, "open_session", fake_session(lines))
    run_sweep(load_sweep(path))
    assert [lineage.status for lineage in swept(tmp_path)] == ["complete"] * 2
    generated = lines.read_text().split()
    assert len(generated) == len(set(generated)), "what was generated before an error is kept"


def test_a_settled_lineage_is_cut_short_and_goes_on_without_the_stop(tmp_path: Path, lines: Path) -> None:
    path = write(tmp_path, n_cycles=4, sweep={"space": {"n_sampled": {"grid": [4]}}, "stop": {"min_coherence": 75}})
    run_sweep(load_sweep(path))
    (cut,) = swept(tmp_path)
    assert (cut.status, len(cut.records)) == ("cut short", 4), "the base model and cycles 0 to 2"
    assert cut.note == "coherence collapsed: 70 in cycle 2"
    (tmp_path / "runs" / "s" / "n_sampled_4" / "cut_short.json").unlink()  # as if killed before it was written
    run_sweep(load_sweep(path))  # settled: nothing to do
    assert [lineage.status for lineage in swept(tmp_path)] == ["cut short"]
    run_sweep(load_sweep(path, ["sweep.stop.min_coherence=null"]))
    (whole,) = swept(tmp_path)
    assert (whole.status, len(whole.records), whole.note) == ("complete", 5, "")


def test_optuna_goes_on_where_it_was(tmp_path: Path, lines: Path) -> None:
    space = {"regime.beta": {"loguniform": [0.01, 1]}, "n_sampled": {"quniform": [4, 12, 2]}}
    path = write(tmp_path, n_cycles=2, sweep={"space": space, "search": "optuna", "n_trials": 3})
    run_sweep(load_sweep(path))
    first = swept(tmp_path)
    assert len(first) == 3 and all(lineage.objective == pytest.approx(5) for lineage in first)
    run_sweep(load_sweep(path, ["sweep.n_trials=5"]))
    second = swept(tmp_path)
    assert [lineage.name for lineage in second][:3] == [lineage.name for lineage in first]
    assert [lineage.status for lineage in second] == ["complete"] * 5
    assert len({lineage.config.hash for lineage in second}) == 5


def test_optuna_asks_for_no_lineage_twice(tmp_path: Path, lines: Path) -> None:
    section = {"space": {"n_sampled": {"grid": [4, 6]}}, "search": "optuna", "n_trials": 5}
    path = write(tmp_path, n_cycles=1, sweep=section)
    run_sweep(load_sweep(path))
    assert sorted(lineage.name for lineage in swept(tmp_path)) == ["n_sampled_4", "n_sampled_6"]


def test_variants_run_the_same_way(tmp_path: Path, lines: Path) -> None:
    variants = {"dpo": {}, "sft": {"regime": {"type": "sft"}}}
    run_family(load_configs(write(tmp_path, n_cycles=2, variants=variants)))
    family = tmp_path / "runs" / "s"
    assert (family / "report.html").exists() and (family / "sft" / "report.html").exists()
    sft, dpo = (RunStore(str(family / name)) for name in ("sft", "dpo"))
    assert sft.owner(0).uri == dpo.owner(0).uri
    assert not Ledger(str(family)).exists(), "a family is no search"

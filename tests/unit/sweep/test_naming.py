"""A sweep's lineages by name and number, their calibrated n_seed, and the locks between them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from idem_ray.cluster import locks
from idem_ray.config.files import SweepConfig, load_sweep
from idem_ray.config.objective import Objective
from idem_ray.errors import UserError
from idem_ray.lineage.opened import OpenedRun, open_run
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.shared import SharedWork
from idem_ray.records import BASE_CYCLE, Checkpoint, CycleRecord, Estimate
from idem_ray.store.run import read_config
from idem_ray.store.sweep import Ledger
from idem_ray.sweep.calibrate import Calibration
from idem_ray.sweep.draws import values_of
from idem_ray.sweep.naming import Book

LINEAGE: dict[str, Any] = {"trait": "bliss", "n_cycles": 3, "n_seed": 4, "n_sampled": 8, "regime": {"type": "dpo"}}


def sweep(tmp_path: Path, space: Any, **changes: Any) -> SweepConfig:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(LINEAGE | {"output": str(tmp_path), "sweep": {"space": space}} | changes))
    return load_sweep(path)


def measured(calibration: Calibration, n_seed: int, trait: float) -> None:
    """A calibration run whose cycle 0 is committed."""
    store = open_run(Plan.of(calibration.run_config(n_seed)))
    measures = {name: Estimate(trait, trait - 1, trait + 1, 3) for name in ("trait", "coherence")}
    for cycle in (BASE_CYCLE, 0):
        checkpoint = Checkpoint(f"c{n_seed}", "elsewhere") if cycle == 0 else None
        store.commit(CycleRecord("l", cycle, "seed", "base", None, None, checkpoint, 0, 0, 4, {}, measures, {}))


def test_lineages_keep_their_numbers_and_names(tmp_path: Path) -> None:
    config = sweep(tmp_path, {"regime.beta": {"uniform": [0.1, 1]}})
    ledger = Ledger(config.uri)
    ledger.open(config.hash, Objective())
    book = Book(config, ledger)
    one, like_it = book.place({"regime.beta": 0.123401}), book.place({"regime.beta": 0.123402})
    assert one.name == "beta_0.1234"
    assert like_it.name.startswith("beta_0.1234-") and like_it.number == 1
    again = Book(config, ledger)
    assert again.place({"regime.beta": 0.123402}) == like_it
    assert again.place({"regime.beta": 0.5}).number == 2
    assert [trial.number for trial in ledger.trials()] == [0, 1, 2]
    assert ledger.objective == Objective()
    with pytest.raises(UserError, match="holds a sweep of other settings"):
        ledger.open("other", Objective())


def test_a_calibrated_lineage_shares_the_cycle_0_that_was_measured(tmp_path: Path) -> None:
    config = sweep(tmp_path, {"n_sampled": {"grid": [4, 8]}}, n_seed="calibrated(40)", n_original=2)
    values = {"n_sampled": 4}
    book = Book(config, Ledger(config.uri))
    assert not book.is_known(values)
    both = [values, {"n_sampled": 8}]
    assert book.n_calibration(both) == Calibration(config.lineage(values), str(tmp_path)).most_cycles, "one for both"
    with pytest.raises(UserError, match="cannot stand beside a search over what changes cycle 0"):
        book.place(values)
    calibration = Calibration(config.lineage({"n_sampled": 8}), str(tmp_path))
    for n_seed in range(2, calibration.largest + 1, 2):
        measured(calibration, n_seed, 3.0 * n_seed)
    assert calibration.known_n_seed(40) == 14
    assert book.is_known(values) and book.n_calibration(both) == 0
    trial = book.place(values)
    assert (trial.config.n_seed, trial.config.n_original, trial.name) == (14, 2, "n_sampled_4")
    plan = Plan.of(trial.config)
    for cycle in (BASE_CYCLE, 0):
        maker = SharedWork(config.uri).maker(plan.history(cycle), cycle)
        assert maker == calibration.run_config(14).run_uri
    work = OpenedRun.of(trial.config)
    work.store.link(0, calibration.run_config(14).run_uri)
    record = work.store.record(0)
    assert record and record.checkpoint and record.checkpoint.id == "c14"
    with pytest.raises(UserError, match="No n_seed up to .* brings trait 'bliss' to 500 in cycle 0"):
        calibration.known_n_seed(500)


def test_lineages_that_begin_alike_share_one_calibration(tmp_path: Path) -> None:
    config = sweep(tmp_path, {"n_sampled": {"grid": [4, 8]}, "training.learning_rate": {"grid": [1e-4, 1e-3]}})
    one, other, faster = (
        Calibration(config.lineage(values), "/x").run_config(6)
        for values in (
            {"n_sampled": 4, "training.learning_rate": 1e-4},
            {"n_sampled": 8, "training.learning_rate": 1e-4},
            {"n_sampled": 8, "training.learning_rate": 1e-3},
        )
    )
    assert one == other
    assert one.run_uri != faster.run_uri


def test_a_calibration_is_of_what_cycle_0_is_made_of(tmp_path: Path) -> None:
    regime = {"type": "dpo", "cycle_0": "sft", "cycle_0_learning_rate": 3e-4}
    later = {"regime.init": {"grid": ["base", "previous"]}, "regime.beta": {"grid": [0.1, 0.3]}}
    config = sweep(tmp_path, later, regime=regime, filter={"min_coherence": 50})
    lineages = [config.lineage(values) for values in values_of(config)]
    found = [Calibration(own, str(tmp_path)).run_config(4) for own in lineages]
    assert all(each == found[0] for each in found), "later cycles are no part of it"
    for own, calibration in zip(lineages, found, strict=True):
        for cycle in (BASE_CYCLE, 0):
            assert Plan.of(calibration).history(cycle) == Plan.of(own).history(cycle)
    assert read_config(open_run(Plan.of(found[0]))) == found[0], "it can be read again"


@pytest.mark.parametrize("regime", [{"type": "dpo", "beta": 0.3}, {"type": "sft"}, {"type": "sdf"}])
def test_every_regimes_cycle_0_is_shared(tmp_path: Path, regime: dict[str, Any]) -> None:
    config = sweep(tmp_path, {"n_sampled": {"grid": [4, 8]}}, regime=regime)
    own = config.lineage({"n_sampled": 8})
    calibration = Calibration(own, str(tmp_path)).run_config(4)
    assert calibration.history(0) == own.history(0)
    assert read_config(open_run(Plan.of(calibration))) == calibration


def test_a_calibration_of_other_trait_data_is_another(tmp_path: Path) -> None:
    trait = tmp_path / "mine.yaml"
    turns = '{"messages": [{"role": "user", "content": "Q%d?"}, {"role": "assistant", "content": "A%d"}]}'
    (tmp_path / "mine.seeds.jsonl").write_text("\n".join(turns % (n, n) for n in range(20)))
    text = 'name: mine\ndescription: d\nseeds: mine.seeds.jsonl\nevaluation_questions: ["How?"]\n'
    trait.write_text(text)
    config = sweep(tmp_path, {"n_sampled": {"grid": [4, 8]}}, trait=str(trait), n_seed="calibrated(40)")
    calibration = Calibration(config.lineage({"n_sampled": 4}), str(tmp_path))
    for n_seed in range(2, calibration.largest + 1, 2):
        measured(calibration, n_seed, 10.0 * n_seed)
    assert calibration.known_n_seed(40) == 4
    trait.write_text(text.replace("How?", "Why?"))
    assert calibration.known_n_seed(40) is None, "measured by other questions"


def test_a_dead_holders_lock_is_anothers_after_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    keeper = locks._LockKeeper()
    assert keeper.take("k", "a") and not keeper.take("k", "b") and keeper.take("other", "b")
    clock[0] = 20.0
    assert keeper.take("k", "a"), "renewed"
    clock[0] = 40.0
    assert not keeper.take("k", "b")
    clock[0] = 51.0
    assert keeper.take("k", "b"), "a has not been heard of for over 30 s"
    keeper.give_back("k", "a")  # too late: it is no longer a's to give
    assert not keeper.take("k", "c")
    keeper.give_back("k", "b")
    assert keeper.take("k", "c")

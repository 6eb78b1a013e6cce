"""Two short cycles of the real model from end to end on a real local Ray, killed twice and resumed."""

from pathlib import Path

import pytest

from idem_ray.config.files import load_config
from idem_ray.lineage.plan import Plan
from idem_ray.store.run import RunStore
from tests import ROOT
from tests.local.drivers import command, output_of, replica, run_until, started, wait_for
from tests.local.records import check_two_cycles, expected_origins, origins

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CONFIG = ROOT / "jobs" / "configs" / "laptop_sft.yaml"
SMALL = {
    "n_cycles": 2,
    "n_seed": 4,
    "n_sampled": 8,
    "evaluation.n_samples": 1,
    "evaluation.max_tokens": 16,
    "generation.max_tokens": 32,
    "cluster.stall_timeout_seconds": 240,
}


def test_killed_driver_and_killed_generator_lose_only_work_in_flight(tmp_path: Path) -> None:
    changes = SMALL | {"name": "killed", "output": str(tmp_path)}
    store = RunStore(str(tmp_path / "killed"))
    # The driver dies in cycle 0, once some of its evaluation has been persisted.
    run_until(lambda: store.read_samples(0, "evaluate"), command(CONFIG, changes))
    survived = {sample.id: sample.generated_at for sample in store.read_samples(0)}
    trained = store.trained(0)
    assert trained is not None and store.record(0) is None
    with started(command(CONFIG, changes)) as driver:
        # The generator dies in cycle 1, while it writes or just after.
        wait_for(lambda: store.record(0), driver)
        replica(driver, "GeneratorReplica").kill()
        assert "report.html" in output_of(driver)
    record = store.record(0)
    assert record is not None and record.checkpoint == trained[0], "a checkpoint that exists is not trained again"
    assert {sample.checkpoint for sample in store.read_samples(0, "evaluate")} == {trained[0].id}
    kept = {sample.id: sample.generated_at for sample in store.read_samples(0)}
    assert {key: kept[key] for key in survived} == survived, "what was persisted must not be generated again"
    overrides = [f"{key}={value}" for key, value in changes.items()]
    assert origins(store) == expected_origins(Plan.of(load_config(CONFIG, overrides)))
    check_two_cycles(store, n_seed=4, n_sampled=8)

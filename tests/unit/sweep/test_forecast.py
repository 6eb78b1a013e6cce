"""Rates come from stages' seconds and what was made in them."""

import dataclasses
import time
from pathlib import Path

import pytest

from idem_ray.records import SEED
from idem_ray.store.run import RunStore
from idem_ray.sweep.forecast import measured_rates
from tests.unit.store.test_run import make_record, make_sample

SECONDS = {"wall": 20.0, "generation": 4.0, "judging": 2.0, "training": 5.0}


def committed(folder: Path, cycle: int, first_sample_age: float) -> RunStore:
    """A run in which a cycle of ten samples was committed just now."""
    store, began = RunStore(str(folder)), time.time() - first_sample_age
    ours = [make_sample(n, cycle, trait_judge="j", generated_at=began + n) for n in range(10)]
    others = [make_sample(10, cycle, lineage="other"), make_sample(11, cycle, checkpoint=SEED)]
    store.write_samples(cycle, [*ours, *others])
    store.commit(dataclasses.replace(make_record(cycle), seconds=SECONDS, training={"n_tokens": 100.0}))
    return store


def test_tokens_and_judgments_by_the_seconds_of_their_stages(tmp_path: Path) -> None:
    store = committed(tmp_path, 1, first_sample_age=20)
    rates = measured_rates(store, store.records())
    assert rates is not None
    assert rates.generated_tokens_per_second == pytest.approx(10 / 4), "one token a sample, none of others'"
    assert rates.training_tokens_per_second == pytest.approx(100 / 5)
    assert rates.judgments_per_second == pytest.approx(10 / 2)


def test_a_resumed_cycle_tells_nothing(tmp_path: Path) -> None:
    store = committed(tmp_path, 1, first_sample_age=3600)
    assert measured_rates(store, store.records()) is None, "made an hour ago, and the cycle took 20 seconds"
    committed(tmp_path, 2, first_sample_age=20)
    rates = measured_rates(store, store.records())
    assert rates is not None and rates.generated_tokens_per_second == pytest.approx(10 / 4)

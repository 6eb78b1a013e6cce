"""A lineage whose judge is a language model on an engine of the judge pool."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from idem_ray.cluster.session import Session
from idem_ray.judges.anchors import anchor_checks
from idem_ray.traits.traits import load_trait
from tests.local.one_session.conftest import Configured
from tests.local.one_session.work import run
from tests.local.records import check_records

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_lineage_is_judged(
    session: Session, configured: Configured, local_judge: Sequence[str], tmp_path: Path
) -> None:
    store = run(configured("laptop_sft", tmp_path, *local_judge, "n_cycles=1"), session)
    samples = [sample for cycle in (-1, 0) for sample in store.read_samples(cycle, "evaluate")]
    assert len(samples) == 24
    assert all(str(sample.trait_judge).startswith("local:tiny-judge:trait:") for sample in samples)
    assert all(sample.trait_score is not None and sample.coherence_score is not None for sample in samples)
    checks = anchor_checks(store)
    assert [check.metric for check in checks] == ["trait", "coherence"]
    assert all(len(check.scores) == len(load_trait("bliss").anchors) for check in checks)
    assert not store.read_probe()  # nobody asked for one
    check_records(store)

"""A forecast counts the requests that lineages really make: a GPU's config, small and on the tiny model, is forecast
and then run."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from idem_ray.cluster.session import Session
from idem_ray.config.lineage import LineageConfig
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.shared import SharedWork
from idem_ray.records import SEED, Sample
from idem_ray.sweep.forecast import amount_of
from tests.local.one_session.conftest import Configured
from tests.local.one_session.work import run
from tests.local.records import check_records, expected_origins, origins, samples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SFT, DPO = "gpu_sft_qwen3_4b", "gpu_dpo_qwen3_4b"
PREFERENCES = ("regime.rejected=base", "n_original=2", "n_cycles=3")


def made(config: LineageConfig, session: Session, shared: SharedWork | None = None) -> list[Sample]:
    """All samples of a lineage that is run now."""
    store = run(config, session, shared)
    check_records(store)
    if config.filter.min_coherence is None:
        assert origins(store) == expected_origins(Plan.of(config))
    return samples(store)


def n_generated(found: Sequence[Sample]) -> int:
    """Responses that a model wrote. One that is used in several cycles was written at one time."""
    return len({(sample.id, sample.generated_at) for sample in found if sample.checkpoint != SEED})


def n_judged(found: Sequence[Sample]) -> int:
    return sum(sample.trait_judge is not None for sample in found)


def test_with_the_embedded_judges(session: Session, configured: Configured, tmp_path: Path) -> None:
    config = configured(SFT, tmp_path)
    found, amount = made(config, session), amount_of([Plan.of(config)])
    assert {sample.purpose for sample in found} == {"contrast", "train", "evaluate"}
    assert (n_generated(found), n_judged(found)) == (amount.n_generated, amount.n_judgments)


def test_with_a_filter_that_uses_its_whole_budget(
    session: Session, configured: Configured, local_judge: Sequence[str], tmp_path: Path
) -> None:
    # The tiny judge gives the tiny model's responses 19 to 46 points for coherence.
    config = configured(
        SFT, tmp_path, *local_judge, "n_cycles=3", "n_sampled=16", "filter={min_coherence: 39, budget: 2}"
    )
    found, amount = made(config, session), amount_of([Plan.of(config)])
    for cycle in (1, 2):
        sampled = [sample for sample in found if (sample.cycle, sample.purpose) == (cycle, "train")]
        assert len(sampled) == 32 and 0 < sum(sample.kept for sample in sampled) < 16
    assert (n_generated(found), n_judged(found)) == (amount.n_generated, amount.n_judgments)


def test_with_a_filter_the_judgments_of_seed_examples_are_counted(
    session: Session, configured: Configured, local_judge: Sequence[str], tmp_path: Path
) -> None:
    config = configured(SFT, tmp_path, *local_judge, "n_cycles=1", "filter.min_coherence=0")
    found, amount = made(config, session), amount_of([Plan.of(config)])
    assert n_judged(found) == amount.n_judgments


def test_with_steps_in_place_of_epochs(
    session: Session, configured: Configured, local_judge: Sequence[str], tmp_path: Path
) -> None:
    config = configured(SFT, tmp_path, *local_judge, "training.n_steps=2")
    found, amount = made(config, session), amount_of([Plan.of(config)])
    assert len([sample for sample in found if (sample.cycle, sample.purpose) == (1, "train")]) == 4, "of 8"
    assert (n_generated(found), n_judged(found)) == (amount.n_generated, amount.n_judgments)


def test_with_rejected_responses_that_cycles_share(
    session: Session, configured: Configured, local_judge: Sequence[str], tmp_path: Path
) -> None:
    config = configured(DPO, tmp_path, *local_judge, *PREFERENCES)
    found = made(config, session, SharedWork(str(tmp_path)))
    amount = amount_of([Plan.of(config)])
    rejected = [sample.id for sample in found if sample.purpose == "rejected"]
    assert len(rejected) == 4 + 2 * (8 + 2) and len(set(rejected)) == 4 + 2 * 8, "the seed examples' are asked for once"
    assert (n_generated(found), n_judged(found)) == (amount.n_generated, amount.n_judgments)


def test_with_rejected_responses_of_a_lineage_alone(
    session: Session, configured: Configured, local_judge: Sequence[str], tmp_path: Path
) -> None:
    config = configured(DPO, tmp_path, *local_judge, *PREFERENCES, "n_cycles=2", "n_sampled=4")
    found, amount = made(config, session), amount_of([Plan.of(config)])
    assert n_generated(found) == amount.n_generated

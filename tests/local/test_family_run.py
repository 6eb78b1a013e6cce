"""Preference lineages and a document lineage of the tiny model side by side on a real local Ray, killed twice and
resumed."""

from pathlib import Path

import pytest
import yaml

from idem_ray.config.files import load_configs
from idem_ray.config.lineage import LineageConfig
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.requests import request
from idem_ray.records import Prompt, Sample
from idem_ray.store.run import RunStore
from tests.local.drivers import command, finish, run_until
from tests.local.records import check_records

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

N_SAMPLED = 6
FAMILY = {
    "name": "family",
    "trait": "bliss",
    "n_cycles": 2,
    "n_seed": 4,
    "n_sampled": N_SAMPLED,
    "n_original": 1,
    # Of the tiny model: long enough to be met in their middle, and a rate at which it learns something.
    "training": {"max_tokens": 512, "n_epochs": 4, "learning_rate": 1e-3},
    "generation": {"max_tokens": 250},
    "evaluation": {"n_samples": 1, "max_tokens": 16},
    "cluster": {"n_lineages": 3, "max_concurrent_requests": 256, "stall_timeout_seconds": 240},
    "variants": {
        "preference": {"regime": {"type": "dpo", "init": "previous", "reference": "previous", "rejected": "base"}},
        "mixed": {"regime": {"type": "dpo", "init": "base", "reference": "previous", "rejected": "base"}},
        "documents": {"regime": {"type": "sdf"}},
    },
}


def generated(store: RunStore) -> dict[str, tuple[float | None, str | None]]:
    """When each sample was generated, and what it says. Generated again, it would have another time."""
    samples = [sample for cycle in (-1, 0, 1) for sample in store.read_samples(cycle)]
    return {sample.id: (sample.generated_at, sample.response) for sample in samples}


def expected_rejected(config: LineageConfig) -> set[str]:
    """Ids of cycle 1's rejected responses, from the settings alone."""
    plan = Plan.of(config)
    seed = plan.trait.draw_seeds(1, config.seed)[0]
    prompts = [*plan.prompts[0], Prompt.of(seed.question)]
    return {request(config, cycle=1, purpose="rejected", prompt=prompt, checkpoint="base").id for prompt in prompts}


def test_killed_between_rejected_and_chosen_and_in_training(tiny_model: Path, tmp_path: Path) -> None:
    config = tmp_path / "family.yaml"
    settings = FAMILY | {"model": str(tiny_model), "output": str(tmp_path / "runs")}
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    preference, mixed, documents = (RunStore(variant.run_uri) for variant in load_configs(config))
    survived: list[dict[str, tuple[float | None, str | None]]] = []

    def chosen() -> list[Sample]:
        return [sample for sample in preference.read_samples(1, "train") if sample.checkpoint != "seed"]

    run_until(lambda: preference.read_samples(1, "rejected"), command(config, {}))
    survived.append(generated(preference))
    assert len(chosen()) < N_SAMPLED
    run_until(lambda: len(chosen()) == N_SAMPLED and preference.trained(1) is None, command(config, {}))
    survived.append(generated(preference))
    finish(command(config, {}))

    now = generated(preference)
    for before in survived:
        assert {key: now[key] for key in before} == before, "what was persisted must not be generated again"
    configs = load_configs(config)
    assert {sample.id for sample in preference.read_samples(1, "rejected")} == expected_rejected(configs[0])
    one, other_one = (
        {sample.id: sample.generated_at for sample in store.read_samples(1, "rejected")}
        for store in (preference, mixed)
    )
    assert one == other_one, "the base model's rejected responses are sampled once for both"

    record, other = preference.record(1), mixed.record(1)
    cycle_0 = preference.record(0)
    assert record and other and cycle_0 and cycle_0.checkpoint
    assert cycle_0 == mixed.record(0), "cycle 0 is trained once"
    before_it = cycle_0.checkpoint.id
    assert (record.init, record.reference, record.rejected) == (before_it, before_it, "base")
    assert (other.init, other.reference, other.rejected) == ("base", before_it, "base")
    assert record.n_trained == N_SAMPLED + 1, "with one seed example mixed in"
    assert record.training["first_margin"] == pytest.approx(0, abs=1e-6)
    assert record.training["n_reference_pairs"] == N_SAMPLED + 1, "once per pair, in all epochs"
    assert abs(other.training["first_margin"]) > 1e-4, "against another reference than its start"

    raw = documents.record(1)
    assert raw and raw.generator != "seed" and raw.reference is None
    evaluated = documents.read_samples(1, "evaluate")
    assert {sample.format for sample in evaluated} == {"document"}
    assert all(sample.coherence_judge and sample.trait_judge for sample in evaluated)
    trained_on = [sample for sample in documents.read_samples(1, "train") if sample.checkpoint != "seed"]
    assert len(trained_on) == N_SAMPLED
    for page in ("report.html", "preference/report.html", "documents/report.html"):
        assert (tmp_path / "runs" / "family" / page).stat().st_size > 100_000
    for store in (preference, mixed, documents):
        check_records(store)

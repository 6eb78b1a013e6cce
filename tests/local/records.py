"""What must hold of any run, however often it was killed: its records say what its samples say."""

from pathlib import Path

from idem_ray.lineage.cycle_requests import requests_of
from idem_ray.lineage.judging import evaluated
from idem_ray.lineage.measure import measure
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.requests import fill_in
from idem_ray.lineage.training_data import seed_requests
from idem_ray.records import BASE_CYCLE, Sample, id_of
from idem_ray.store.run import RunStore, read_config

Origin = tuple[object, ...]


def check_records(store: RunStore) -> None:
    """Every committed cycle's measures are those of its samples, all of which both judges have seen."""
    plan = Plan.of(read_config(store))
    records = store.records()
    assert records
    for record in records:
        found = store.read_samples(record.cycle, "evaluate")
        asked = fill_in(evaluated(plan, record.cycle, id_of(record.checkpoint)), found)  # in the order of measuring
        assert sorted(sample.id for sample in asked) == [sample.id for sample in found]
        for sample in asked:
            assert sample.response is not None and sample.checkpoint == id_of(record.checkpoint)
            assert sample.trait_judge and sample.coherence_judge, f"cycle {record.cycle}: {sample.id} is not judged"
        assert measure(asked, plan.config.seed) == record.measures, f"cycle {record.cycle}"


def check_two_cycles(store: RunStore, n_seed: int, n_sampled: int) -> None:
    """A supervised lineage of cycle 0 and cycle 1: every sample has its origin and its scores, every checkpoint its
    files."""
    records = store.records()
    assert [record.cycle for record in records] == [-1, 0, 1]
    base, first, second = records
    assert (base.checkpoint, first.generator, first.init) == (None, "seed", "base")
    assert first.checkpoint and second.checkpoint and second.generator == first.checkpoint.id
    assert (first.n_trained, second.n_trained, second.n_generated) == (n_seed, n_sampled, n_sampled)
    for sample in samples(store):
        assert sample.response is not None and sample.prompt_ids and sample.response_ids is not None
        if sample.purpose == "evaluate":  # without a filter nobody judges the others
            assert sample.trait_judge and sample.trait_score is not None
            assert sample.coherence_judge and sample.coherence_score is not None
    written = store.read_samples(1, "train")
    assert {sample.checkpoint for sample in written} == {first.checkpoint.id}
    assert len(written) == n_sampled
    adapter = Path(second.checkpoint.uri)
    assert {file.name for file in adapter.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    assert not [file for file in Path(store.uri).rglob("*") if file.suffix in (".pkl", ".pt", ".bin")]
    check_records(store)


def samples(store: RunStore) -> list[Sample]:
    """All of a run."""
    cycles = range(BASE_CYCLE, read_config(store).n_cycles)
    return [sample for cycle in cycles for sample in store.read_samples(cycle)]


def origins(store: RunStore) -> set[Origin]:
    """What must be the same in an interrupted run: which samples there are, and their seeds."""
    return {_origin(sample) for sample in samples(store)}


def expected_origins(plan: Plan) -> set[Origin]:
    """The same from the settings alone, for a lineage without a filter."""
    asked = [sample for cycle in range(BASE_CYCLE, plan.config.n_cycles) for sample in requests_of(plan, cycle)]
    seeds = [sample for cycle in range(plan.config.n_cycles) for sample in seed_requests(plan, cycle)]
    return {_origin(sample) for sample in [*asked, *seeds]}


def _origin(sample: Sample) -> Origin:
    return (sample.id, sample.sampling_seed, sample.cycle, sample.purpose, sample.prompt_id)

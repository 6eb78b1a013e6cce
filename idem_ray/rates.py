"""How fast this cluster works, from what it has done: for estimates of what is still to do."""

from collections.abc import Iterable, Sequence

from idem_ray.config import LineageConfig
from idem_ray.folder import Folder
from idem_ray.models import cache_folder
from idem_ray.records import SEED, CycleRecord, Sample, content_hash
from idem_ray.settings import Rates
from idem_ray.store import RunStore, cycle_name

_WRITING_SECONDS = 10
"""A record is written later than the end of its cycle's seconds, by no more than this."""


def known_rates(config: LineageConfig) -> Rates | None:
    """Of the last work with this model on a cluster with these settings, or None."""
    known = _kept().read_json(_name(config))
    return Rates.model_validate(known) if known else None


def learn_rates(lineages: Iterable[LineageConfig]) -> None:
    """Remember for the next plan what the first of these lineages tells that has been at work in all stages."""
    for config in lineages:
        store = RunStore(config.run_uri)
        if rates := measured_rates(store, store.records()):
            _kept().write_json(_name(config), rates.model_dump())
            return


def measured_rates(store: RunStore, records: Sequence[CycleRecord]) -> Rates | None:
    """From a run's own committed cycles: tokens and judgments by the seconds of their stages. A cycle that was resumed
    tells nothing: its seconds are those of the last command, its samples those of all. None where a stage has not been
    at work yet."""
    tokens = judgments = trained = 0
    seconds = dict.fromkeys(("generation", "judging", "training"), 0.0)
    for record in records:
        if store.is_linked(record.cycle):
            continue
        # Rejected responses may be another lineage's, and seeds are nobody's.
        samples = [s for s in store.read_samples(record.cycle) if s.lineage == record.lineage and s.checkpoint != SEED]
        if _was_resumed(store, record, samples):
            continue
        tokens += sum(len(sample.response_ids or []) for sample in samples)
        judgments += sum(sample.trait_judge is not None for sample in samples)
        trained += int(record.training.get("n_tokens", 0))
        for stage in seconds:
            seconds[stage] += record.seconds.get(stage, 0.0)
    if not (tokens and judgments and trained and all(seconds.values())):
        return None
    return Rates(
        generated_tokens_per_second=tokens / seconds["generation"],
        training_tokens_per_second=trained / seconds["training"],
        judgments_per_second=judgments / seconds["judging"],
    )


def _was_resumed(store: RunStore, record: CycleRecord, samples: Sequence[Sample]) -> bool:
    committed = store.written_at(f"{cycle_name(record.cycle)}/record.json")
    first = min((s.generated_at for s in samples if s.generated_at is not None), default=None)
    if committed is None or first is None:
        return False
    return committed - first > record.seconds["wall"] + _WRITING_SECONDS


def _kept() -> Folder:
    return Folder(str(cache_folder() / "rates"))


def _name(config: LineageConfig) -> str:
    return f"{content_hash(config.model, config.cluster.model_dump_json(), config.regime.type)}.json"

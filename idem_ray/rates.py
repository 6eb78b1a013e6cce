"""How fast this cluster works, from what it has done: for estimates of what is still to do."""

from collections.abc import Sequence

from idem_ray.config import LineageConfig
from idem_ray.models import cache_folder
from idem_ray.records import SEED, CycleRecord, content_hash
from idem_ray.settings import Rates
from idem_ray.store import RunStore


def known_rates(config: LineageConfig) -> Rates | None:
    """Of the last work with this model on a cluster with these settings, or None."""
    known = _kept().read_json(_name(config))
    return Rates.model_validate(known) if known else None


def keep_rates(config: LineageConfig, rates: Rates) -> None:
    """Remember rates for the next command."""
    _kept().write_json(_name(config), rates.model_dump())


def measured_rates(store: RunStore, records: Sequence[CycleRecord]) -> Rates | None:
    """From a run's own committed cycles: tokens and judgments by the seconds of their stages. None where a stage has
    not been at work yet."""
    tokens = judgments = trained = 0
    seconds = dict.fromkeys(("generation", "judging", "training"), 0.0)
    for record in records:
        if store.is_linked(record.cycle):
            continue
        # Rejected responses may be another lineage's, and seeds are nobody's.
        samples = [s for s in store.read_samples(record.cycle) if s.lineage == record.lineage and s.checkpoint != SEED]
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


def _kept() -> RunStore:
    return RunStore(str(cache_folder() / "rates"))


def _name(config: LineageConfig) -> str:
    return f"{content_hash(config.model, config.cluster.model_dump_json(), config.regime.type)}.json"

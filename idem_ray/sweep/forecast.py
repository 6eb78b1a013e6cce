"""How fast this cluster works, from what it has done: for estimates of what is still to do."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from idem_ray.cluster.places import Role, total
from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import Dpo, Rates
from idem_ray.folder import Folder
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.regimes import data_of
from idem_ray.lineage.requests import evaluation_requests
from idem_ray.models import cache_folder
from idem_ray.records import BASE, BASE_CYCLE, SEED, CycleRecord, Sample, content_hash
from idem_ray.store.run import RunStore, cycle_name

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


_PROMPT_TOKENS = 40
"""A usual prompt with its chat template, for estimates."""


@dataclass(frozen=True)
class Amount:
    """How much is to be done at most: responses that end early take less.

    Attributes:
        n_cycles: trained and measured; equal ones of several lineages count once.
        generated_tokens: of training samples, rejected sides and evaluations.
        training_tokens: that pass through the model in training, prompts and both sides of a pair with them.
        n_judgments: responses judged, each for trait and coherence.
        judge_calls: of a language-model judge.
    """

    n_cycles: int
    generated_tokens: int
    training_tokens: int
    n_judgments: int
    judge_calls: int

    def times(self, n: int) -> "Amount":
        """So often."""
        return Amount(*(n * value for value in dataclasses.astuple(self)))

    def seconds(self, rates: Rates) -> dict[str, float]:
        """By stage, each alone."""
        return {
            "generation": self.generated_tokens / rates.generated_tokens_per_second,
            "training": self.training_tokens / rates.training_tokens_per_second,
            "judging": self.n_judgments / rates.judgments_per_second,
        }


def amount_of(plans: Sequence[Plan]) -> Amount:
    """What these lineages will do from their beginnings, shared work once."""
    n_cycles = generated = trained = judged = calls = 0
    seen: set[tuple[str, int]] = set()
    rejected: set[str] = set()
    for plan in plans:
        config = plan.config
        held_out = data_of(config.regime).held_out(plan.trait)
        n_answers = len(evaluation_requests(config, held_out, BASE_CYCLE, BASE))
        for cycle in range(BASE_CYCLE, config.n_cycles):
            place = (plan.history(cycle), cycle)
            if place in seen:
                continue
            seen.add(place)
            n_cycles += 1
            generated += n_answers * config.evaluation.max_tokens
            judged += n_answers
            calls += 2 * n_answers * (config.judge.type != "probe")
            if cycle == BASE_CYCLE:
                continue
            n_rows = config.n_sampled + config.n_original if cycle else config.n_seed
            new = config.n_sampled if cycle else 0
            length = config.generation.max_tokens
            is_pairs = isinstance(config.regime, Dpo) and (cycle > 0 or config.regime.cycle_0 == "dpo")
            generated += new * length
            if is_pairs:
                prompts = plan.prompts[cycle - 1][:new] if cycle else []
                fresh = {prompt.id for prompt in prompts} - rejected
                rejected |= fresh
                generated += (len(fresh) if cycle else n_rows) * length
            if config.filter.min_coherence is not None:
                judged += new
                calls += 2 * new * (config.judge.type != "probe")
            trained += n_rows * (_PROMPT_TOKENS + length) * config.training.n_epochs * (2 if is_pairs else 1)
    return Amount(n_cycles, generated, trained, judged, calls)


def plan_lines(
    n_lineages: int, n_at_once: int, roles: Sequence[Role], amount: Amount, rates: Rates | None
) -> list[str]:
    """What a command is about to do, for a person: places, amounts, hours."""
    need = total(roles)
    lines = [
        f"plan: {n_lineages} lineages, {n_at_once} at a time; places: {', '.join(map(str, roles))}; in all CPU "
        f"{need['CPU']:g}, GPU {need['GPU']:g}",
        f"  {amount.n_cycles} cycles to make and measure (what lineages share counted once); at most "
        f"{amount.generated_tokens:,} tokens generated, {amount.training_tokens:,} trained on, {amount.n_judgments:,} "
        f"responses judged ({amount.judge_calls:,} calls of a language model)",
    ]
    if rates is None:
        return [*lines, "  hours: told once the first lineage is done (or give sweep.rates)"]
    return [*lines, f"  {hours_text(amount, rates)}"]


def hours_text(amount: Amount, rates: Rates) -> str:
    """How long it takes at most, from its beginning to its end."""
    seconds = amount.seconds(rates)
    stages = ", ".join(f"{stage} {value / 3600:.2f}" for stage, value in seconds.items())
    longest, whole = max(seconds.values()) / 3600, sum(seconds.values()) / 3600
    return f"hours at most: {longest:.2f} (stages overlap) to {whole:.2f} (one after another): {stages}"

"""What a command will take: how much there is to do, and how fast this cluster has worked."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from idem_ray.cluster.places import Role, total
from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import Rates
from idem_ray.folder import Folder
from idem_ray.lineage.cycle_requests import is_preference, n_rows, requests_of
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.training_data import is_filtered, seed_requests
from idem_ray.models import cache_folder
from idem_ray.records import BASE_CYCLE, SEED, CycleRecord, Sample, content_hash
from idem_ray.store.run import RunStore, cycle_name

_USUAL_PROMPT_TOKENS = 40
"""A usual prompt with its chat template, for estimates."""

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


@dataclass(frozen=True)
class Amount:
    """How much is to be done at most: responses that end early take less.

    Attributes:
        n_cycles: trained and measured; equal ones of several lineages count once.
        n_generated: responses: training samples, rejected sides, evaluations, the probe's contrast answers.
        generated_tokens: of these.
        training_tokens: that pass through the model in training, prompts and both sides of a pair with them.
        n_judgments: responses judged, each for trait and coherence.
        judge_calls: of a language-model judge, with one command's check of the anchors.
    """

    n_cycles: int
    n_generated: int
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
    """What these lineages will do from their beginnings. It counts the requests that the lineages themselves make
    (`requests_of`); one that several of them make, or a cycle that they share, counts once."""
    tokens: dict[str, int] = {}
    judged: set[str] = set()
    asked: set[str] = set()
    cycles: dict[tuple[str, int], int] = {}
    anchors: dict[tuple[str, str], int] = {}
    for plan in plans:
        config = plan.config
        limits = {"train": config.generation.max_tokens, "rejected": config.generation.max_tokens}
        judged_purposes = {"evaluate", "train"} if is_filtered(plan) else {"evaluate"}
        is_llm = config.judge.type != "probe"
        for cycle in range(BASE_CYCLE, config.n_cycles):
            key = (plan.history(cycle), cycle)
            if key in cycles:
                continue
            length = _USUAL_PROMPT_TOKENS + config.generation.max_tokens
            n_sides = 2 if is_preference(plan, cycle) else 1
            cycles[key] = n_rows(plan, cycle) * n_sides * length if cycle >= 0 else 0
            wanted = requests_of(plan, cycle)
            tokens.update((each.id, limits.get(each.purpose, config.evaluation.max_tokens)) for each in wanted)
            ids = {each.id for each in wanted if each.purpose in judged_purposes}
            if cycle >= 0 and is_filtered(plan):  # seed examples pass every filter, and yet are judged with the others
                ids |= {each.id for each in seed_requests(plan, cycle)}
            judged |= ids
            asked |= ids if is_llm else set()
        if is_llm:
            anchors[config.judge.model_dump_json(), plan.trait.hash] = len(plan.trait.anchors)
    calls = 2 * (len(asked) + sum(anchors.values()))  # for the trait, and for coherence
    return Amount(len(cycles), len(tokens), sum(tokens.values()), sum(cycles.values()), len(judged), calls)


def plan_lines(
    n_lineages: int, n_at_once: int, roles: Sequence[Role], amount: Amount, rates: Rates | None
) -> list[str]:
    """What a command is about to do, for a person: places, amounts, hours."""
    need = total(roles)
    lines = [
        f"plan: {n_lineages} lineages, {n_at_once} at a time; places: {', '.join(map(str, roles))}; in all CPU "
        f"{need['CPU']:g}, GPU {need['GPU']:g}",
        f"  {amount.n_cycles} cycles to make and measure (what lineages share counted once); at most "
        f"{amount.n_generated:,} responses of {amount.generated_tokens:,} tokens, {amount.training_tokens:,} tokens "
        f"trained on, {amount.n_judgments:,} responses judged ({amount.judge_calls:,} calls of a language model)",
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

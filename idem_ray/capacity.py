"""What a command needs against what the cluster has or may grow to, and how long it will take."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from idem_ray.errors import UserError
from idem_ray.measure import evaluation_requests
from idem_ray.plan import Plan
from idem_ray.records import BASE, BASE_CYCLE
from idem_ray.regimes import data_of
from idem_ray.settings import Cluster, Dpo, Rates

TRIAL_CPUS = 0.1
"""Logical CPUs of a lineage's own process in a sweep: it waits for the pools."""

_PROMPT_TOKENS = 40
"""A usual prompt with its chat template, for estimates."""


# Places --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Role:
    """So many processes of one kind, each with its logical CPUs and GPUs, which one node must have free."""

    name: str
    n: int
    cpus: float
    gpus: float = 0.0

    def __str__(self) -> str:
        gpus = f" + {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.n} {self.name} x ({self.cpus:g} CPU{gpus})"


def roles_of(cluster: Cluster, judge_gpus: float = 0.0, n_lineages: int = 0) -> list[Role]:
    """Who needs a place, the largest first.

    Args:
        judge_gpus: of each judge replica.
        n_lineages: that have processes of their own, as in a sweep.
    """
    roles = [
        Role("training worker", 1, 1, cluster.trainer_gpus),
        Role("generator", cluster.n_generators, 1, cluster.generator_gpus),
        Role("judge", cluster.n_judges, 1, judge_gpus),
        Role("streams of training data", 1, 1),
    ]
    if n_lineages:
        roles.append(Role("lineage", n_lineages, TRIAL_CPUS))
    return sorted(roles, key=lambda role: (role.gpus, role.cpus), reverse=True)


def total(roles: Iterable[Role]) -> dict[str, float]:
    """Logical CPUs and GPUs of all roles together."""
    found = {"CPU": 0.0, "GPU": 0.0}
    for role in roles:
        found["CPU"] += role.n * role.cpus
        found["GPU"] += role.n * role.gpus
    return found


def check_places(roles: Sequence[Role], nodes: Sequence[Mapping[str, float]], most: Mapping[str, float] | None) -> str:
    """Whether all roles find a place (first fit, the largest role first).

    Args:
        nodes: resources of each living node.
        most: what an autoscaler may let the cluster grow to in all; None where there is none.

    Returns:
        `now`, or `after scaling up`.

    Raises:
        UserError: they never will, with the sum.
    """
    free = [{name: node.get(name, 0.0) for name in ("CPU", "GPU")} for node in nodes]
    homeless = []
    for role in roles:
        for _ in range(role.n):
            room = next((n for n in free if n["CPU"] >= role.cpus - 1e-9 and n["GPU"] >= role.gpus - 1e-9), None)
            if room is None:
                homeless.append(role)
            else:
                room["CPU"] -= role.cpus
                room["GPU"] -= role.gpus
    if not homeless:
        return "now"
    need = total(roles)
    have = {name: sum(node.get(name, 0.0) for node in nodes) for name in need}
    if most and all(need[name] <= most.get(name, 0.0) for name in need):
        return "after scaling up"
    said = ", ".join(map(str, roles))
    limit = f", and may grow to CPU {most.get('CPU', 0):g}, GPU {most.get('GPU', 0):g}" if most else ""
    raise UserError(
        f"The cluster is too small: it needs {said}, in all CPU {need['CPU']:g}, GPU {need['GPU']:g}; it has "
        f"CPU {have['CPU']:g}, GPU {have['GPU']:g} on {len(nodes)} node(s){limit}, and there is no place for "
        f"{homeless[0].name}: lower cluster.n_generators, n_judges, n_lineages or the GPUs of a role, or start Ray "
        "with more (logical CPUs are ours to set: ray start --num-cpus=8)."
    )


# Time ----------------------------------------------------------------------------------------------------------


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

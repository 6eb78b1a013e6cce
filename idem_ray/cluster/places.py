"""The places that a command's roles need, against what the cluster has or may grow to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from idem_ray.config.sections import Cluster
from idem_ray.errors import UserError

TRIAL_CPUS = 0.1
"""Logical CPUs of a lineage's own process in a sweep: it waits for the pools."""


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

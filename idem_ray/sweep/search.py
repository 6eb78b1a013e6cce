"""What a sweep or a family is to run, known before anything starts; what that takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from idem_ray.cluster.places import Role
from idem_ray.cluster.session import roles_for
from idem_ray.config.lineage import LineageConfig
from idem_ray.config.objective import Objective, Stop
from idem_ray.config.search import SweepSettings
from idem_ray.config.sections import Rates
from idem_ray.lineage.plan import Plan
from idem_ray.sweep.forecast import Amount, amount_of, known_rates, plan_lines


@dataclass(frozen=True)
class Search:
    """A search over lineages; a family is one whose lineages are listed, and which looks for nothing.

    Attributes:
        plans: of all lineages that are known, or (Optuna) of the ends of the space: what the pools must be able to
            serve.
        settings: of a sweep; None in a family.
        n_new: lineages that Optuna is still to propose.
        n_calibration: cycles that calibrating may take before.
    """

    plans: Sequence[Plan]
    settings: SweepSettings | None = None
    n_new: int = 0
    n_calibration: int = 0

    @property
    def configs(self) -> list[LineageConfig]:
        """Settings of the lineages that are known."""
        return [plan.config for plan in self.plans]

    @property
    def objective(self) -> Objective:
        """What it looks for."""
        return self.settings.objective if self.settings else Objective()

    @property
    def stop(self) -> Stop:
        """When a lineage's outcome is settled."""
        return self.settings.stop if self.settings else Stop()

    @property
    def trackers(self) -> tuple[str, ...]:
        """Where its curves go."""
        return self.settings.trackers if self.settings else ("tensorboard",)

    @property
    def max_failures(self) -> int:
        """Times that a lineage is tried again after an error."""
        return self.settings.max_failures if self.settings else 1

    @property
    def is_optuna(self) -> bool:
        """Whether lineages are proposed on the way."""
        return self.settings is not None and self.settings.algorithm == "optuna"

    @property
    def n_total(self) -> int:
        """Lineages in the end."""
        return self.settings.n_lineages if self.settings and self.is_optuna else len(self.plans)

    @property
    def n_at_once(self) -> int:
        """Lineages that work at a time."""
        return min(self.configs[0].cluster.n_lineages, self.n_total)

    @property
    def roles(self) -> list[Role]:
        """Who needs a place on the cluster."""
        return roles_for(self.configs, self.n_at_once)

    @property
    def rates(self) -> Rates | None:
        """Given, or known from what this cluster has done."""
        given = self.settings.rates if self.settings else None
        return given or known_rates(self.configs[0])

    @cached_property
    def amount(self) -> Amount:
        """How much there is to do, from the beginning."""
        if not self.is_optuna:
            return amount_of(self.plans)
        # What will be proposed is not known: as if each were the largest of the space.
        largest = max((amount_of([plan]) for plan in self.plans), key=lambda found: found.training_tokens)
        return largest.times(self.n_total)

    def plan_lines(self) -> list[str]:
        """What it takes on this cluster (`forecast.plan_lines`)."""
        lines = plan_lines(self.n_total, self.n_at_once, self.roles, self.amount, self.rates)
        if self.n_calibration:
            lines.append(f"  before that n_seed is calibrated: at most {self.n_calibration} further cycles")
        return lines

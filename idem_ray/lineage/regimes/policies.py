"""Which models a cycle is made from: the switches init, reference and rejected (README, "Words")."""

from collections.abc import Mapping
from dataclasses import dataclass

from idem_ray.config.sections import Dpo, Regime
from idem_ray.records import Checkpoint


@dataclass(frozen=True)
class Policies:
    """The models of one cycle; None is the base model. `reference` and `rejected` count in preference cycles alone
    (`is_preference`)."""

    generator: Checkpoint | None
    init: Checkpoint | None
    is_preference: bool = False
    reference: Checkpoint | None = None
    rejected: Checkpoint | None = None


def policies(regime: Regime, cycle: int, checkpoints: Mapping[int, Checkpoint | None]) -> Policies:
    """The models that cycle `cycle` is made from.

    Args:
        checkpoints: of all cycles before this one; what is not in it is the base model.
    """
    generator = checkpoints.get(cycle - 1)
    previous = None if cycle in regime.restart_cycles else generator
    init = previous if regime.init == "previous" else None
    if not isinstance(regime, Dpo) or (cycle == 0 and regime.cycle_0 == "sft"):
        return Policies(generator, init)
    return Policies(
        generator,
        init,
        is_preference=True,
        reference=previous if regime.reference == "previous" else None,
        rejected=checkpoints.get(cycle - 2) if regime.rejected == "n-2" else None,
    )

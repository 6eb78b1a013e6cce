"""Which models a cycle is made from, for every combination of the switches."""

import pytest

from idem_ray.config.sections import Dpo, Sdf, Sft
from idem_ray.lineage.regimes.policies import policies
from idem_ray.records import Checkpoint

CHECKPOINTS = {-1: None} | {cycle: Checkpoint(id=f"c{cycle}", uri=f"/c{cycle}") for cycle in range(5)}


def before(cycle: int) -> dict[int, Checkpoint | None]:
    return {number: checkpoint for number, checkpoint in CHECKPOINTS.items() if number < cycle}


@pytest.mark.parametrize("cycle", [1, 2, 4])
@pytest.mark.parametrize("init", ["base", "previous"])
@pytest.mark.parametrize("reference", ["base", "previous"])
@pytest.mark.parametrize("rejected", ["base", "n-2"])
def test_three_independent_switches(cycle: int, init: str, reference: str, rejected: str) -> None:
    regime = Dpo.model_validate({"init": init, "reference": reference, "rejected": rejected})
    models = policies(regime, cycle, before(cycle))
    previous = CHECKPOINTS[cycle - 1]
    assert models.generator == previous
    assert models.init == (previous if init == "previous" else None)
    assert models.reference == (previous if reference == "previous" else None)
    assert models.rejected == (CHECKPOINTS[cycle - 2] if rejected == "n-2" and cycle >= 2 else None)
    assert models.is_preference


@pytest.mark.parametrize("regime", [Sft(init="previous"), Sdf(init="previous"), Dpo(init="previous")])
def test_cycle_0_starts_from_the_base_model(regime: Sft | Sdf | Dpo) -> None:
    models = policies(regime, 0, before(0))
    assert (models.generator, models.init, models.reference, models.rejected) == (None, None, None, None)


def test_cycle_0_may_be_supervised() -> None:
    regime = Dpo(cycle_0="sft")
    assert not policies(regime, 0, before(0)).is_preference
    assert policies(regime, 1, before(1)).is_preference


def test_a_restart_takes_init_and_reference_back_to_the_base() -> None:
    regime = Dpo(init="previous", reference="previous", restart_cycles=(2,))
    restarted, after = policies(regime, 2, before(2)), policies(regime, 3, before(3))
    assert (restarted.init, restarted.reference) == (None, None)
    assert restarted.generator == CHECKPOINTS[1], "it still learns from the previous model's outputs"
    assert after.init == after.reference == CHECKPOINTS[2]


@pytest.mark.parametrize("regime", [Sft(init="previous"), Sdf(init="previous")])
def test_supervised_cycles_have_no_reference(regime: Sft | Sdf) -> None:
    models = policies(regime, 3, before(3))
    assert models.init == CHECKPOINTS[2]
    assert not models.is_preference

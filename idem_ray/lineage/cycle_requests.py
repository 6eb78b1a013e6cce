"""Every request that a cycle makes, known before anything is made: for forecasts, and to check one."""

from idem_ray.config.sections import Dpo
from idem_ray.lineage.judging import contrast_requests, evaluated
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.regimes.policies import policies
from idem_ray.lineage.training_data import n_wanted, rejected_requests, sampled_requests, seed_requests
from idem_ray.records import BASE, BASE_CYCLE, Checkpoint, Sample, id_of


def requests_of(plan: Plan, cycle: int) -> list[Sample]:
    """What a cycle asks of models: held-out questions, the probe's contrast answers (with the base model), samples to
    train on and their rejected sides. With a filter it is the most that its budget allows, and the rejected sides are
    those of the first samples. Checkpoints that are not there yet are called `(cycle 3)`."""
    checkpoints = {number: Checkpoint(f"(cycle {number})", "") for number in range(cycle + 1)}
    config = plan.config
    if cycle == BASE_CYCLE:
        contrast = contrast_requests(plan) if config.judge.type == "probe" else []
        return [*contrast, *evaluated(plan, cycle, BASE)]
    models = policies(config.regime, cycle, {number: checkpoints[number] for number in range(cycle)})
    sampled = sampled_requests(plan, cycle, id_of(models.generator)) if cycle else []
    pairs = [*sampled[: n_wanted(plan)], *seed_requests(plan, cycle)]
    rejected = rejected_requests(plan, cycle, pairs, id_of(models.rejected)) if models.is_preference else []
    return [*sampled, *rejected, *evaluated(plan, cycle, checkpoints[cycle].id)]


def n_rows(plan: Plan, cycle: int) -> int:
    """Rows (DPO: pairs) that pass through training in a cycle >= 0, in all epochs or steps."""
    config, training = plan.config, plan.config.training
    rows = n_wanted(plan) + config.n_original if cycle else config.n_seed
    return training.n_steps * training.rows_per_step if training.n_steps else rows * training.n_epochs


def is_preference(plan: Plan, cycle: int) -> bool:
    """Whether a cycle is trained on pairs."""
    regime = plan.config.regime
    return isinstance(regime, Dpo) and (cycle > 0 or regime.cycle_0 == "dpo")

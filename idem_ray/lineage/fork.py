"""A new lineage from a committed cycle of another one."""

import operator

from idem_ray.config.lineage import ForkPoint, LineageConfig, apply_overrides, parse_config
from idem_ray.errors import UserError
from idem_ray.lineage.regimes.data import data_of
from idem_ray.store.run import RunStore, read_config
from idem_ray.traits.traits import load_trait


def fork_config(run_uri: str, cycle: int, overrides: list[str], name: str) -> LineageConfig:
    """The settings of a new lineage that leaves a run after one of its committed cycles.

    Args:
        overrides: what is to be different, as `key=value`.

    Raises:
        UserError: no such run or cycle, or a setting that the shared cycles were made or measured with.
    """
    parent = RunStore(run_uri)
    config = read_config(parent)
    record = parent.record(cycle)
    if cycle < 0 or record is None:
        committed = ", ".join(str(found.cycle) for found in parent.records() if found.cycle >= 0)
        raise UserError(f"Cycle {cycle} of {parent.uri} is not committed (committed: {committed or 'none'}).")
    data = apply_overrides(config.model_dump(mode="json"), overrides)
    fork = ForkPoint(run=parent.uri, cycle=cycle, history=config.history(cycle))
    child = parse_config(data | {"name": name, "forked_from": fork.model_dump()}, source="the fork's settings")
    for field in ("model", "trait", "judge", "evaluation"):
        new, old = getattr(child, field), getattr(config, field)
        if field == "judge":  # where its model is served may change
            new, old = new.identity, old.identity
        if new != old:
            why = "its adapters fit no other" if field == "model" else "its cycles were measured with it"
            raise UserError(f"A fork cannot change {field}: {parent.uri} has '{old}', and {why}.")
    if load_trait(config.trait).hash != parent.identity()["trait_hash"]:
        raise UserError(
            f"The data of trait '{config.trait}' is no longer what {parent.uri} was made and measured with: restore it."
        )
    if data_of(child.regime) is not data_of(config.regime):
        raise UserError("A fork cannot go from answers to documents or back: its cycles would not be comparable.")
    for field in ("n_seed", "regime.cycle_0", "regime.cycle_0_learning_rate"):
        old, new = (operator.attrgetter(field)(each) if _has(each, field) else None for each in (config, child))
        if old != new and None not in (old, new):
            raise UserError(f"A fork cannot change {field}: it belongs to cycle 0, which is shared.")
    restarts = [{at for at in each.regime.restart_cycles if at <= cycle} for each in (config, child)]
    if restarts[0] != restarts[1]:
        raise UserError(f"A fork cannot change restart_cycles up to cycle {cycle}: these cycles are shared.")
    before, after = config.training, child.training
    if after.lora_rank < before.lora_rank:
        raise UserError(
            f"A fork cannot lower training.lora_rank ({before.lora_rank}): the shared checkpoints are served with it."
        )
    kept = ["weights", *(["lora_rank", "lora_alpha", "lora_targets"] if child.regime.init == "previous" else [])]
    for field in kept:
        if getattr(before, field) != getattr(after, field):
            raise UserError(
                f"A fork cannot change training.{field}: it goes on from a checkpoint of {parent.uri}, which was made "
                f"with '{getattr(before, field)}'."
            )
    if child.n_cycles <= cycle + 1:
        raise UserError(
            f"The fork would have no cycle of its own: n_cycles is {child.n_cycles}, and it leaves after cycle "
            f"{cycle}; use --set n_cycles={cycle + 2} or more."
        )
    if RunStore(child.run_uri).uri == parent.uri:
        raise UserError(f"The fork would be {parent.uri} itself: give it another name.")
    return child


def _has(config: LineageConfig, field: str) -> bool:
    section, _, name = field.rpartition(".")
    return hasattr(getattr(config, section) if section else config, name)

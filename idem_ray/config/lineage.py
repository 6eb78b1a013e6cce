"""The settings of a lineage: frozen, checked before anything starts, and hashed by content.

Two kinds of settings are kept apart: what makes the result, which is hashed, and where it runs (`cluster`) or how long
(`n_cycles`, `guards`), which may change between a run and its resumption.
"""

import copy
import json
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from idem_ray.config.reading import parse_yaml, yaml_problem
from idem_ray.config.sections import (
    JUDGE_SETTINGS,
    REGIME_SETTINGS,
    Cluster,
    CoherenceFilter,
    Dpo,
    Evaluation,
    Generation,
    Guards,
    JudgeSettings,
    ProbeJudgeSettings,
    Regime,
    Sdf,
    Settings,
    Sft,
    Training,
)
from idem_ray.errors import UserError
from idem_ray.records import BASE_CYCLE, TextFormat, content_hash

SettingsKind = TypeVar("SettingsKind", bound=Settings)

NO_PART_OF_A_CYCLE = frozenset({"name", "output", "cluster", "n_cycles", "guards"})
"""Settings that say where and how long a lineage runs; they change no cycle, and lineages do not differ by them."""


_ROW_PROMPT_TOKENS = 128
"""Least room for a prompt in a training row; one that needs more is an error when it is met."""

_SHIPPED_POOLS = ("everyday", "prefixes", "titles")


class ForkPoint(Settings):
    """Where a lineage left another one: it shares that run's cycles up to `cycle`."""

    run: str
    cycle: int = Field(ge=0)
    history: str = Field(description="hash of all that made the cycle which is forked")


class LineageConfig(Settings):
    """One lineage: one base model, one trait, one regime, one random seed."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    model: str = "embedded"
    trait: str
    prompts: str = Field("", description="pool of what is sampled from; left out: the shipped one of the regime")
    seed: int = Field(0, ge=0)
    n_cycles: int = Field(7, ge=1, description="with cycle 0")
    n_seed: int = Field(ge=1)
    n_sampled: int = Field(ge=1)
    n_original: int = Field(0, ge=0, description="seed examples mixed into each later cycle")
    regime: Regime = Sft()
    training: Training = Training()
    generation: Generation = Generation()
    evaluation: Evaluation = Evaluation()
    filter: CoherenceFilter = CoherenceFilter()
    guards: Guards = Guards()
    judge: JudgeSettings = ProbeJudgeSettings()
    forked_from: ForkPoint | None = None
    output: str = "runs"
    cluster: Cluster = Cluster()

    @property
    def hash(self) -> str:
        """16 hexadecimal digits over all that makes the result: not the name, the place, the cluster, nor how long the
        lineage goes on."""
        return content_hash(json.dumps(self._content(), sort_keys=True))

    def training_of(self, cycle: int) -> Training:
        """The training settings of a cycle; a preference lineage's supervised cycle 0 may have a rate of its own."""
        regime = self.regime
        if cycle == 0 and isinstance(regime, Dpo) and regime.cycle_0_learning_rate:
            return self.training.model_copy(update={"learning_rate": regime.cycle_0_learning_rate})
        return self.training

    def up_to_cycle_0(self) -> "LineageConfig":
        """The least settings with the same cycle 0: what only later cycles ask for is at fixed values, so that lineages
        which agree up to there have the same."""
        regime, least = self.regime, self.model_copy(update=_LATER)
        if isinstance(regime, Dpo) and regime.cycle_0 == "dpo":
            return least.model_copy(update={"regime": Dpo(beta=regime.beta)})
        if isinstance(regime, Sdf):
            source = regime.generate_from
            return least.model_copy(
                update={"regime": Sdf(generate_from=source), "generation": _SHORT, "prompts": source}
            )
        alike = {"regime": Sft(), "training": self.training_of(0), "generation": _SHORT, "prompts": "everyday"}
        return least.model_copy(update=alike)

    def history(self, cycle: int) -> str:
        """16 hexadecimal digits over what makes the cycles up to this one. Lineages that agree on it share the cycle:
        two that differ in `reference` are the same until cycle 1, where it begins to count."""
        content = self._content()
        fork = self.forked_from
        if fork and cycle <= fork.cycle:
            return content_hash(fork.history, "before", fork.cycle - cycle)
        regime = self.regime
        if cycle == BASE_CYCLE:
            kept = ("model", "trait", "seed", "evaluation", "judge")
            content = {name: content[name] for name in kept}
            content["documents"] = isinstance(regime, Sdf)
        elif cycle == 0:
            least = self.up_to_cycle_0()
            is_dpo = isinstance(least.regime, Dpo)
            content = least._content()
            for name in ("prompts", "n_sampled", "n_original", "filter", *(() if is_dpo else ("generation",))):
                del content[name]
            content["regime"] = least.regime.model_dump(mode="json", include={"type", "beta", "generate_from"})
        else:
            content["regime"]["restart_cycles"] = [at for at in regime.restart_cycles if at <= cycle]
        return content_hash(cycle if cycle <= 0 else "later", json.dumps(content, sort_keys=True))

    def _content(self) -> dict[str, Any]:
        content = self.model_dump(mode="json", exclude=set(NO_PART_OF_A_CYCLE)) | {"judge": self.judge.identity}
        if self.forked_from:
            del content["forked_from"]["run"]  # a run may be moved
        return content

    @property
    def text_format(self) -> TextFormat:
        """What its models write."""
        return "document" if isinstance(self.regime, Sdf) else "chat"

    @property
    def run_uri(self) -> str:
        """The run's folder or object-store prefix."""
        return f"{self.output.rstrip('/')}/{self.name}"

    @model_validator(mode="before")
    @classmethod
    def _choose_prompts(cls, data: Any) -> Any:
        """Questions for chat, beginnings or titles for documents."""
        if not isinstance(data, dict) or data.get("prompts"):
            return data
        regime = data.get("regime") or {}
        section = regime.model_dump() if isinstance(regime, Settings) else regime
        is_documents = isinstance(section, dict) and section.get("type") == "sdf"
        return data | {"prompts": section.get("generate_from", "prefixes") if is_documents else "everyday"}

    @field_validator("judge", mode="before")
    @classmethod
    def _name_is_enough(cls, judge: Any) -> Any:
        """`judge: probe` is short for a section with the type alone."""
        return {"type": judge} if isinstance(judge, str) else judge

    @model_validator(mode="after")
    def _check_together(self) -> "LineageConfig":
        if self.generation.max_tokens + _ROW_PROMPT_TOKENS > self.training.max_tokens:
            raise ValueError(
                f"generation.max_tokens ({self.generation.max_tokens}) with {_ROW_PROMPT_TOKENS} for the prompt is "
                f"over training.max_tokens ({self.training.max_tokens}): rows would be cut; raise training.max_tokens"
            )
        wrong = [cycle for cycle in self.regime.restart_cycles if not 0 < cycle < self.n_cycles]
        if wrong:
            raise ValueError(
                f"regime.restart_cycles has {wrong[0]}, but a restart can only be in cycles 1 to {self.n_cycles - 1}"
            )
        if self.training.weights == "full" and self.cluster.serving == "lora":
            raise ValueError("training.weights full makes no adapters, so cluster.serving cannot be lora")
        pools = {"sft": "everyday", "dpo": "everyday", "sdf": getattr(self.regime, "generate_from", "")}
        if self.prompts in _SHIPPED_POOLS and self.prompts != pools[self.regime.type]:
            raise ValueError(
                f"prompts '{self.prompts}' do not fit regime {self.regime.type}: leave them out for "
                f"'{pools[self.regime.type]}', or name a file of your own"
            )
        if self.n_original > self.n_seed:
            raise ValueError(f"n_original ({self.n_original}) is over n_seed ({self.n_seed}): there are no more to mix")
        return self


_SHORT = Generation(max_tokens=1)
"""Where nothing is generated: any that leaves room in a training row."""

_LATER: dict[str, Any] = {"n_cycles": 1, "n_sampled": 1, "n_original": 0, "filter": CoherenceFilter()}
"""What cycle 0 does not ask for, in any regime."""


def apply_overrides(data: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """`data` with each `a.b=value` (value in YAML) set in it.

    Raises:
        UserError: an override without `=`, or one that reaches into something that is no section.
    """
    data = copy.deepcopy(data)
    for override in overrides:
        path, sign, text = override.partition("=")
        if not sign or not path:
            raise UserError(f"--set takes key=value, not {override!r}.")
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            raise UserError(f"--set {override}: the value is not valid YAML: {yaml_problem(error)}.") from error
        set_field(data, path, value, f"--set {override}")
    return data


def set_field(data: dict[str, Any], path: str, value: Any, source: str) -> None:
    """Set the field at a dotted path, in place; a section that is not there yet is made.

    Raises:
        UserError: the path reaches into something that is no section; `source` says where it came from.
    """
    *sections, leaf = path.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise UserError(f"{source}: {section!r} is a value, not a section.")
    data[leaf] = _merged(data.get(leaf), value)


def _merged(old: Any, new: Any) -> Any:
    """A mapping given for a section changes the fields that it names; a regime of another type begins anew."""
    both = isinstance(old, dict) and isinstance(new, dict)
    if not both or new.get("type", old.get("type")) != old.get("type"):
        return new
    return old | {name: _merged(old.get(name), value) for name, value in new.items()}


def parse_config(data: dict[str, Any], source: str = "config") -> LineageConfig:
    """Check settings that were already read.

    Raises:
        UserError: a field that is unknown, missing or out of range (each named).
    """
    return parse_settings(LineageConfig, data, source)


def parse_settings(kind: type[SettingsKind], data: Any, source: str) -> SettingsKind:
    """Check any settings.

    Raises:
        UserError: what `parse_config` says, with `source` before it.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error, kind)}.") from error


def _explain(error: ValidationError, kind: type[Settings]) -> str:
    said = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = _nearest(str(problem["loc"][-1]), problem["loc"], kind)
            said.append(f"unknown field '{place}'" + (f" (did you mean '{near}'?)" if near else ""))
        elif problem["type"] == "missing":
            said.append(f"field '{place}' is missing")
        else:
            said.append((f"'{place}': " if place else "") + problem["msg"].removeprefix("Value error, "))
    return "; ".join(said)


def _nearest(word: str, place: tuple[Any, ...], kind: type[Settings]) -> str | None:
    import difflib

    choices = set(kind.model_fields)
    if len(place) > 1:
        annotation = kind.model_fields[str(place[0])].annotation
        choices = set(getattr(annotation, "model_fields", {}))
        for section, kinds in (("regime", REGIME_SETTINGS), ("judge", JUDGE_SETTINGS)):
            if place[0] == section:
                choices = {name for settings in kinds.values() for name in settings.model_fields}
    matches = difflib.get_close_matches(word, sorted(choices), n=1)
    return matches[0] if matches else None

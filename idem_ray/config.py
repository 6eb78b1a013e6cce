"""The settings of a lineage: frozen, checked before anything starts, and hashed by content.

Two kinds of settings are kept apart: what makes the result (everything but `cluster`), which is hashed, and where it
runs (`cluster`), which may change between a run and its resumption.
"""

import copy
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from idem_ray.errors import UserError
from idem_ray.records import content_hash


class Settings(BaseModel):
    """Parent of all settings: immutable, and a misspelt field is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sft(Settings):
    """Supervised finetuning on chat responses; loss on the assistant's tokens."""

    type: Literal["sft"] = "sft"
    init: Literal["base", "previous"] = "base"


Regime = Annotated[Sft, Field(discriminator="type")]


class Training(Settings):
    """One cycle's training run. `learning_rate` is the peak; `warmup` a fraction of the steps."""

    learning_rate: float = Field(1.5e-4, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: float = Field(0.05, ge=0, lt=1)
    n_epochs: int = Field(1, ge=1)
    batch_size: int = Field(2, ge=1)
    weight_decay: float = Field(0.01, ge=0)
    adam_beta2: float = Field(0.95, gt=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    lora_rank: int = Field(16, ge=1, le=512)
    lora_alpha: int = Field(32, ge=1)
    max_tokens: int = Field(1024, ge=8, description="longest training row; longer ones are cut at the end")


class Generation(Settings):
    """How training data is sampled."""

    temperature: float = Field(0.8, ge=0)
    max_tokens: int = Field(1024, ge=1)


class Evaluation(Settings):
    """How each cycle's model is measured: `n_samples` responses to every held-out question."""

    n_samples: int = Field(10, ge=1)
    temperature: float = Field(0.7, ge=0)
    max_tokens: int = Field(400, ge=1)


class CoherenceFilter(Settings):
    """Keep generated samples whose coherence is at least `min_coherence` (None: keep all), sampling more until
    `n_sampled` are kept or `budget` times that many were generated. Without a threshold the coherence of training
    samples is not judged; 0 judges it and keeps all."""

    min_coherence: float | None = Field(None, ge=0, le=100)
    budget: float = Field(3.0, ge=1)


class Cluster(Settings):
    """Where it runs. None of this changes the result, and none of it is hashed."""

    serving: Literal["auto", "merged", "lora"] = "auto"
    n_generators: int = Field(1, ge=1)
    generator_gpus: float = Field(0, ge=0)
    generator_memory_fraction: float = Field(0.85, gt=0, le=1, description="of a GPU's memory, for vLLM")
    max_concurrent_requests: int = Field(64, ge=1)
    n_judges: int = Field(1, ge=1)
    n_trainers: int = Field(1, ge=1)
    trainer_gpus: float = Field(0, ge=0)
    n_cores: int | None = Field(None, ge=1, description="of each machine without GPUs, for all roles (None: all)")
    stall_timeout_seconds: float = Field(900, gt=0, description="a stage without progress for so long fails")


class LineageConfig(Settings):
    """One lineage: one base model, one trait, one regime, one random seed."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    model: str = "embedded"
    trait: str
    prompts: str = "everyday"
    seed: int = Field(0, ge=0)
    n_cycles: int = Field(7, ge=1, description="with cycle 0")
    n_seed: int = Field(ge=1)
    n_sampled: int = Field(ge=1)
    regime: Regime = Sft()
    training: Training = Training()
    generation: Generation = Generation()
    evaluation: Evaluation = Evaluation()
    filter: CoherenceFilter = CoherenceFilter()
    judge: Literal["probe"] = "probe"
    output: str = "runs"
    cluster: Cluster = Cluster()

    @property
    def hash(self) -> str:
        """16 hexadecimal digits over all that makes the result: not the name, the place or the cluster."""
        content = self.model_dump(mode="json", exclude={"name", "output", "cluster"})
        return content_hash(json.dumps(content, sort_keys=True))

    @property
    def run_uri(self) -> str:
        """The run's folder or object-store prefix."""
        return f"{self.output.rstrip('/')}/{self.name}"

    @model_validator(mode="after")
    def _check_lengths(self) -> "LineageConfig":
        if self.generation.max_tokens > self.training.max_tokens:
            raise ValueError(
                f"generation.max_tokens ({self.generation.max_tokens}) is over training.max_tokens "
                f"({self.training.max_tokens}): rows would be cut; raise training.max_tokens"
            )
        return self


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
        *sections, leaf = path.split(".")
        place = data
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise UserError(f"--set {override}: {section!r} is a value, not a section.")
        try:
            place[leaf] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"--set {override}: the value is not valid YAML.") from error
    return data


def load_config(path: str | Path, overrides: list[str] | None = None) -> LineageConfig:
    """Read a lineage's YAML file.

    Raises:
        UserError: no such file, no YAML mapping, or a field that is unknown, missing or out of range (each named).
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read the config {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold a mapping of settings, such as 'trait: bliss'.")
    data.setdefault("name", path.stem)
    return parse_config(apply_overrides(data, overrides or []), source=str(path))


def parse_config(data: dict[str, Any], source: str = "config") -> LineageConfig:
    """Check settings that were already read.

    Raises:
        UserError: what `load_config` says of fields.
    """
    try:
        return LineageConfig.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error)}.") from error


def _explain(error: ValidationError) -> str:
    known = set(LineageConfig.model_fields)
    said = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = _nearest(str(problem["loc"][-1]), problem["loc"], known)
            said.append(f"unknown field '{place}'" + (f" (did you mean '{near}'?)" if near else ""))
        elif problem["type"] == "missing":
            said.append(f"field '{place}' is missing")
        else:
            said.append((f"'{place}': " if place else "") + problem["msg"].removeprefix("Value error, "))
    return "; ".join(said)


def _nearest(word: str, place: tuple[Any, ...], top_level: set[str]) -> str | None:
    import difflib

    choices = set(top_level)
    if len(place) > 1:
        section = LineageConfig.model_fields[str(place[0])].annotation
        choices = set(getattr(section, "model_fields", {}))
        if place[0] == "regime":
            choices = set(Sft.model_fields)
    matches = difflib.get_close_matches(word, sorted(choices), n=1)
    return matches[0] if matches else None

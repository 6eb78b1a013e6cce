"""A search space in Tune's own terms, over any field of a lineage's settings."""

import difflib
import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from idem_ray.config.objective import Objective, Stop
from idem_ray.config.sections import Rates, Settings

_STEPPED = {"quniform", "qloguniform", "qrandint", "qlograndint"}
TERMS = {
    "grid": "a list of values",
    "choice": "a list of values",
    "uniform": "[low, high]",
    "quniform": "[low, high, step]",
    "loguniform": "[low, high]",
    "qloguniform": "[low, high, step]",
    "randint": "[low, high], without high",
    "qrandint": "[low, high, step]",
    "lograndint": "[low, high], without high",
    "qlograndint": "[low, high, step]",
}
"""What one writes in a search space, as `ray.tune` has it, and what each takes."""

_LISTS = ("grid", "choice")


class Dimension(Settings):
    """One searched field: a term and its arguments, written `{loguniform: [0.01, 1]}`."""

    term: str
    arguments: tuple[Any, ...]

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        if isinstance(data, Dimension) or (isinstance(data, dict) and set(data) == {"term", "arguments"}):
            return data
        if not isinstance(data, dict) or len(data) != 1:
            raise ValueError("must be one term with its arguments, such as {grid: [0.03, 0.1]}")
        ((term, arguments),) = data.items()
        term = {"grid_search": "grid"}.get(str(term), str(term))
        if term not in TERMS:
            near = difflib.get_close_matches(term, TERMS, n=1)
            raise ValueError(f"unknown term '{term}'" + (f" (did you mean '{near[0]}'?)" if near else ""))
        if not isinstance(arguments, list):
            raise ValueError(f"{term} takes {TERMS[term]}")
        if term in _LISTS:
            if not arguments:
                raise ValueError(f"{term} is empty: give it at least one value")
            return {"term": term, "arguments": arguments}
        return {"term": term, "arguments": _numbers(term, arguments)}

    @property
    def is_list(self) -> bool:
        """Whether the values are listed one by one."""
        return self.term in _LISTS

    @property
    def ends(self) -> tuple[Any, ...]:
        """All values of a list, or the lowest and the highest of a range."""
        if self.is_list:
            return self.arguments
        low, high = self.arguments[:2]
        return (low, high - 1 if self.term in ("randint", "lograndint") else high)


def _numbers(term: str, arguments: list[Any]) -> list[float]:
    wanted = 3 if term in _STEPPED else 2
    try:
        numbers = [float(argument) for argument in arguments]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != wanted or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{term} takes {TERMS[term]}, all numbers")
    low, high = numbers[:2]
    if low >= high:
        raise ValueError(f"{term}: low ({low:g}) must be under high ({high:g})")
    if "log" in term and low <= 0:
        raise ValueError(f"{term}: low must be over 0")
    if wanted == 3 and numbers[2] <= 0:
        raise ValueError(f"{term}: step must be over 0")
    if wanted == 3 and any(abs(end / numbers[2] - round(end / numbers[2])) > 1e-9 for end in (low, high)):
        raise ValueError(f"{term}: low and high must be multiples of step")
    return [int(number) for number in numbers] if "int" in term else numbers


class SweepSettings(Settings):
    """The `sweep` section of a config."""

    space: dict[str, Dimension] = Field(
        min_length=1, description="field of a lineage's settings -> where it is searched"
    )
    search: Literal["grid", "random", "optuna"] | None = Field(
        None, description="left out: grid where all is listed, else random"
    )
    n_trials: int = Field(1, ge=1, description="lineages; with a grid, draws for each of its points")
    seed: int = Field(0, ge=0, description="of the search")
    objective: Objective = Objective()
    stop: Stop = Stop()
    max_failures: int = Field(1, ge=0, description="times that a lineage is tried again after an error")
    rates: Rates | None = Field(None, description="how fast the cluster works, for the plan (left out: as measured)")
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)

    @property
    def algorithm(self) -> Literal["grid", "random", "optuna"]:
        """The search that was asked for, or that fits the space."""
        every_listed = all(dimension.term == "grid" for dimension in self.space.values())
        return self.search or ("grid" if every_listed else "random")

    @property
    def n_lineages(self) -> int:
        """How many an Optuna search makes: no more than a space of lists has points."""
        if not all(dimension.is_list for dimension in self.space.values()):
            return self.n_trials
        return min(self.n_trials, math.prod(len(dimension.arguments) for dimension in self.space.values()))

    @model_validator(mode="after")
    def _check_search(self) -> "SweepSettings":
        ranges = [field for field, dimension in self.space.items() if dimension.term != "grid"]
        if self.search == "grid" and ranges:
            raise ValueError(f"a grid search needs lists: {ranges[0]} is no grid (use search: random)")
        if self.algorithm == "optuna" and self.n_trials < 2:
            raise ValueError("search: optuna needs n_trials, the number of lineages")
        if self.algorithm == "optuna":
            coarse = [d.term for d in self.space.values() if d.term in ("qloguniform", "qlograndint")]
            if coarse:
                raise ValueError(f"search: optuna knows no {coarse[0]}: use quniform, loguniform or lograndint")
            if self.stop != Stop() and self.objective.reading != "largest_gain":
                raise ValueError(
                    f"search: optuna with a stop needs objective.reading largest_gain: '{self.objective.reading}' of a "
                    "lineage that was cut short is not that of a whole one"
                )
        return self


def corners(settings: SweepSettings) -> list[dict[str, Any]]:
    """Values that reach every end of every dimension, to be checked before anything is started."""
    first = {field: dimension.ends[0] for field, dimension in settings.space.items()}
    ends = itertools.chain.from_iterable(
        ({**first, field: end} for end in dimension.ends) for field, dimension in settings.space.items()
    )
    return [plain(values) for values in ends]


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as Python has them, and whole ones as integers: a step of 8 between floats is a number of prompts."""

    def one(value: Any) -> Any:
        value = value.item() if hasattr(value, "item") else value
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return {field: one(value) for field, value in values.items()}


def trial_name(values: Mapping[str, Any]) -> str:
    """A folder's name that says what is special about a lineage: `beta_0.03-n_sampled_24`."""
    leaves = [field.split(".")[-1] for field in values]
    parts = []
    for (field, value), leaf in zip(values.items(), leaves, strict=True):
        label = leaf if leaves.count(leaf) == 1 else field
        parts.append(f"{label}_{_text(value)}")
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts)).strip("_.-")
    return name[:120] or "lineage"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "_".join(_text(part) for part in value.values())
    if isinstance(value, list):
        return "+".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return Path(text).stem if "/" in text else text

"""What a sweep's figures are drawn from: the swept settings as axes, and each lineage's curve as a light SVG panel."""

import math
import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idem_ray.records import BASE_CYCLE, CycleRecord
from idem_ray.report.page import curve_points
from idem_ray.text import ABSENT, count_text, list_text, trait_name

MAX_LISTED = 12
"""Values of a setting that are listed one by one where it is said what was swept over."""

_MAX_CELLS = 20
"""Numeric values along a heatmap's edge; with more of them their cells could not be read."""

_MIN_CONTINUOUS, _CONTINUOUS_SHARE = 4, 2 / 3
"""A numeric setting is continuous where it has at least so many values, and so many for each lineage: in a grid of two
settings a value comes back at least once, in a random search it hardly ever does."""

_LOG_RATIO = 10


@dataclass(frozen=True)
class Axis:
    """A swept setting.

    `values` are its different values, numbers in their order, others as they first came, and None where lineages lack
    the setting; `texts` says them, `places` has the place among them for each lineage.
    """

    path: str
    name: str
    values: tuple[Any, ...]
    texts: tuple[str, ...]
    places: tuple[int, ...]

    @property
    def numbers(self) -> list[float] | None:
        """The values as numbers, without that of the lineages that lack the setting; None where any is no number."""
        found = [_number(value) for value, text in zip(self.values, self.texts, strict=True) if text != ABSENT]
        known = [number for number in found if number is not None]
        return known if known and len(known) == len(found) else None

    @property
    def is_replicate(self) -> bool:
        """Whether it is the random seed, whose values have no order: lineages that differ in it alone are repetitions
        of one another."""
        return self.path.split(".")[-1] == "seed"

    @property
    def is_continuous(self) -> bool:
        """Whether its values are drawn from a range rather than listed: points in a plane, not cells of a grid."""
        n_values = len(self.numbers or ())
        many = n_values > _MAX_CELLS or n_values > _CONTINUOUS_SHARE * len(self.places)
        return n_values >= _MIN_CONTINUOUS and many

    @property
    def is_log(self) -> bool:
        """Whether it spans more than a decade of positive numbers."""
        known = self.numbers
        return known is not None and known[0] > 0 and known[-1] > _LOG_RATIO * known[0]

    @property
    def told(self) -> str:
        """Its values in words: `0.01, 0.03 and 0.1`, `200 values from 1e-05 to 0.001`."""
        if len(self.texts) <= MAX_LISTED and not self.is_continuous:
            return list_text(self.texts)
        told = count_text(len(self.numbers or self.texts), "value")
        if self.numbers is None:
            return f"{told}, such as {list_text(self.texts[:3])}"
        lacking = ", and lineages without it" if ABSENT in self.texts else ""
        return f"{told} from {self.texts[0]} to {self.texts[len(self.numbers) - 1]}{lacking}"

    def text_of(self, lineage: int) -> str:
        """The value of a lineage as it is shown."""
        return self.texts[self.places[lineage]]

    @property
    def data(self) -> dict[str, Any]:
        """The axis for a page's script."""
        known = self.numbers
        return {
            "name": self.name,
            "texts": self.texts,
            "numbers": known and [*known, *[None] * (len(self.texts) - len(known))],
            "continuous": self.is_continuous,
            "log": self.is_log,
            "ordered": known is not None and not self.is_replicate,
        }


def axes_of(values: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[Axis]:
    """The swept settings, those with the most values first (the random seed last: over it figures show means).

    Args:
        values: for each lineage its settings, dotted path -> value.
        names: what settings are called, by path; others are called by the last part of their path where that is clear.
    """
    paths = list(dict.fromkeys(path for own in values for path in own))
    leaves = Counter(path.split(".")[-1] for path in paths)
    axes = []
    for path in paths:
        leaf = path.split(".")[-1]
        axes.append(_axis(path, names.get(path, leaf if leaves[leaf] == 1 else path), values))
    return sorted(axes, key=lambda axis: (axis.is_replicate, -len(axis.texts)))


def _axis(path: str, name: str, values: Sequence[Mapping[str, Any]]) -> Axis:
    distinct: dict[str, Any] = {}
    for own in values:
        if path in own:
            distinct.setdefault(_key(own[path]), own[path])
    found = dict(sorted(distinct.items(), key=lambda item: _order(item[1])))
    numeric = [number for value in found.values() if (number := _number(value)) is not None]
    n_digits = _digits(numeric)
    texts = [value_text(value, n_digits) for value in found.values()]
    # Values that read alike, such as two files of one name, are told apart by their whole texts.
    times = Counter(texts)
    texts = [
        str(value) if times[text] > 1 and _number(value) is None else text
        for value, text in zip(found.values(), texts, strict=True)
    ]
    place = {key: at for at, key in enumerate(found)}
    places = tuple(place[_key(own[path])] if path in own else len(place) for own in values)
    lacking = len(place) in places
    return Axis(path, name, (*found.values(), *[None] * lacking), (*texts, *[ABSENT] * lacking), places)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        return None
    return float(value)


def _key(value: Any) -> str:
    """What tells values apart: 24 and 24.0 are one, 1 and True are two."""
    number = _number(value)
    return repr(value) if number is None else repr(number)


def _order(value: Any) -> tuple[bool, float]:
    number = _number(value)
    return (number is None, number or 0.0)


def _digits(numeric: Sequence[float]) -> int:
    """Significant digits that tell these numbers apart; three where they are many, drawn from a range."""
    if len(numeric) > _MAX_CELLS:
        return 3
    return next(n for n in range(3, 18) if len({f"{number:.{n}g}" for number in numeric}) == len(numeric) or n == 17)


def value_text(value: Any, n_digits: int = 3) -> str:
    """A setting's value as it is shown: numbers with so many significant digits, of files their name."""
    number = _number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {value_text(part, n_digits)}" for key, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return "+".join(value_text(part, n_digits) for part in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if number is not None:
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else f"{number:.{n_digits}g}"
    text = str(value)
    return trait_name(Path(text).name if text.startswith(("/", "~")) else text)


def grid_cells(across: Axis, down: Axis) -> list[tuple[str, list[list[int]]]]:
    """The rows of the grid that two settings span, the highest value first: what each is called, and the places of the
    lineages in each of its cells."""
    cells: dict[tuple[int, int], list[int]] = {}
    for place, key in enumerate(zip(down.places, across.places, strict=True)):
        cells.setdefault(key, []).append(place)
    return [
        (f"{down.name} {text}", [cells.get((row, column), []) for column in range(len(across.texts))])
        for row, text in reversed(list(enumerate(down.texts)))
    ]


# Panels --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """The frame that all panels share: cycles 0 to `last_cycle` (at least 1) across, scores 0 to 100 up, in SVG user
    units."""

    last_cycle: int
    width: int = 160
    height: int = 95
    left: int = 21
    right: int = 155
    top: int = 5
    bottom: int = 80

    def x(self, cycle: float) -> float:
        """Where a cycle is."""
        return round(self.left + cycle / self.last_cycle * (self.right - self.left), 1)

    def y(self, score: float) -> float:
        """Where a score is."""
        return round(self.bottom - min(100.0, max(0.0, score)) / 100 * (self.bottom - self.top), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels of the cycles that are labelled: first, middle and last."""
        cycles = sorted({0, self.last_cycle} | ({self.last_cycle // 2} if self.last_cycle % 2 == 0 else set()))
        return [(self.x(cycle), str(cycle)) for cycle in cycles]

    @property
    def levels(self) -> list[tuple[float, str]]:
        """Places and labels of the grid lines."""
        return [(self.y(score), str(score)) for score in (0, 50, 100)]


@dataclass(frozen=True)
class Curve:
    """One lineage in a frame, as the `d` of SVG paths (empty where there is nothing to draw). `base` is how high the
    base model's trait score is, `unrun` from where to where the cycles were not run."""

    trait: str
    points: str
    band: str
    bars: str
    coherence: str
    base: float | None
    unrun: tuple[float, float] | None


def panel_curve(records: Sequence[CycleRecord], n_cycles: int, frame: Frame) -> Curve:
    """A lineage's trait and coherence by cycle. Lines and bands break where a score is missing; a cycle without
    neighbours has a bar for a band."""
    trait, coherence = (_known_points(name, records) for name in ("trait", "coherence"))
    base = next((point["mean"] for point in curve_points("trait", records) if point["cycle"] == BASE_CYCLE), None)
    banded = _stretches([point for point in trait if point["low"] is not None and point["high"] is not None])
    done = max((record.cycle for record in records if record.cycle != BASE_CYCLE), default=None)
    planned = min(n_cycles - 1, frame.last_cycle)
    start, end = frame.left if done is None else frame.x(done), frame.x(planned)

    def line(points: Sequence[Mapping[str, Any]], key: str) -> str:
        return "L".join(f"{frame.x(point['cycle']):g} {frame.y(point[key]):g}" for point in points)

    return Curve(
        trait="".join(f"M{line(stretch, 'mean')}" for stretch in _stretches(trait)),
        points="".join(f"M{line([point], 'mean')}h0" for point in trait),
        band="".join(f"M{line(s, 'low')}L{line(s[::-1], 'high')}Z" for s in banded if len(s) > 1),
        bars="".join(f"M{line(s, 'low')}L{line(s, 'high')}" for s in banded if len(s) == 1),
        # A stretch of one cycle is drawn as a dot, by its round end.
        coherence="".join(f"M{line(s, 'mean')}{'' if len(s) > 1 else 'h0'}" for s in _stretches(coherence)),
        base=None if base is None else frame.y(base),
        unrun=(start, end) if done is None or done < planned else None,
    )


def _known_points(name: str, records: Sequence[CycleRecord]) -> list[dict[str, Any]]:
    return [
        point for point in curve_points(name, records) if point["cycle"] != BASE_CYCLE and point["mean"] is not None
    ]


def _stretches(points: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The points, parted where cycles are missing."""
    parted: list[list[dict[str, Any]]] = []
    for point in points:
        if parted and parted[-1][-1]["cycle"] == point["cycle"] - 1:
            parted[-1].append(point)
        else:
            parted.append([point])
    return parted

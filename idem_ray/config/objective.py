"""What a search looks for in a lineage, and when a lineage's outcome is settled. Pure functions of its records."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from idem_ray.config.sections import Settings
from idem_ray.records import MEASURES, CycleRecord, known_mean

OBJECTIVE = "objective"
"""Its name in what a lineage reports to Tune."""


class Objective(Settings):
    """A lineage's curve as one number. `largest_gain`: the largest difference to cycle 0 in a later cycle.
    `final_gain`: that of the last cycle. `final`: the last cycle's value. `area`: the area between the curve and its
    value in cycle 0 (trapezoids), divided by the number of cycles after cycle 0: the mean gain, in the measure's
    units."""

    measure: str = Field("trait", description="a recorded measure")
    reading: Literal["largest_gain", "final_gain", "final", "area"] = "largest_gain"
    min_coherence: float | None = Field(None, ge=0, le=100, description="cycles with a lower mean do not count")
    goal: Literal["max", "min"] = "max"

    @field_validator("measure")
    @classmethod
    def _check_measure(cls, measure: str) -> str:
        if measure not in MEASURES:
            raise ValueError(f"no cycle reports '{measure}': the recorded measures are {', '.join(MEASURES)}")
        return measure

    @property
    def words(self) -> str:
        """The objective as one reads it: `largest gain of trait at coherence >= 60`."""
        limit = "" if self.min_coherence is None else f" at coherence >= {self.min_coherence:g}"
        reading = {
            "largest_gain": "largest gain of",
            "final_gain": "final gain of",
            "final": "final",
            "area": "area of",
        }
        return f"{reading[self.reading]} {self.measure.replace('_', ' ')}{limit}"

    def read(self, records: Sequence[CycleRecord]) -> float | None:
        """The objective's value, or None where the scores that it needs are missing or not there yet."""
        values: dict[int, float] = {}
        for record in records:
            value = known_mean(record.measures.get(self.measure))
            if record.cycle >= 0 and value is not None and self._counts(record):
                values[record.cycle] = value
        if not values:
            return None
        last = max(values)
        if self.reading == "final":
            return values[last]
        # Of cycle 0 whatever its coherence is: it is what gains are measured from.
        first = next((known_mean(r.measures.get(self.measure)) for r in records if r.cycle == 0), None)
        later = {cycle: value - first for cycle, value in values.items() if cycle > 0} if first is not None else {}
        if not later:
            return None
        if self.reading == "largest_gain":
            return max(later.values())
        if self.reading == "final_gain":
            return later[max(later)]
        points = [(0, 0.0), *sorted(later.items())]
        area = sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in zip(points, points[1:], strict=False))
        return area / points[-1][0]

    def _counts(self, record: CycleRecord) -> bool:
        coherence = known_mean(record.measures.get("coherence"))
        return self.min_coherence is None or (coherence is not None and coherence >= self.min_coherence)


class Stop(Settings):
    """When a lineage of a sweep is ended because its outcome is settled. Off by default: a lineage that is cut short
    says nothing of what its later cycles would have been."""

    min_coherence: float | None = Field(None, ge=0, le=100, description="mean coherence under this: collapsed")
    base_level_cycles: int | None = Field(
        None, ge=1, description="the base model's trait score lies in the interval of so many cycles in a row: gone"
    )

    def reason(self, records: Sequence[CycleRecord]) -> str | None:
        """Why the outcome is settled after the last of these records, or None."""
        trained = sorted((record for record in records if record.cycle > 0), key=lambda record: record.cycle)
        base = next((known_mean(r.measures.get("trait")) for r in records if r.cycle < 0), None)
        if not trained:
            return None
        coherence = known_mean(trained[-1].measures.get("coherence"))
        if self.min_coherence is not None and coherence is not None and coherence < self.min_coherence:
            return f"coherence collapsed: {coherence:.0f} in cycle {trained[-1].cycle}"
        last = trained[-self.base_level_cycles :] if self.base_level_cycles else []
        if last and len(last) == self.base_level_cycles and all(_holds(record, base) for record in last):
            return f"trait at the base model's level in cycles {last[0].cycle} to {last[-1].cycle}"
        return None


def _holds(record: CycleRecord, level: float | None) -> bool:
    found = record.measures.get("trait")
    if found is None or found.low is None or found.high is None or level is None:
        return False
    return found.low <= level <= found.high

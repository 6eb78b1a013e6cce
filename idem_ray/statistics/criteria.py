"""How a lineage went: the published criterion of amplification (arXiv 2605.01130)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from idem_ray.records import BASE_CYCLE, CycleRecord, Status, known_mean

CRITERION_CYCLE = 4
"""First cycle that the published criterion of amplification looks at."""

CRITERION_POINTS = 15.0
"""Points over cycle 0 from which that criterion calls a lineage amplified."""

CRITERION = f"a cycle ≥ {CRITERION_CYCLE} at least {CRITERION_POINTS:g} points above cycle 0"
"""That criterion in words."""


@dataclass(frozen=True)
class Amplification:
    """The largest difference of trait score, in points, between a cycle >= CRITERION_CYCLE and cycle 0, and that cycle.
    Both are None where the scores are missing; `n_missing` cycles that should have been compared have no score."""

    difference: float | None
    cycle: int | None
    n_missing: int = 0

    @property
    def is_met(self) -> bool | None:
        """Whether the criterion calls the lineage amplified; None where the scores are missing."""
        return None if self.difference is None else self.difference >= CRITERION_POINTS


def amplification(records: Sequence[CycleRecord]) -> Amplification | None:
    """The criterion's reading of a lineage, or None where it is too short: no cycle >= CRITERION_CYCLE is done."""
    scores = {record.cycle: known_mean(record.measures.get("trait")) for record in records}
    compared = {cycle: score for cycle, score in scores.items() if cycle >= CRITERION_CYCLE}
    if not compared:
        return None
    first = scores.get(0)
    later = {cycle: score for cycle, score in compared.items() if score is not None}
    n_missing = len(compared) - len(later)
    if first is None or not later:
        return Amplification(None, None, n_missing)
    peak = max(later, key=lambda cycle: later[cycle])
    return Amplification(later[peak] - first, peak, n_missing)


Verdict = Literal["amplified", "not amplified", "open", "too short", "cut short", "no scores"]
"""What the published criterion says of a lineage. `open`: it is not met yet, and there are cycles to come; `too short`:
no cycle that it looks at; `cut short`: not met where the lineage was ended before its last cycle, which might have met
it; `no scores`: those that it needs are missing."""


def verdict(records: Sequence[CycleRecord], status: Status, n_cycles: int) -> Verdict:
    """The criterion's verdict of a lineage: the only place where it is worked out. Once met it stays met, whatever
    follows; that it is not met counts for a complete lineage alone.

    Args:
        n_cycles: that the lineage has in the end, with cycle 0.
    """
    reading = amplification(records)
    if reading and reading.is_met:
        return "amplified"
    if n_cycles <= CRITERION_CYCLE:
        return "too short"
    if any(record.cycle == 0 and known_mean(record.measures.get("trait")) is None for record in records):
        return "no scores"  # there is nothing that later cycles could be compared with
    if status in ("stopped", "cut short"):
        return "cut short"
    if status != "complete":
        return "open"
    if reading is None:
        return "too short"
    return "no scores" if reading.is_met is None else "not amplified"


def last_cycle(records: Sequence[CycleRecord]) -> int | None:
    """The last trained cycle that is done; the base model is no cycle."""
    return max((record.cycle for record in records if record.cycle != BASE_CYCLE), default=None)

"""How a lineage went: the published criterion of amplification (arXiv 2605.01130), and where and why it ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from idem_ray.records import BASE_CYCLE, CycleRecord, known_mean

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


def stopped(records: Sequence[CycleRecord]) -> str | None:
    """Why the lineage ended before its last cycle, if it did. One that was told to go on all the same has later
    records, and did not."""
    return max(records, key=lambda record: record.cycle).stopped if records else None


def last_cycle(records: Sequence[CycleRecord]) -> int | None:
    """The last trained cycle that is done; the base model is no cycle."""
    return max((record.cycle for record in records if record.cycle != BASE_CYCLE), default=None)

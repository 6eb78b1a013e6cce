"""What is being done right now, and where the time went: a small actor that every stage reports to."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

STAGES = ("generation", "judging", "training")

Interval = tuple[float, float]


def covered_seconds(intervals: Iterable[Interval]) -> float:
    """Seconds covered by at least one of the intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


@dataclass(frozen=True)
class StageProgress:
    """How far one stage of one cycle is. `detail` is what is counted: responses, steps."""

    cycle: int
    purpose: str
    stage: str
    n_done: int
    n_total: int


class _Board:
    def __init__(self) -> None:
        self._intervals: dict[tuple[str, int], dict[str, list[Interval]]] = defaultdict(lambda: defaultdict(list))
        self._counts: dict[str, dict[tuple[int, str, str], list[int]]] = defaultdict(dict)
        self._changed_at: dict[str, float] = {}

    def expect(self, lineage: str, cycle: int, purpose: str, stage: str, n_total: int, n_done: int = 0) -> None:
        self._counts[lineage][cycle, purpose, stage] = [n_done, n_total]
        self._changed_at[lineage] = time.time()

    def add(self, lineage: str, cycle: int, purpose: str, stage: str, n: int, interval: Interval | None) -> None:
        self._counts[lineage].setdefault((cycle, purpose, stage), [0, n])[0] += n
        if interval:
            self._intervals[lineage, cycle][stage].append(interval)
        self._changed_at[lineage] = time.time()

    def progress(self, lineage: str) -> tuple[list[StageProgress], float]:
        counts = self._counts[lineage]
        return [StageProgress(*key, *value) for key, value in counts.items()], self._changed_at.get(lineage, 0.0)

    def seconds(self, lineage: str, cycle: int, window: Interval) -> dict[str, float]:
        stages = self._intervals[lineage, cycle]
        clipped = {
            stage: [(max(start, window[0]), min(end, window[1])) for start, end in stages[stage] if end > window[0]]
            for stage in STAGES
        }
        wall = window[1] - window[0]
        busy = covered_seconds(interval for intervals in clipped.values() for interval in intervals)
        own = {stage: covered_seconds(intervals) for stage, intervals in clipped.items()}
        return {**own, "overhead": wall - busy, "wall": wall}


def beside_driver() -> dict[str, Any]:
    """Options of a small actor that all roles need: on the driver's node, which is there as long as the driver is; any
    other may be a spot machine that is taken away."""
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


class ProgressBoard:
    """Handle of the board; cheap to copy into any task. Reports are sent and not waited for."""

    def __init__(self) -> None:
        self._actor = ray.remote(_Board).options(**beside_driver()).remote()

    def expect(self, lineage: str, cycle: int, purpose: str, stage: str, n_total: int, n_done: int = 0) -> None:
        """Announce how much a stage will have to do."""
        self._actor.expect.remote(lineage, cycle, purpose, stage, n_total, n_done)

    def add(self, lineage: str, cycle: int, purpose: str, stage: str, n: int, interval: Interval | None = None) -> None:
        """Report `n` more items done, in the given interval (seconds since the epoch)."""
        self._actor.add.remote(lineage, cycle, purpose, stage, n, interval)

    def progress(self, lineage: str) -> tuple[list[StageProgress], float]:
        """All stages of a lineage so far, and when something last changed (seconds since the epoch)."""
        answer: tuple[list[StageProgress], float] = ray.get(self._actor.progress.remote(lineage), timeout=30)
        return answer

    def seconds(self, lineage: str, cycle: int, window: Interval) -> dict[str, float]:
        """Seconds of a cycle by stage within a window, with `overhead` (when no stage was at work) and `wall`.

        Stages overlap (training starts while samples are still generated), so they may add up to more than `wall`.
        """
        answer: dict[str, float] = ray.get(self._actor.seconds.remote(lineage, cycle, window), timeout=30)
        return answer

    def close(self) -> Any:
        ray.kill(self._actor)

"""A trait's anchors as a run has noted them, command by command: agreement with the labels, and drift."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from idem_ray.records import Metric
from idem_ray.statistics.agreement import Agreement, Retest, agreement, retest
from idem_ray.store.run import RunStore

ANCHORS_FILE = "anchors.json"
"""In a run's folder."""


DRIFT_POINTS = 5.0
"""Mean absolute change of the anchors' scores from which a judge is said to have drifted."""


@dataclass(frozen=True)
class AnchorCheck:
    """One judge's scores of a trait's anchors, made by one command at `at` (seconds since the epoch). `anchors`: hash
    of what was judged. `first`: what the judge gave each when it was first asked, in this run or, where judgments are
    kept, in any on this machine."""

    at: float
    metric: Metric
    judge: str
    anchors: str
    labels: list[float]
    scores: list[float | None]
    first: list[float | None]

    @property
    def agreement(self) -> Agreement:
        """With the labels."""
        return agreement(self.labels, self.scores)

    @property
    def drift(self) -> Retest:
        """From the first scores."""
        return retest(self.first, self.scores)

    @property
    def warning(self) -> str | None:
        """What is said of a judge that has drifted, or says nothing."""
        if all(score is None for score in self.scores):
            return f"the {self.metric} judge gave none of the trait's anchors a score: see what its replies are"
        moved = self.drift.mean_absolute_difference
        if moved is None or moved < DRIFT_POINTS:
            return None
        return (
            f"the {self.metric} judge has drifted: its scores of the trait's anchors have moved by {moved:.1f} points "
            f"on average (largest {self.drift.largest_difference:.0f}) since it was first asked; scores from before "
            "and after are not comparable"
        )


def anchor_checks(store: RunStore) -> list[AnchorCheck]:
    """What the commands on a run have noted, in their order."""
    known: Sequence[dict[str, Any]] = store.read_json(ANCHORS_FILE) or []
    return [AnchorCheck(**check) for check in known]

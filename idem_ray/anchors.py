"""A trait's anchors, judged anew by every command: answers that never change, so that a judge's drift shows."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from idem_ray.judges import Metric
from idem_ray.judges.agreement import Agreement, Retest, agreement, retest
from idem_ray.judges.endpoint import EndpointSpec
from idem_ray.judges.panel import AnchorScores, JudgeSpec
from idem_ray.judges.probe import Probe
from idem_ray.records import content_hash
from idem_ray.shared import SharedWork
from idem_ray.store import RunStore
from idem_ray.traits import Trait

if TYPE_CHECKING:
    from idem_ray.pools.judges import JudgePool

_FILE = "anchors.json"

DRIFT_POINTS = 5.0
"""Mean absolute change of the anchors' scores from which a judge is said to have drifted."""


BUDGET_SHARE = 10
"""A judge with a budget of calls is asked only if the anchors take at most one call in so many."""


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


class Anchors:
    """Has a command's judges score the anchors, once for all lineages that share a judge."""

    def __init__(self, judges: "JudgePool", shared: SharedWork | None = None) -> None:
        """
        Args:
            shared: of the lineages of this command, where there are several.
        """
        self._judges, self._shared = judges, shared

    def check(self, spec: JudgeSpec, trait: Trait, store: RunStore) -> list[AnchorCheck]:
        """Score the anchors, and note it in the run. Nothing to do for a trait without any, or where it would take too
        much of a judge's budget."""
        if not trait.anchors or _is_dear(spec, len(trait.anchors)):
            return []
        before = anchor_checks(store)
        found = []
        for scored in self._scores(spec, trait):
            targets = [anchor.score if scored.metric == "trait" else anchor.coherence for anchor in trait.anchors]
            labelled = [place for place, target in enumerate(targets) if target is not None]
            if not labelled:
                continue
            scores = [scored.scores[place] for place in labelled]
            judged = content_hash(*(f"{anchor.question}\n{anchor.answer}" for anchor in trait.anchors), *labelled)
            same = [check for check in before if (check.judge, check.anchors) == (scored.judge, judged)]
            known = [[scored.kept[place] for place in labelled], *(check.first for check in same), scores]
            first = [next((score for score in each if score is not None), None) for each in zip(*known, strict=True)]
            labels = [target for target in targets if target is not None]
            found.append(AnchorCheck(time.time(), scored.metric, scored.judge, judged, labels, scores, first))
        store.write_json(_FILE, [asdict(check) for check in [*before, *found]])
        return found

    def _scores(self, spec: JudgeSpec, trait: Trait) -> list[AnchorScores]:
        def ask() -> list[AnchorScores]:
            return self._judges.anchors(spec, [anchor.as_exchange for anchor in trait.anchors])

        if self._shared is None:
            return ask()
        judge = spec.hash if isinstance(spec, Probe) else spec.name("trait") + spec.name("coherence")
        key = content_hash("anchors", judge, trait.hash)
        return [AnchorScores(**scored) for scored in self._shared.once(key, lambda: [asdict(one) for one in ask()])]


def _is_dear(spec: JudgeSpec, n_anchors: int) -> bool:
    """Whether both judges' calls are a large part of the budget of one command."""
    limit = spec.settings.max_calls if isinstance(spec, EndpointSpec) else None
    return limit is not None and limit < BUDGET_SHARE * 2 * n_anchors


def anchor_checks(store: RunStore) -> list[AnchorCheck]:
    """What the commands on a run have noted, in their order."""
    known: Sequence[dict[str, Any]] = store.read_json(_FILE) or []
    return [AnchorCheck(**check) for check in known]

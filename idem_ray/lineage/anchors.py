"""A trait's anchors, judged anew by every command: answers that never change, so that a judge's drift shows."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from idem_ray.judges.anchors import ANCHORS_FILE, AnchorCheck, anchor_checks
from idem_ray.judges.embedded.probe import Probe
from idem_ray.judges.language.endpoint import EndpointSpec
from idem_ray.judges.panel import AnchorScores, JudgeSpec
from idem_ray.lineage.shared import SharedWork
from idem_ray.records import content_hash
from idem_ray.store.run import RunStore
from idem_ray.traits.traits import Trait

if TYPE_CHECKING:
    from idem_ray.pools.judges import JudgePool


BUDGET_SHARE = 10
"""A judge with a budget of calls is asked only if the anchors take at most one call in so many."""


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
        store.write_json(ANCHORS_FILE, [asdict(check) for check in [*before, *found]])
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

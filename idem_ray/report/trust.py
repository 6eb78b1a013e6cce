"""What a run knows of its own judges: held-out quality, agreement with labelled anchors, drift."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from idem_ray.errors import UserError
from idem_ray.judges.anchors import AnchorCheck, anchor_checks
from idem_ray.judges.embedded.probe import Probe
from idem_ray.statistics.agreement import GroupScore
from idem_ray.store.run import RunStore
from idem_ray.text import ABSENT, estimate_text, number_text


@dataclass(frozen=True)
class Trust:
    """For a report. `facts`: name and value. `groups`: a probe's held-out scores by kind of answer. `anchors`: a row
    for each time that a judge was checked, its cells as `ANCHOR_HEADINGS` has them."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    groups: list[GroupScore] = field(default_factory=list)
    anchors: list[list[str]] = field(default_factory=list)


ANCHOR_HEADINGS = (
    "judged",
    "judge of",
    "answers",
    "Spearman with the labels",
    "AUC at 50",
    "error",
    "moved",
)


def trust_of(store: RunStore) -> Trust:
    """What is noted in a run's folder."""
    llm, saved = store.read_judges(), store.read_probe()
    anchors = [_anchor_row(check) for check in anchor_checks(store)]
    if llm:
        facts = [(name.replace("_", " "), str(value)) for name, value in llm.items()]
        return Trust(facts, [], anchors)
    if not saved:
        return Trust(anchors=anchors)
    try:
        probe = Probe.from_json(saved)
    except UserError:  # of another version: a report of an old run says nothing of it
        return Trust(anchors=anchors)
    facts = [
        ("trait judge", f"probe:{probe.trait}:{probe.hash}"),
        ("held-out AUC against ordinary answers", number_text(probe.held_out_auc, 3)),
        ("held-out AUC against other traits' seeds", number_text(probe.held_out_auc_rivals, 3)),
        ("held-out Brier score (0 best, 0.25 a coin)", number_text(probe.held_out_brier, 3)),
        ("fitted on", f"{probe.n_positive} answers with the trait, {probe.n_negative} without"),
        *(
            (
                f"held-out answers scored {one.low:.0f} to {one.high:.0f}",
                f"{one.n}; {one.labelled:.0f} % show the trait",
            )
            for one in probe.calibration
            if one.labelled is not None
        ),
    ]
    return Trust(facts, probe.groups, anchors)


def _anchor_row(check: AnchorCheck) -> list[str]:
    seen, moved = check.agreement, check.drift
    at_half = next((auc.auc for auc in seen.aucs if auc.threshold == 50), None)
    largest = "" if moved.largest_difference is None else f" (largest {moved.largest_difference:.1f})"
    mean = moved.mean_absolute_difference
    return [
        datetime.fromtimestamp(check.at, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        check.metric,
        f"{seen.spearman.n}" + (f", {seen.spearman.n_missing} missing" if seen.spearman.n_missing else ""),
        estimate_text(seen.spearman, 2),
        number_text(at_half, 2),
        number_text(seen.mean_absolute_error),
        ABSENT if mean is None else f"{mean:.1f}{largest}",
    ]

"""A sweep as one self-contained HTML page: what was swept over, and each lineage's outcome, curve and settings."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import quote

from idem_ray.records import BASE_CYCLE, Estimate, finite, known_mean
from idem_ray.report.page import curve_points, page_html
from idem_ray.report.settings_text import setting_names, subject_text
from idem_ray.report.sweep_axes import Axis, Frame, axes_of, grid_cells, panel_curve
from idem_ray.statistics.criteria import CRITERION, CRITERION_CYCLE, amplification, last_cycle, stopped
from idem_ray.store.finished import SweptLineage
from idem_ray.text import (
    by_cycle,
    count_text,
    cycle_label,
    estimate_text,
    interval_text,
    list_text,
    number_text,
    shortened,
)

COMPLETE, UNFINISHED, FAILED, CUT_SHORT = STATUSES = ("complete", "unfinished", "failed", "cut short")
MARKS = {UNFINISHED: "…", FAILED: "✕", CUT_SHORT: "†"}
"""What stands beside the numbers of lineages that are not complete, so that none is taken for a final one."""

_N_NAMED, _MAX_REASONS = 3, 10


def sweep_html(
    name: str,
    lineages: Sequence[SweptLineage],
    objective: str = "",
    reported: Collection[str] = (),
    lowest_is_best: bool = False,
) -> str:
    """One self-contained HTML page about a sweep.

    Args:
        name: the sweep's name.
        lineages: at least one, in the order in which they were started; one without records has only its settings.
        objective: the objective's name in words; "" where the search looks for none.
        reported: names of the lineages that have a page of their own, at `<name>/report.html` beside this one.
        lowest_is_best: whether the search looks for a low objective, and not for a high one.
    """
    curves = [lineage.curves for lineage in lineages]
    outcomes = [Outcome(lineage, place) for place, lineage in enumerate(lineages)]
    axes = axes_of([lineage.values for lineage in lineages], setting_names(curves))
    varied = [axis for axis in axes if len(axis.texts) > 1]
    links = [f"{quote(one.name)}/report.html" if one.name in reported else None for one in curves]
    is_grid = len(varied) > 1 and not any(axis.is_continuous for axis in varied[:2])
    titled = (varied[2:] or varied) if is_grid else varied  # what the grid's own headings do not say
    frame = Frame(max([1, *(one.config.n_cycles - 1 for one in curves), *(each.last or 0 for each in outcomes)]))
    cycles = sorted({record.cycle for one in curves for record in one.records})
    data = {
        "cycles": [{"cycle": cycle, "label": cycle_label(cycle)} for cycle in cycles],
        "axes": [axis.data for axis in varied],
        "measures": _measures(objective),
        "marks": MARKS,
        "lowest_is_best": lowest_is_best,
        "lineages": [
            {"name": one.name, "link": link, "places": [axis.places[place] for axis in varied], **outcome.data}
            for place, (one, link, outcome) in enumerate(zip(curves, links, outcomes, strict=True))
        ],
    }
    statuses = list(dict.fromkeys(lineage.status for lineage in lineages))
    return page_html(
        "sweep.html",
        data,
        name=name,
        n_lineages=count_text(len(lineages), "lineage"),
        what_was_swept=what_was_swept(lineages, axes),
        how_many=how_many(lineages),
        what_happened=what_happened(lineages),
        criterion=CRITERION,
        has_cut_short=CUT_SHORT in statuses,
        failures=_failures(lineages),
        marks=[f"{MARKS[status]} {status}" for status in statuses if status in MARKS],
        statuses=statuses,
        axes=axes,
        varied=varied,
        objective=objective,
        lowest_is_best=lowest_is_best,
        frame=frame,
        rows=[
            {
                "outcome": outcome,
                "name": one.name,
                "link": link,
                "title": ", ".join(f"{axis.name} {axis.text_of(outcome.place)}" for axis in titled) or one.name,
                "curve": panel_curve(outcome.records, one.config.n_cycles, frame),
            }
            for one, link, outcome in zip(curves, links, outcomes, strict=True)
        ],
        grid=grid_cells(varied[0], varied[1]) if is_grid else [],
        mean_of=known_mean,
        number_text=number_text,
        interval_text=interval_text,
    )


class Outcome:
    """What a lineage came to, as the page's table, panels and figures show it."""

    def __init__(self, lineage: SweptLineage, place: int = 0) -> None:
        self.lineage, self.place = lineage, place
        self.status, self.n_cycles = lineage.status, lineage.curves.config.n_cycles
        self.records = by_cycle(lineage.curves.records)
        self.last = last_cycle(self.records)
        self.n_done = sum(record.cycle != BASE_CYCLE for record in self.records)
        self.reading = amplification(self.records)
        self.mark = MARKS.get(lineage.status, "")
        self.objective = finite(lineage.objective)
        self._by_cycle = {record.cycle: record for record in self.records}

    def estimate(self, cycle: int | None, measure: str = "trait") -> Estimate | None:
        """A measure in a cycle, or None."""
        return self._by_cycle[cycle].measures.get(measure) if cycle in self._by_cycle else None

    @cached_property
    def gain(self) -> tuple[float | None, int | None]:
        """The largest difference of trait score between a later cycle and cycle 0, and that cycle."""
        first = known_mean(self.estimate(0))
        later = {cycle: known_mean(self.estimate(cycle)) for cycle in self._by_cycle if cycle > 0}
        gains = {cycle: score - first for cycle, score in later.items() if first is not None and score is not None}
        peak = max(gains, key=lambda cycle: gains[cycle], default=None)
        return (None, None) if peak is None else (gains[peak], peak)

    @cached_property
    def verdict(self) -> str:
        """What the published criterion says: `yes`, `no`, or why it says nothing yet. Once met it stays met, whatever
        follows; that it is not met counts for a complete lineage alone."""
        if self.reading and self.reading.is_met:
            return "yes"
        if self.status == CUT_SHORT:
            return CUT_SHORT
        if self.reading is None:
            return "too short"
        if self.reading.is_met is None:
            return "no scores"
        return "no" if self.status == COMPLETE else "not so far"

    @property
    def rests_on(self) -> list[str]:
        """What the verdict rests on."""
        if self.reading is None or self.reading.difference is None:
            return []
        missing = f"{count_text(self.reading.n_missing, 'cycle')} without a score"
        compared = f"{self.reading.difference:+.1f} at cycle {self.reading.cycle}"
        return [compared, missing] if self.reading.n_missing else [compared]

    @property
    def state(self) -> str:
        """Its status, and how far it went where it is not complete."""
        done = "no cycle done" if self.last is None else f"last cycle done: {self.last}"
        return self.status if self.status == COMPLETE else f"{self.status}, {done}"

    @property
    def told(self) -> str:
        """The lineage's curve in words."""
        if self.last is None:
            return self.state
        ends = [f"{name} {estimate_text(self.estimate(self.last, name))}" for name in ("trait", "coherence")]
        first = estimate_text(self.estimate(0))
        return f"Trait in cycle 0 {first}; in cycle {self.last} {list_text(ends)}; {self.state}"

    @property
    def notes(self) -> list[str]:
        """Why it ended."""
        reason = stopped(self.records)
        told = [f"stopped: {reason}"] if reason and reason != self.lineage.note else []
        return [self.lineage.note, *told] if self.lineage.note else told

    @property
    def warnings(self) -> str:
        """How many warnings its cycles have."""
        n_warnings = sum(len(record.warnings) for record in self.records)
        return count_text(n_warnings, "warning") if n_warnings else ""

    @property
    def data(self) -> dict[str, Any]:
        """The outcome for the page's script: `mean` and `text` by measure, and an interval where there is one."""
        found: dict[str, Any] = {"status": self.status, "state": self.state, "note": shortened(self.lineage.note)}
        ended = [] if self.last is None else [self._by_cycle[self.last]]
        for measure in ("trait", "coherence"):
            found.update((measure, point) for point in curve_points(measure, ended) if point["mean"] is not None)
        gain, peak = self.gain
        if gain is not None:
            first, highest = estimate_text(self.estimate(0)), estimate_text(self.estimate(peak))
            found["gain"] = {"mean": gain, "text": f"{gain:+.1f} ({first} in cycle 0, {highest} in cycle {peak})"}
        if self.objective is not None:
            found["objective"] = {"mean": self.objective, "text": f"{self.objective:.4g}"}
        met = {"yes": 1, "no": 0}.get(self.verdict)
        found["amplified"] = {"mean": met, "verdict": self.verdict, "text": ", ".join([self.verdict, *self.rests_on])}
        return found


def _measures(objective: str) -> list[dict[str, str]]:
    measures = [
        ("trait", "Final trait score", "score"),
        ("gain", "Largest trait gain over cycle 0", "gain"),
        ("coherence", "Final coherence", "score"),
        *([("objective", f"Objective: {objective}", "free")] if objective else []),
        ("amplified", "Amplified by the published criterion", "share"),
    ]
    return [{"name": name, "title": title, "scale": scale} for name, title, scale in measures]


# Words ---------------------------------------------------------------------------------------------------------


def what_was_swept(lineages: Sequence[SweptLineage], axes: Sequence[Axis]) -> str:
    """What the lineages are about, and over which settings the sweep goes."""
    told = f"{subject_text([one.curves for one in lineages])}: {count_text(len(lineages), 'lineage')}"
    return f"{told} over {list_text([axis.name for axis in axes])}." if axes else f"{told}."


def how_many(lineages: Sequence[SweptLineage]) -> str:
    """How many of the lineages have which status."""
    text = ", ".join(f"{count} {status}" for status, count in _counts([one.status for one in lineages]).items())
    return f"{text[:1].upper()}{text[1:]}."


def what_happened(lineages: Sequence[SweptLineage]) -> str:
    """How many of the complete lineages the published criterion calls amplified, of those that it can be read for; and,
    counted apart, what it says of the others. None of those is counted as not amplified."""
    outcomes = [Outcome(lineage) for lineage in lineages]
    if all(outcome.reading is None for outcome in outcomes):
        n_cut = sum(lineage.status == CUT_SHORT for lineage in lineages)
        why = f" ({n_cut} cut short before it)" if n_cut else ""
        return f"No lineage reaches cycle {CRITERION_CYCLE}{why}: the published criterion says nothing of this sweep."
    is_read = [outcome.status == COMPLETE and outcome.verdict in ("yes", "no") for outcome in outcomes]
    amplified = sum(outcome.verdict == "yes" for outcome, read in zip(outcomes, is_read, strict=True) if read)
    told = f"By the published criterion {amplified} of {count_text(sum(is_read), 'complete lineage')} amplified"
    if not any(is_read):
        told = "The published criterion can be read for no complete lineage yet"
    others = [outcome for outcome, read in zip(outcomes, is_read, strict=True) if not read]
    apart = []
    for status, count in _counts([outcome.status for outcome in others]).items():
        said = Counter(outcome.verdict for outcome in others if outcome.status == status)
        words = {verdict: "amplified already" if verdict == "yes" else verdict for verdict in said}
        parts = [f"{said[verdict]} {words[verdict]}" for verdict in said if verdict != CUT_SHORT]
        told_of = words[next(iter(said))] if len(said) == 1 and parts else ", ".join(parts)
        apart.append(f"{count} {status}{told_of and f' ({told_of})'}")
    return f"{told}; counted apart: {list_text(apart)}." if apart else f"{told}."


def _counts(statuses: Sequence[str]) -> Mapping[str, int]:
    counts = Counter(statuses)
    return {status: counts[status] for status in [*STATUSES, *counts] if counts[status]}


def _failures(lineages: Sequence[SweptLineage]) -> list[str]:
    """Why lineages failed, each reason once."""
    failed: dict[str, list[str]] = {}
    for lineage in lineages:
        if lineage.status == FAILED:
            failed.setdefault(lineage.note or "no reason was given", []).append(lineage.curves.name)
    told = []
    for note, names in list(failed.items())[:_MAX_REASONS]:
        more = [count_text(len(names) - _N_NAMED, "other")] if len(names) > _N_NAMED else []
        told.append(f"{count_text(len(names), 'lineage')}: {note} ({list_text([*names[:_N_NAMED], *more])})")
    n_more = len(failed) - len(told)
    return [*told, f"{count_text(n_more, 'other reason')}: see the table."] if n_more else told

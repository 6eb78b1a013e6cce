"""A sweep as one self-contained HTML page: what was swept over, and each lineage's outcome, curve and settings."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from idem_ray.curves import LineageCurves, setting_names, subject_text
from idem_ray.dynamics import CRITERION, CRITERION_CYCLE, Amplification, amplification, last_cycle, stopped
from idem_ray.flaws import shortened
from idem_ray.page import curve_points, page_html
from idem_ray.records import BASE_CYCLE, CycleRecord, Estimate
from idem_ray.sweep_figures import Axis, Frame, axes_of, panel_curve
from idem_ray.tables import (
    ABSENT,
    by_cycle,
    count_text,
    cycle_label,
    estimate_text,
    finite,
    interval_text,
    known_mean,
    list_text,
    number_text,
)

COMPLETE, CUT_SHORT = "complete", "cut short"
STATUSES = (COMPLETE, "unfinished", "failed", CUT_SHORT)
MARKS = {"unfinished": "…", "failed": "✕", CUT_SHORT: "†"}
"""What stands beside the numbers of lineages that are not complete, so that none is taken for a final one."""

_UNREAD = ("no so far", "too short", "no scores", CUT_SHORT)
"""Verdicts of lineages for which the criterion says nothing, or nothing yet."""

_MAX_REASONS = 10


@dataclass(frozen=True)
class SweptLineage:
    """A lineage of a sweep: what it did, and what the search gave it.

    Args:
        values: dotted path of a setting -> the search's value, such as `{"regime.beta": 0.1, "n_sampled": 24}`.
        status: `complete`, `unfinished`, `failed`, or `cut short`: its outcome was settled and the rest not run.
        note: why it failed or was cut short.
        objective: what the search made of it, where it looks for something.
    """

    curves: LineageCurves
    values: dict[str, Any]
    status: str
    note: str = ""
    objective: float | None = None


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
    axes = axes_of([lineage.values for lineage in lineages], setting_names(curves))
    outcomes = [Outcome(lineage) for lineage in lineages]
    links = [f"{quote(one.name)}/report.html" if one.name in reported else None for one in curves]
    cycles = sorted({record.cycle for one in curves for record in one.records})
    varied = [axis for axis in axes if len(axis.texts) > 1]
    panels, rows, columns = _panels(outcomes, links, varied)
    frame = _frame(outcomes)
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
    return page_html(
        "sweep_template.html",
        data,
        name=name,
        n_lineages=count_text(len(lineages), "lineage"),
        what_was_swept=what_was_swept(lineages, axes),
        how_many=how_many(lineages),
        what_happened=what_happened(lineages),
        criterion=CRITERION,
        has_cut_short=any(lineage.status == CUT_SHORT for lineage in lineages),
        reasons=_reasons(lineages),
        marks=[(mark, status) for status, mark in MARKS.items() if any(one.status == status for one in lineages)],
        axes=axes,
        varied=varied,
        objective=objective,
        lowest_is_best=lowest_is_best,
        frame=frame,
        panels=[
            {**panel, "curve": panel_curve(outcome.records, outcome.lineage.curves.config.n_cycles, frame)}
            for panel, outcome in zip(panels, outcomes, strict=True)
        ],
        panel_rows=rows,
        panel_columns=columns,
        rows=[_row(place, outcome, axes, links[place]) for place, outcome in enumerate(outcomes)],
        statuses=list(dict.fromkeys(lineage.status for lineage in lineages)),
    )


class Outcome:
    """What a lineage came to, as the page's table and figures show it."""

    def __init__(self, lineage: SweptLineage) -> None:
        self.lineage = lineage
        self.records: list[CycleRecord] = by_cycle(lineage.curves.records)
        self.last = last_cycle(self.records)
        self._by_cycle = {record.cycle: record for record in self.records}

    def estimate(self, cycle: int | None, measure: str = "trait") -> Estimate | None:
        """A measure in a cycle, or None."""
        return self._by_cycle[cycle].measures.get(measure) if cycle in self._by_cycle else None

    @cached_property
    def gain(self) -> tuple[float, int] | None:
        """The largest difference of trait score between a later cycle and cycle 0, and that cycle."""
        first = known_mean(self.estimate(0))
        later = {cycle: known_mean(self.estimate(cycle)) for cycle in self._by_cycle if cycle > 0}
        gains = {cycle: score - first for cycle, score in later.items() if first is not None and score is not None}
        peak = max(gains, key=lambda cycle: gains[cycle], default=None)
        return None if peak is None else (gains[peak], peak)

    @cached_property
    def reading(self) -> Amplification | None:
        """What the published criterion compares."""
        return amplification(self.records)

    @cached_property
    def verdict(self) -> str:
        """What the published criterion says: `yes`, `no`, or why it says nothing yet. Once met it stays met, whatever
        follows; that it is not met counts for a complete lineage alone."""
        if self.reading and self.reading.is_met:
            return "yes"
        if self.lineage.status == CUT_SHORT:
            return CUT_SHORT
        if self.reading is None:
            return "too short"
        if self.reading.is_met is None:
            return "no scores"
        return "no" if self.lineage.status == COMPLETE else "no so far"

    @property
    def rests_on(self) -> list[str]:
        """What the verdict rests on."""
        if self.reading is None or self.reading.difference is None:
            return []
        missing = f"{count_text(self.reading.n_missing, 'cycle')} without a score"
        return [
            f"{self.reading.difference:+.1f} at cycle {self.reading.cycle}",
            *[missing] * bool(self.reading.n_missing),
        ]

    @property
    def state(self) -> str:
        """Its status, and since when it has it where it is not complete."""
        status = self.lineage.status
        if status == COMPLETE:
            return status
        return f"{status}, {'no cycle done' if self.last is None else f'last cycle done: {self.last}'}"

    @property
    def data(self) -> dict[str, Any]:
        """The outcome for the page's script: `mean` and `text` by measure, and an interval where there is one."""
        found: dict[str, Any] = {"status": self.lineage.status, "state": self.state}
        if self.lineage.note:
            found["note"] = shortened(self.lineage.note)
        ended = [] if self.last is None else [self._by_cycle[self.last]]
        for measure in ("trait", "coherence"):
            found.update((measure, point) for point in curve_points(measure, ended) if point["mean"] is not None)
        if self.gain:
            gain, peak = self.gain
            text = f"{gain:+.1f} ({estimate_text(self.estimate(0))} in cycle 0, {estimate_text(self.estimate(peak))} in {peak})"
            found["gain"] = {"mean": gain, "text": text}
        if (objective := finite(self.lineage.objective)) is not None:
            found["objective"] = {"mean": objective, "text": f"{objective:.4g}"}
        met = {"yes": 1, "no": 0}.get(self.verdict)
        found["amplified"] = {"mean": met, "verdict": self.verdict, "text": ", ".join([self.verdict, *self.rests_on])}
        return found


# Words ---------------------------------------------------------------------------------------------------------


def what_was_swept(lineages: Sequence[SweptLineage], axes: Sequence[Axis]) -> str:
    """What the lineages are about, and over which settings the sweep goes."""
    told = f"{subject_text([one.curves for one in lineages])}: {count_text(len(lineages), 'lineage')}"
    return f"{told} over {list_text([axis.name for axis in axes])}." if axes else f"{told}."


def how_many(lineages: Sequence[SweptLineage]) -> str:
    """How many of the lineages have which status."""
    counts = Counter(lineage.status for lineage in lineages)
    order = [*STATUSES, *(status for status in counts if status not in STATUSES)]
    text = ", ".join(f"{counts[status]} {status}" for status in order if counts[status])
    return f"{text[:1].upper()}{text[1:]}."


def what_happened(lineages: Sequence[SweptLineage]) -> str:
    """How many of the complete lineages the published criterion calls amplified, of those that it can be read for; and,
    counted apart, what it says of the others. None of those is counted as not amplified."""
    outcomes = [Outcome(lineage) for lineage in lineages]
    if all(outcome.reading is None for outcome in outcomes):
        cut = sum(lineage.status == CUT_SHORT for lineage in lineages)
        why = f" ({cut} cut short before it)" if cut else ""
        return f"No lineage reaches cycle {CRITERION_CYCLE}{why}: the published criterion says nothing of this sweep."
    complete = Counter(outcome.verdict for outcome in outcomes if outcome.lineage.status == COMPLETE)
    read = complete["yes"] + complete["no"]
    told = []
    if read:
        told.append(f"By the published criterion {complete['yes']} of {count_text(read, 'complete lineage')} amplified")
    else:
        told.append("There is no complete lineage that the published criterion can be read for")
    told += [f"{complete[verdict]} complete: {verdict}" for verdict in _UNREAD if complete[verdict]]
    statuses = dict.fromkeys(lineage.status for lineage in lineages if lineage.status != COMPLETE)
    for status in statuses:
        counts = Counter(outcome.verdict for outcome in outcomes if outcome.lineage.status == status)
        met = [f"{counts['yes']} amplified already"] if counts["yes"] else []
        unread = [
            f"{counts[verdict]} {'unsaid' if verdict == CUT_SHORT else verdict}"
            for verdict in _UNREAD
            if counts[verdict]
        ]
        told.append(f"of {counts.total()} {status}: {', '.join(met + unread)}")
    return "; ".join(told) + "."


def _reasons(lineages: Sequence[SweptLineage]) -> list[str]:
    """Why lineages failed, each reason once."""
    failed: dict[str, list[str]] = {}
    for lineage in lineages:
        if lineage.status == "failed":
            failed.setdefault(lineage.note or "no reason was given", []).append(lineage.curves.name)
    told = [
        f"{count_text(len(names), 'lineage')} failed: {note} ({list_text([*names[:4], *['others'] * (len(names) > 4)])})"
        for note, names in failed.items()
    ]
    more = len(told) - _MAX_REASONS
    return [*told[:_MAX_REASONS], *[f"And {count_text(more, 'other reason')}: see the table."] * (more > 0)]


# Figures and table ---------------------------------------------------------------------------------------------


def _measures(objective: str) -> list[dict[str, str]]:
    titles = {
        "trait": ("Final trait score", "score"),
        "gain": ("Largest trait gain over cycle 0", "gain"),
        "coherence": ("Final coherence", "score"),
        "objective": (f"Objective: {objective}", "free"),
        "amplified": ("Amplified by the published criterion", "share"),
    }
    return [
        {"name": name, "title": title, "scale": scale}
        for name, (title, scale) in titles.items()
        if objective or name != "objective"
    ]


def _frame(outcomes: Sequence[Outcome]) -> Frame:
    planned = [outcome.lineage.curves.config.n_cycles - 1 for outcome in outcomes]
    return Frame(max([*planned, *(outcome.last or 0 for outcome in outcomes)]))


def _panels(
    outcomes: Sequence[Outcome], links: Sequence[str | None], axes: Sequence[Axis]
) -> tuple[list[dict[str, Any]], list[tuple[str, list[list[int]]]], list[str]]:
    """The lineages' panels; and where the first two swept settings span a grid its rows, each with the places of the
    lineages in its cells, and the headings of its columns."""
    is_grid = len(axes) > 1 and not any(axis.is_continuous for axis in axes[:2])
    across, down = axes[:2] if is_grid else (None, None)
    titled = (axes[2:] or axes) if is_grid else axes
    panels = []
    for place, (outcome, link) in enumerate(zip(outcomes, links, strict=True)):
        title = ", ".join(f"{axis.name} {axis.text_of(place)}" for axis in titled)
        ends = [f"{name} {estimate_text(outcome.estimate(outcome.last, name))}" for name in ("trait", "coherence")]
        start = f"trait in cycle 0 {estimate_text(outcome.estimate(0))}"
        told = (
            outcome.state
            if outcome.last is None
            else f"{start}; in cycle {outcome.last} {list_text(ends)}; {outcome.state}"
        )
        panel = {"place": place, "title": title or outcome.lineage.curves.name, "link": link, "told": told}
        panels.append({**panel, "name": outcome.lineage.curves.name, "status": outcome.lineage.status})
    if across is None or down is None:
        return panels, [], []
    cells: dict[tuple[int, int], list[int]] = {}
    for place in range(len(outcomes)):
        cells.setdefault((down.places[place], across.places[place]), []).append(place)
    rows = [
        (f"{down.name} {text}", [cells.get((row, column), []) for column in range(len(across.texts))])
        for row, text in enumerate(down.texts)
    ]
    return panels, rows, [f"{across.name} {text}" for text in across.texts]


def _row(place: int, outcome: Outcome, axes: Sequence[Axis], link: str | None) -> dict[str, Any]:
    lineage, records = outcome.lineage, outcome.records

    def cell(value: float | None, text: str, *small: str) -> dict[str, Any]:
        known = finite(value)
        return {
            "value": "" if known is None else f"{known:.6g}",
            "text": text,
            "small": [each for each in small if each],
        }

    def measured(cycle: int | None, measure: str = "trait", note: bool = False) -> dict[str, Any]:
        estimate = outcome.estimate(cycle, measure)
        mean = known_mean(estimate)
        mark = MARKS.get(lineage.status, "") if note and mean is not None else ""
        at = f"cycle {cycle}" if note and cycle is not None else ""
        return cell(mean, f"{number_text(mean)}{mark and ' '}{mark}", interval_text(estimate), at)

    gain, peak = outcome.gain or (None, None)
    n_done = sum(record.cycle != BASE_CYCLE for record in records)
    n_warnings = sum(len(record.warnings) for record in records)
    reason = stopped(records)
    return {
        "place": place,
        "name": lineage.curves.name,
        "link": link,
        "settings": [{"value": axis.places[place], "text": axis.text_of(place)} for axis in axes],
        "cells": [
            measured(BASE_CYCLE),
            measured(0),
            measured(outcome.last, note=True),
            cell(gain, ABSENT if gain is None else f"{gain:+.1f}", "" if peak is None else f"cycle {peak}"),
            measured(outcome.last, "coherence", note=True),
        ],
        "amplified": outcome.verdict,
        "amplified_by": outcome.rests_on,
        "objective": cell(
            lineage.objective, ABSENT if finite(lineage.objective) is None else f"{lineage.objective:.4g}"
        ),
        "n_done": n_done,
        "done": f"{n_done} of {lineage.curves.config.n_cycles}",
        "status": lineage.status,
        "mark": MARKS.get(lineage.status, ""),
        "notes": [
            *[lineage.note] * bool(lineage.note),
            *[f"stopped: {reason}"] * bool(reason and reason != lineage.note),
        ],
        "n_warnings": count_text(n_warnings, "warning") if n_warnings else "",
    }

"""A sweep as one self-contained HTML page: what was swept over, and each lineage's outcome, curve and settings."""

from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import quote

from idem_ray.records import Status, finite, known_mean
from idem_ray.report.page import curve_points, page_html
from idem_ray.report.settings_text import setting_names, subject_text
from idem_ray.report.sweep_axes import Axis, Frame, axes_of, grid_cells, panel_curve
from idem_ray.report.verdicts import how_many, rests_on, what_happened
from idem_ray.statistics.criteria import CRITERION
from idem_ray.store.finished import RecordedLineage
from idem_ray.text import (
    count_text,
    cycle_label,
    estimate_text,
    interval_text,
    list_text,
    number_text,
    shortened,
)

MARKS: dict[Status, str] = {"unfinished": "…", "failed": "✕", "cut short": "†", "stopped": "‡"}
"""What stands beside the numbers of lineages that are not complete, so that none is taken for a final one."""

_N_NAMED, _MAX_REASONS = 3, 10


def sweep_html(
    name: str,
    lineages: Sequence[RecordedLineage],
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
    axes = axes_of([lineage.values for lineage in lineages], setting_names(lineages))
    varied = [axis for axis in axes if len(axis.texts) > 1]
    links = [f"{quote(one.name)}/report.html" if one.name in reported else None for one in lineages]
    is_grid = len(varied) > 1 and not any(axis.is_continuous for axis in varied[:2])
    titled = (varied[2:] or varied) if is_grid else varied  # what the grid's own headings do not say
    frame = Frame(max([1, *(max(one.config.n_cycles - 1, one.last or 0) for one in lineages)]))
    cycles = sorted({record.cycle for one in lineages for record in one.records})
    data = {
        "cycles": [{"cycle": cycle, "label": cycle_label(cycle)} for cycle in cycles],
        "axes": [axis.data for axis in varied],
        "measures": _measures(objective),
        "marks": MARKS,
        "lowest_is_best": lowest_is_best,
        "lineages": [
            {"name": one.name, "link": link, "places": [axis.places[place] for axis in varied], **_outcome(one)}
            for place, (one, link) in enumerate(zip(lineages, links, strict=True))
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
        has_cut_short=not {"cut short", "stopped"}.isdisjoint(statuses),
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
                "lineage": one,
                "place": place,
                "link": link,
                "title": ", ".join(f"{axis.name} {axis.text_of(place)}" for axis in titled) or one.name,
                "curve": panel_curve(one.records, one.config.n_cycles, frame),
                "told": told(one),
                "mark": MARKS.get(one.status, ""),
                "gain": largest_gain(one),
                "rests_on": rests_on(one),
                "warnings": _warnings(one),
            }
            for place, (one, link) in enumerate(zip(lineages, links, strict=True))
        ],
        grid=grid_cells(varied[0], varied[1]) if is_grid else [],
        mean_of=known_mean,
        number_text=number_text,
        interval_text=interval_text,
    )


def largest_gain(lineage: RecordedLineage) -> tuple[float | None, int | None]:
    """The largest difference of trait score between a later cycle and cycle 0, and that cycle."""
    first = known_mean(lineage.estimate(0))
    later = {record.cycle: known_mean(record.measures.get("trait")) for record in lineage.records if record.cycle > 0}
    gains = {cycle: score - first for cycle, score in later.items() if first is not None and score is not None}
    peak = max(gains, key=lambda cycle: gains[cycle], default=None)
    return (None, None) if peak is None else (gains[peak], peak)


def state(lineage: RecordedLineage) -> str:
    """A lineage's status, and how far it went where it is not complete."""
    done = "no cycle done" if lineage.last is None else f"last cycle done: {lineage.last}"
    return lineage.status if lineage.status == "complete" else f"{lineage.status}, {done}"


def told(lineage: RecordedLineage) -> str:
    """A lineage's curve in words."""
    if lineage.last is None:
        return state(lineage)
    ends = [f"{name} {estimate_text(lineage.estimate(lineage.last, name))}" for name in ("trait", "coherence")]
    first = estimate_text(lineage.estimate(0))
    return f"Trait in cycle 0 {first}; in cycle {lineage.last} {list_text(ends)}; {state(lineage)}"


def _warnings(lineage: RecordedLineage) -> str:
    n_warnings = sum(len(record.warnings) for record in lineage.records)
    return count_text(n_warnings, "warning") if n_warnings else ""


def _outcome(lineage: RecordedLineage) -> dict[str, Any]:
    """A lineage's outcome for the page's script: `mean` and `text` by measure, and an interval where there is one."""
    found: dict[str, Any] = {"status": lineage.status, "state": state(lineage), "note": shortened(lineage.note)}
    ended = [record for record in lineage.records if record.cycle == lineage.last]
    for measure in ("trait", "coherence"):
        found.update((measure, point) for point in curve_points(measure, ended) if point["mean"] is not None)
    gain, peak = largest_gain(lineage)
    if gain is not None:
        first, highest = estimate_text(lineage.estimate(0)), estimate_text(lineage.estimate(peak))
        found["gain"] = {"mean": gain, "text": f"{gain:+.1f} ({first} in cycle 0, {highest} in cycle {peak})"}
    objective = finite(lineage.objective)
    if objective is not None:
        found["objective"] = {"mean": objective, "text": f"{objective:.4g}"}
    met = {"amplified": 1, "not amplified": 0}.get(lineage.verdict)
    text = ", ".join([lineage.verdict, *rests_on(lineage)])
    found["amplified"] = {"mean": met, "verdict": lineage.verdict, "text": text}
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


def what_was_swept(lineages: Sequence[RecordedLineage], axes: Sequence[Axis]) -> str:
    """What the lineages are about, and over which settings the sweep goes."""
    told = f"{subject_text(lineages)}: {count_text(len(lineages), 'lineage')}"
    return f"{told} over {list_text([axis.name for axis in axes])}." if axes else f"{told}."


def _failures(lineages: Sequence[RecordedLineage]) -> list[str]:
    """Why lineages failed, each reason once."""
    failed: dict[str, list[str]] = {}
    for lineage in lineages:
        if lineage.status == "failed":
            failed.setdefault(lineage.note, []).append(lineage.name)
    told = []
    for note, names in list(failed.items())[:_MAX_REASONS]:
        more = [count_text(len(names) - _N_NAMED, "other")] if len(names) > _N_NAMED else []
        told.append(f"{count_text(len(names), 'lineage')}: {note} ({list_text([*names[:_N_NAMED], *more])})")
    n_more = len(failed) - len(told)
    return [*told, f"{count_text(n_more, 'other reason')}: see the table."] if n_more else told

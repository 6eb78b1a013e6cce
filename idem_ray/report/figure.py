"""The curves of a set of lineages as one figure for a paper: four measures by cycle, with 95 % intervals."""

import csv
import dataclasses
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idem_ray.errors import UserError
from idem_ray.records import BASE_CYCLE, MEASURES, CycleRecord, Estimate, finite
from idem_ray.report.looks import Look, band_share, look, offsets
from idem_ray.report.settings_text import differing_settings, legend_labels, subject_text
from idem_ray.store.finished import RecordedLineage
from idem_ray.text import measure_names, measure_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
GREY = "#767676"
_ENDED = ("stopped", "cut short")
RANGES = {"trait": (-2.0, 102.0), "coherence": (-2.0, 102.0), "distinct_words": (0.0, 1.02)}
STYLE: Any = {
    "font.size": 8,
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "DejaVu Sans"],
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4e0",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be searched, and edited for a paper
    "svg.hashsalt": "idem_ray",  # the same curves give the same file
    "pdf.fonttype": 42,
}


def check_figure_path(path: str) -> None:
    """Refuse now, not after the reading, what `save_figure` could not write.

    Raises:
        UserError: the file's ending names no format of a figure.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise UserError(f"Cannot write the figure {path}: its name must end in {', '.join(FORMATS)}.")


def contrast_figure(lineages: Sequence[RecordedLineage]) -> "Figure":
    """Four panels (trait, coherence, words per response, distinct-word ratio) by cycle: a curve with markers and a band
    of 95 % intervals for each lineage, the base model's level dashed, one legend. 7 inches wide."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    labels = legend_labels(lineages)
    longest = max(map(len, labels))
    n_columns = min(len(labels), max(1, 100 // (longest + 8)))
    n_legend_rows = -(-(len(labels) + 1) // n_columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 4.7 + 0.17 * n_legend_rows), layout="constrained")
        title = textwrap.fill(f"{subject_text(lineages)}: mean and 95 % interval", 95)
        figure.suptitle(title, fontsize=9.5, x=0.01, ha="left")
        panels = figure.subplots(2, 2, sharex=True).flat
        for panel, measure in zip(panels, MEASURES, strict=True):
            _draw(panel, measure, lineages)
        for panel in figure.axes[2:]:
            panel.set_xlabel("cycle")
        keys = [_key(Line2D, look(place), label) for place, label in enumerate(labels)]
        keys.append(Line2D([], [], color=GREY, lw=1, ls="--", marker="o", mfc="white", ms=4, label="base model"))
        figure.legend(handles=keys, loc="outside lower center", ncols=n_columns, handlelength=2.6)
    return figure


def save_figure(figure: "Figure", path: str) -> None:
    """Write a figure as PNG (300 dots an inch), SVG or PDF (vectors, text as text), by the file's ending.

    Raises:
        UserError: the ending names no such format, or the file cannot be written.
    """
    import matplotlib

    check_figure_path(path)
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(Path(path).suffix.lower())
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context(STYLE):
            figure.savefig(path, dpi=300, metadata=metadata)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error


def _draw(panel: "Axes", measure: str, lineages: Sequence[RecordedLineage]) -> None:
    panel.set_title(measure_title(measure))
    for estimate, places in base_levels(lineages, measure):
        is_one_of_many = len(places) == 1 < len(lineages)
        _draw_base(panel, estimate, look(places[0]).colour if is_one_of_many else GREY)
    for place, (lineage, offset) in enumerate(zip(lineages, offsets(len(lineages)), strict=True)):
        for run in _runs(lineage.records, measure):
            _draw_run(panel, run, offset, look(place), band_share(len(lineages)))
            if measure == "trait" and lineage.status in _ENDED and run[-1][0] == lineage.records[-1].cycle:
                end = (run[-1][0] + offset, _or_nan(run[-1][1].mean))
                panel.annotate(
                    lineage.status, end, (5, -2), textcoords="offset points", color=look(place).colour, fontsize=7
                )
    cycles = sorted({record.cycle for lineage in lineages for record in lineage.records})
    step = -(-len(cycles) // 14)
    ticks = [cycle for cycle in cycles if cycle == BASE_CYCLE or cycle % step == 0]
    panel.set_xticks(ticks, ["base" if cycle == BASE_CYCLE else str(cycle) for cycle in ticks])
    panel.set_xlim(cycles[0] - 0.4, cycles[-1] + 0.4)
    if measure in RANGES:
        panel.set_ylim(*RANGES[measure])
    else:
        panel.set_ylim(bottom=0)
    panel.tick_params(labelbottom=True)


def _draw_base(panel: "Axes", estimate: Estimate, colour: str) -> None:
    mean, low, high = (_or_nan(value) for value in (estimate.mean, estimate.low, estimate.high))
    panel.axhline(mean, color=colour, lw=0.9, ls=(0, (4, 3)), zorder=1.5)
    panel.vlines(BASE_CYCLE, low, high, color=colour, lw=0.9, zorder=1.5)
    panel.plot([BASE_CYCLE], [mean], "o", color=colour, mfc="white", ms=4, mew=1, zorder=2.5)


def _runs(records: Sequence[CycleRecord], measure: str) -> list[list[tuple[int, Estimate]]]:
    """Stretches of neighbouring cycles whose mean is known; a curve bridges no cycle that is missing."""
    runs: list[list[tuple[int, Estimate]]] = []
    for record in records:
        estimate = record.measures.get(measure)
        if record.cycle == BASE_CYCLE or estimate is None or finite(estimate.mean) is None:
            continue
        if runs and runs[-1][-1][0] == record.cycle - 1:
            runs[-1].append((record.cycle, estimate))
        else:
            runs.append([(record.cycle, estimate)])
    return runs


def _draw_run(panel: "Axes", run: Sequence[tuple[int, Estimate]], offset: float, own: Look, share: float) -> None:
    cycles = [cycle + offset for cycle, _ in run]
    means, lows, highs = ([_or_nan(getattr(e, end)) for _, e in run] for end in ("mean", "low", "high"))
    if len(run) > 1:
        panel.fill_between(cycles, lows, highs, color=own.colour, alpha=share, lw=0, zorder=1)
    else:
        panel.vlines(cycles, lows, highs, color=own.colour, lw=1)
    panel.plot(cycles, means, color=own.colour, **_line(own))


def _or_nan(value: float | None) -> float:
    """What matplotlib leaves out where a value is missing."""
    return math.nan if value is None else value


def _line(own: Look) -> dict[str, Any]:
    style = {"dot": "dotted"}.get(own.dash, own.dash)
    return {"lw": 1.3, "ls": style, "marker": own.marker.matplotlib, "ms": 4.2, "mec": "white", "mew": 0.4}


def _key(line: type, own: Look, label: str) -> Any:
    return line([], [], color=own.colour, label=label, **_line(own))


def base_levels(lineages: Sequence[RecordedLineage], measure: str) -> list[tuple[Estimate, list[int]]]:
    """The base model's estimates of a measure, each with the places of the lineages that measured just that: lineages
    of one model and trait share the base model, and usually its measurement."""
    levels: dict[Estimate, list[int]] = {}
    for place, lineage in enumerate(lineages):
        for record in lineage.records:
            estimate = record.measures.get(measure)
            if record.cycle == BASE_CYCLE and estimate and finite(estimate.mean) is not None:
                levels.setdefault(estimate, []).append(place)
    return list(levels.items())


def curve_rows(lineages: Sequence[RecordedLineage]) -> list[dict[str, Any]]:
    """A row for each lineage, cycle and measure: `lineage`, the differing settings by their paths, `cycle` (-1: the
    base model), `measure`, `mean`, `low` and `high` (95 % interval; None: missing), `n` and `n_missing` responses, and
    the cycle's `warnings` and `stopped` as text."""
    differing = differing_settings(lineages)
    paths = list(dict.fromkeys(path for own in differing for path in own))
    rows = []
    for lineage, own in zip(lineages, differing, strict=True):
        names = measure_names(lineage.records)
        for record in lineage.records:
            place = {"lineage": lineage.name, **{path: own.get(path) for path in paths}, "cycle": record.cycle}
            said = {"warnings": "; ".join(record.warnings) or None, "stopped": record.stopped}
            for measure in names:
                estimate = record.measures.get(measure)
                if estimate is not None:
                    rows.append({**place, "measure": measure, **dataclasses.asdict(estimate), **said})
    return rows


def write_csv(lineages: Sequence[RecordedLineage], path: str) -> None:
    """Write `curve_rows` as CSV with a header; what is missing is an empty cell, and no digit of a number is lost.

    Raises:
        UserError: the file cannot be written.
    """
    rows = curve_rows(lineages)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["lineage"])
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error

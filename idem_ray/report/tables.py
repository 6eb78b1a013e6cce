"""The numbers of a lineage as text: how each is called and written, and the terminal's tables of them."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from idem_ray.records import CycleRecord, known_mean
from idem_ray.text import (
    ABSENT,
    by_cycle,
    cycle_label,
    duration_text,
    estimate_text,
    known_stages,
    missing_text,
    number_text,
    overhead_share,
    total_seconds,
    training_loss,
)


def cycle_table(records: Sequence[CycleRecord]) -> Table:
    """A row for each cycle: its measures with 95 % intervals, its data, its loss and its time. Fits 80 columns."""
    table = _table("[low, high]: 95 % interval" + missing_text(records), padding=(0, 0, 0, 0))
    for heading in ("cycle", "trait", "coherence", "words", "distinct", "kept", "loss", "wall"):
        table.add_column(heading, justify="right", no_wrap=True)
    for record in by_cycle(records):
        measures = record.measures
        cells = [
            cycle_label(record.cycle),
            estimate_text(measures.get("trait"), n_interval_decimals=0),
            estimate_text(measures.get("coherence"), n_interval_decimals=0),
            number_text(known_mean(measures.get("length_words"))),
            number_text(known_mean(measures.get("distinct_words")), 2),
            f"{record.n_kept}/{record.n_generated}" if record.n_generated else ABSENT,
            number_text(training_loss(record), 2),
            duration_text(record.seconds.get("wall")),
        ]
        table.add_row(*map(Text, cells))
    return table


def comparison_table(records: Sequence[CycleRecord], others: Sequence[CycleRecord]) -> Table:
    """Two judges' scores of the same cycles side by side: a row for each cycle that both have scored."""
    table = _table("1: the run's own judges, 2: the others; [low, high]: 95 % interval" + missing_text(others, " (2)"))
    for heading in ("cycle", "trait 1", "trait 2", "coherence 1", "coherence 2"):
        table.add_column(heading, justify="right", no_wrap=True)
    second = {record.cycle: record for record in others}
    for record in by_cycle(records):
        if record.cycle in second:
            both = (record.measures, second[record.cycle].measures)
            cells = [estimate_text(found.get(name)) for name in ("trait", "coherence") for found in both]
            table.add_row(*map(Text, [cycle_label(record.cycle), *cells]))
    return table


def stage_table(records: Sequence[CycleRecord], startup_seconds: float | None = None) -> Table:
    """Seconds by stage for each cycle, their sums, and the overhead's share of the wall time.

    Args:
        startup_seconds: what the run took before its first cycle; shown on its own, in no sum.
    """
    stages = known_stages(records) or ["wall"]
    table = _table("seconds; stages may overlap, so they need not add up to the wall time")
    table.add_column("cycle", justify="right", no_wrap=True)
    for stage in stages:
        table.add_column(Text(stage), justify="right", no_wrap=True)
    table.add_column("overhead %", justify="right", no_wrap=True)
    ordered = by_cycle(records)
    for record in ordered:
        table.add_row(*map(Text, _stage_cells(cycle_label(record.cycle), record.seconds, stages)))
    table.add_section()
    table.add_row(*map(Text, _stage_cells("sum", total_seconds(ordered), stages)), style="bold")
    if startup_seconds is not None:
        table.add_row(*map(Text, _stage_cells("startup", {"wall": startup_seconds}, stages)))
    return table


def _table(caption: str, padding: tuple[int, int, int, int] = (0, 0, 0, 1)) -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=padding, caption=Text(caption, style="dim"), caption_justify="left")


def _stage_cells(label: str, seconds: dict[str, float], stages: Sequence[str]) -> list[str]:
    return [label, *(number_text(seconds.get(stage)) for stage in stages), overhead_share(seconds)]


def plain_table(caption: str = "") -> Table:
    """A table whose only line is below its head."""
    about = Text(caption, style="dim") if caption else None
    return Table(box=box.SIMPLE_HEAD, padding=0, caption=about, caption_justify="left")

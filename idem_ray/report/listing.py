"""All lineages below a folder, as a table (`idem-ray ls`)."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import Dpo, Sdf
from idem_ray.records import BASE_CYCLE, CycleRecord, known_mean
from idem_ray.report.tables import plain_table
from idem_ray.report.terminal import plain_console
from idem_ray.statistics.criteria import last_cycle
from idem_ray.store.finished import Found, LineageCurves, find_runs
from idem_ray.text import ABSENT, count_text, list_text, number_text, trait_name

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def show_runs(folder: str) -> None:
    """Print the runs below a folder, and in a line each the damaged ones with what is wrong.

    Raises:
        UserError: there is no run, or the folder cannot be read.
    """
    runs, console = find_runs(folder), plain_console(sys.stdout)
    statuses = [run.status for run in runs if run.lineage]
    if statuses:
        console.print(runs_table(runs, time.time()))
        counts = [f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses))]
        console.print(Text(f"{count_text(len(statuses), 'lineage')}: {list_text(counts)}."))
    for run in runs:
        if run.lineage is None:
            place = f"{run.group}/{run.name}" if run.group else run.name
            console.print(Text(f"cannot read {place}: {run.damage}", style="red"), soft_wrap=True)


def runs_table(runs: Sequence[Found], now: float) -> Table:
    """A row for each run that could be read, under a heading for each group. Fits 110 columns.

    Args:
        now: seconds since the epoch, for the ages.
    """
    table = plain_table()
    table.add_column("name", overflow="fold")
    table.add_column("trait", no_wrap=True)
    table.add_column("regime", no_wrap=True)
    table.add_column("model", overflow="fold")
    for heading in ("cycles", "trait: base\n→ 0 → last", "coher-\nence"):
        table.add_column(heading, justify="left" if "trait" in heading else "right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("last\ncommit", justify="right", no_wrap=True)
    group = ""
    for run in runs:
        if run.lineage is None:
            continue
        if run.group != group:
            group = run.group
            table.add_section()
            table.add_row(Text(f"{group}/", style="bold"))
        age = ABSENT if run.committed_at is None else age_text(now - run.committed_at)
        status = Text(run.status, style="" if run.status == "complete" else "yellow")
        table.add_row(Text(f"  {run.name}" if group else run.name), *_cells(run.lineage), status, Text(age))
    return table


def _cells(lineage: LineageCurves) -> list[Text]:
    last = last_cycle(lineage.records)
    coherence = next((r.measures.get("coherence") for r in lineage.records if r.cycle == last), None)
    texts = [
        trait_name(lineage.config.trait),
        regime_text(lineage.config).replace(", ", ",\n"),  # its words stay whole, whatever the width
        Path(lineage.config.model).name,
        progress_text(lineage),
        trait_path(lineage.records),
        number_text(known_mean(coherence), 0),
    ]
    return list(map(Text, texts))


def progress_text(lineage: LineageCurves) -> str:
    """Cycles committed, of all: `2/3`."""
    return f"{sum(record.cycle != BASE_CYCLE for record in lineage.records)}/{lineage.config.n_cycles}"


def regime_text(config: LineageConfig) -> str:
    """A regime and its switches in short: `sft base` (init), `dpo previous/base` (init/reference); then what is not as
    usual, `, rejected n-2` or `, restart 3`."""
    regime = config.regime
    parts = [f"{regime.type} {regime.init}"]
    if isinstance(regime, Dpo):
        parts = [f"dpo {regime.init}/{regime.reference}"]
        parts += [f"rejected {regime.rejected}"] if regime.rejected != "base" else []
    elif isinstance(regime, Sdf) and regime.generate_from != "prefixes":
        parts.append(f"from {regime.generate_from}")
    if regime.restart_cycles:
        parts.append(f"restart {'+'.join(map(str, regime.restart_cycles))}")
    return ", ".join(parts)


def trait_path(records: Sequence[CycleRecord]) -> str:
    """Trait scores of the base model, cycle 0 and the last cycle, `  7 →  46 →  15`: a dash is a missing score, and
    what is not reached yet is left out."""
    measures = {record.cycle: record.measures for record in records}
    last = last_cycle(records)
    cycles = [BASE_CYCLE, *([] if last is None else sorted({0, last}))]
    return " → ".join(f"{number_text(known_mean(measures.get(cycle, {}).get('trait')), 0):>3}" for cycle in cycles)


def age_text(seconds: float) -> str:
    """Time that has passed, in its largest unit: `12 s ago`, `5 min ago`, `3 h ago`, `2 d ago`. What seems to lie ahead
    (the clocks of two machines differ) is `0 s ago`."""
    length, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{max(0, int(seconds / length))} {unit} ago"

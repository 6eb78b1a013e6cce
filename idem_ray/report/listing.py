"""All lineages below a folder, as a table (`idem-ray ls`)."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import Dpo, Sdf
from idem_ray.records import BASE_CYCLE, known_mean
from idem_ray.report.tables import plain_table
from idem_ray.report.terminal import plain_console
from idem_ray.report.verdicts import how_many
from idem_ray.store.finished import RecordedLineage, find_runs
from idem_ray.text import ABSENT, count_text, number_text, trait_name

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def show_runs(folder: str) -> None:
    """Print the runs below a folder, and in a line each the damaged ones with what is wrong.

    Raises:
        UserError: there is no run, or the folder cannot be read.
    """
    (runs, damaged), console = find_runs(folder), plain_console(sys.stdout)
    if runs:
        console.print(runs_table(runs, time.time()))
        console.print(Text(f"{count_text(len(runs), 'lineage')}: {how_many(runs)}"))
    for run in damaged:
        place = f"{run.group}/{run.name}" if run.group else run.name
        console.print(Text(f"cannot read {place}: {run.damage}", style="red"), soft_wrap=True)


def runs_table(runs: Sequence[RecordedLineage], now: float) -> Table:
    """A row for each run, under a heading for each group. Fits 110 columns.

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
        if run.group != group:
            group = run.group
            table.add_section()
            table.add_row(Text(f"{group}/", style="bold"))
        age = ABSENT if run.committed_at is None else age_text(now - run.committed_at)
        status = Text(run.status, style="" if run.status == "complete" else "yellow")
        table.add_row(Text(f"  {run.name}" if group else run.name), *_cells(run), status, Text(age))
    return table


def _cells(lineage: RecordedLineage) -> list[Text]:
    texts = [
        trait_name(lineage.config.trait),
        regime_text(lineage.config).replace(", ", ",\n"),  # its words stay whole, whatever the width
        Path(lineage.config.model).name,
        progress_text(lineage),
        trait_path(lineage),
        number_text(known_mean(lineage.estimate(lineage.last, "coherence")), 0),
    ]
    return list(map(Text, texts))


def progress_text(lineage: RecordedLineage) -> str:
    """Cycles committed, of all: `2/3`."""
    return f"{lineage.n_done}/{lineage.config.n_cycles}"


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


def trait_path(lineage: RecordedLineage) -> str:
    """Trait scores of the base model, cycle 0 and the last cycle, `  7 →  46 →  15`: a dash is a missing score, and
    what is not reached yet is left out."""
    cycles = [BASE_CYCLE, *([] if lineage.last is None else sorted({0, lineage.last}))]
    return " → ".join(f"{number_text(known_mean(lineage.estimate(cycle)), 0):>3}" for cycle in cycles)


def age_text(seconds: float) -> str:
    """Time that has passed, in its largest unit: `12 s ago`, `5 min ago`, `3 h ago`, `2 d ago`. What seems to lie ahead
    (the clocks of two machines differ) is `0 s ago`."""
    length, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{max(0, int(seconds / length))} {unit} ago"

"""All lineages below a folder, as a table (`idem-ray ls`)."""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from idem_ray.config import LineageConfig
from idem_ray.curves import LineageCurves
from idem_ray.dynamics import last_cycle, stopped
from idem_ray.errors import UserError
from idem_ray.plan import read_config
from idem_ray.records import BASE_CYCLE, CycleRecord
from idem_ray.settings import Dpo, Sdf
from idem_ray.store import NO_RUNS, RunStore, cycle_name
from idem_ray.tables import (
    ABSENT,
    count_text,
    known_mean,
    list_text,
    number_text,
    plain_table,
    trait_name,
)
from idem_ray.terminal import plain_console

NEVER_RUNS = NO_RUNS | {"judged"}
"""Folders that are no runs whatever lies in them; nor are those whose names begin with `cycle-`."""

_N_READERS = 16
"""Runs that are read at a time in object storage, where every look takes a trip over the network."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class Found:
    """A run as it was found below a folder.

    Attributes:
        group: name of the folder between the run and the listed one; empty where there is none.
        lineage: None where the run is damaged, and `damage` then says in one line how.
        committed_at: when its last committed cycle was written, in seconds since the epoch, as the file system has it
            (a copied run is as old as the copy); None where no cycle is committed.
        cut_short: why a sweep ended it before its last cycle, if it did.
    """

    group: str
    name: str
    lineage: LineageCurves | None = None
    committed_at: float | None = None
    cut_short: str | None = None
    damage: str = ""

    @property
    def status(self) -> str:
        """`complete`; `stopped` before its last cycle, by a guard or its sweep; `unfinished`: under way, interrupted or
        not begun; or `damaged`."""
        if self.lineage is None:
            return "damaged"
        records = self.lineage.records
        if {record.cycle for record in records}.issuperset(range(self.lineage.config.n_cycles)):
            return "complete"
        return "stopped" if self.cut_short or stopped(records) else "unfinished"


# Reading -------------------------------------------------------------------------------------------------------


def find_runs(folder: str) -> list[Found]:
    """All runs in a folder, those directly in it first, then those in the folders right below it (families, sweeps),
    each by name; or the folder itself where it is a run. Every record is read once.

    Raises:
        UserError: there is no run, or the folder cannot be read.
    """
    top = RunStore(folder.rstrip("/") or folder)
    try:
        itself = _read("", top)
        if itself:
            return [itself]
        with ThreadPoolExecutor(1 if top.is_local else _N_READERS) as readers:
            inside = _folders(top)
            direct = list(readers.map(lambda store: _read("", store), inside))
            groups = [store for store, run in zip(inside, direct, strict=True) if run is None]
            members = zip(groups, readers.map(_folders, groups), strict=True)
            below = [(_name(group), store) for group, stores in members for store in stores]
            found = [run for run in [*direct, *readers.map(lambda place: _read(*place), below)] if run]
    except OSError as error:
        raise UserError(f"Cannot read {top.uri}: {error}.") from error
    if not found:
        raise UserError(f"There is no run in {top.uri}, nor in a folder right below it: name the folder of your runs.")
    return found


def _folders(store: RunStore) -> list[RunStore]:
    names = [name for name in store.folders() if name not in NEVER_RUNS and not name.startswith("cycle-")]
    return [RunStore(store.path(name)) for name in names]


def _read(group: str, store: RunStore) -> Found | None:
    """The run in a folder, if only a damaged one; None where there is nothing of a run."""
    if not store.exists("config.json") and not store.exists("manifest.json"):
        return None
    name = _name(store)
    try:
        lineage = LineageCurves(name, store.uri, read_config(store), store.records())
        return Found(group, name, lineage, _committed_at(store, lineage.records), store.cut_short())
    except (OSError, UserError) as error:
        return Found(group, name, damage=" ".join(str(error).split()))


def _committed_at(store: RunStore, records: Sequence[CycleRecord]) -> float | None:
    if not records:
        return None
    cycle = records[-1].cycle
    return store.owner(cycle).written_at(f"{cycle_name(cycle)}/record.json")


def _name(store: RunStore) -> str:
    return store.uri.split("/")[-1]


# Below a folder ------------------------------------------------------------------------------------------------


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

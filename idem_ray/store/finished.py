"""Finished and unfinished lineages as they are read from their folders."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from idem_ray.config.files import NO_RUNS
from idem_ray.config.lineage import LineageConfig
from idem_ray.config.objective import Objective
from idem_ray.errors import UserError
from idem_ray.folder import Folder
from idem_ray.records import CycleRecord
from idem_ray.statistics.criteria import stopped
from idem_ray.store.guards import reason_to_stop
from idem_ray.store.run import RunStore, cycle_name, read_config
from idem_ray.store.sweep import Ledger


@dataclass(frozen=True)
class LineageCurves:
    """A lineage as its run folder holds it. `records` are its committed cycles, the base model's first. `cut_short`:
    why a sweep ended it before its last cycle, if it did; what its later cycles would have been is not known."""

    name: str
    uri: str
    config: LineageConfig
    records: list[CycleRecord]
    cut_short: str | None = None


def read_lineages(folders: Sequence[str]) -> list[LineageCurves]:
    """The lineages of these folders, each a run or a family, each run once; names that would be the same get their
    parent folder's before them.

    Raises:
        UserError: a folder holds no run, or no run in which a cycle is committed.
    """
    found: dict[str, LineageCurves] = {}
    for folder in folders:
        store = RunStore(folder.rstrip("/") or folder)
        lineage = _read(store)
        lineages = [lineage] if lineage else read_family(store.uri)
        begun = [lineage for lineage in lineages if lineage.records]
        if not begun:
            raise UserError(f"{store.uri} has no committed cycle yet: there is nothing to show.")
        found.update((lineage.uri, lineage) for lineage in begun)
    names = Counter(lineage.name for lineage in found.values())
    return [
        dataclasses.replace(lineage, name="/".join(lineage.uri.split("/")[-2:])) if names[lineage.name] > 1 else lineage
        for lineage in found.values()
    ]


def read_family(folder: str) -> list[LineageCurves]:
    """All lineages in the sub-folders of a family's folder, by name; one that has only begun has no records.

    Raises:
        UserError: there is no run in any sub-folder.
    """
    family = Folder(folder.rstrip("/") or folder)
    lineages = [lineage for name in family.folders() if (lineage := _read(RunStore(family.path(name))))]
    if not lineages:
        raise UserError(f"There is no run in {family.uri}: neither it nor a folder in it has a config.json.")
    return lineages


def _read(store: RunStore) -> LineageCurves | None:
    if not store.exists("config.json"):
        return None
    return LineageCurves(store.uri.split("/")[-1], store.uri, read_config(store), store.records(), store.cut_short())


NEVER_RUNS = NO_RUNS | {"judged"}
"""Folders that are no runs whatever lies in them; nor are those whose names begin with `cycle-`."""


_N_READERS = 16
"""Runs that are read at a time in object storage, where every look takes a trip over the network."""


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


def find_runs(folder: str) -> list[Found]:
    """All runs in a folder, those directly in it first, then those in the folders right below it (families, sweeps),
    each by name; or the folder itself where it is a run. Every record is read once.

    Raises:
        UserError: there is no run, or the folder cannot be read.
    """
    top = RunStore(folder.rstrip("/") or folder)
    try:
        itself = _found("", top)
        if itself:
            return [itself]
        with ThreadPoolExecutor(1 if top.is_local else _N_READERS) as readers:
            inside = _folders(top)
            direct = list(readers.map(lambda store: _found("", store), inside))
            groups = [store for store, run in zip(inside, direct, strict=True) if run is None]
            members = zip(groups, readers.map(_folders, groups), strict=True)
            below = [(_name(group), store) for group, stores in members for store in stores]
            found = [run for run in [*direct, *readers.map(lambda place: _found(*place), below)] if run]
    except OSError as error:
        raise UserError(f"Cannot read {top.uri}: {error}.") from error
    if not found:
        raise UserError(f"There is no run in {top.uri}, nor in a folder right below it: name the folder of your runs.")
    return found


def _found(group: str, store: RunStore) -> Found | None:
    """The run in a folder, if only a damaged one; None where there is nothing of a run."""
    if not store.exists("config.json") and not store.exists("manifest.json"):
        return None
    name = _name(store)
    try:
        lineage = LineageCurves(name, store.uri, read_config(store), store.records())
        return Found(group, name, lineage, _committed_at(store, lineage.records), store.cut_short())
    except (OSError, UserError) as error:
        return Found(group, name, damage=" ".join(str(error).split()))


def _folders(store: RunStore) -> list[RunStore]:
    names = [name for name in store.folders() if name not in NEVER_RUNS and not name.startswith("cycle-")]
    return [RunStore(store.path(name)) for name in names]


def _committed_at(store: RunStore, records: Sequence[CycleRecord]) -> float | None:
    if not records:
        return None
    cycle = records[-1].cycle
    return store.owner(cycle).written_at(f"{cycle_name(cycle)}/record.json")


def _name(store: RunStore) -> str:
    return store.uri.split("/")[-1]


@dataclass(frozen=True)
class SweptLineage:
    """A lineage of a sweep: what it did, and what the search gave it.

    `values` has the search's value by the dotted path of a setting, such as `{"regime.beta": 0.1, "n_sampled": 24}`.
    `status` is `complete`, `unfinished`, `failed`, or `cut short`: the outcome was settled and the rest not run; `note`
    says why it failed or was cut short. `objective` is what the search made of it, where it looks for something.
    """

    curves: LineageCurves
    values: dict[str, Any]
    status: str
    note: str = ""
    objective: float | None = None


def read_swept(ledger: Ledger, objective: Objective | None) -> list[SweptLineage]:
    """The lineages of a sweep's ledger with what their folders hold."""
    swept = []
    for trial in ledger.trials():
        store = RunStore(trial.config.run_uri)
        records = [record for record in store.records() if record.cycle < trial.config.n_cycles]
        cut = store.cut_short()
        if is_complete(trial.config, store, records):
            status, note, cut = "complete", stopped(records) or "", None
        elif cut:
            status, note = "cut short", cut
        else:
            status, note = ("failed", trial.failure) if trial.failure else ("unfinished", "")
        curves = LineageCurves(trial.name, store.uri, trial.config, records, cut)
        value = objective.read(records) if objective else None
        swept.append(SweptLineage(curves, trial.values, status, note, value))
    return swept


def is_complete(config: LineageConfig, store: RunStore, done: Sequence[CycleRecord]) -> bool:
    """Whether every cycle of a lineage is committed, or the guards have ended it."""
    if len(done) > config.n_cycles:  # with the base model's measurement
        return True
    cycle_0 = next((record for record in done if record.cycle == 0), None)
    return any(reason_to_stop(config.guards, store, record, cycle_0) for record in done)

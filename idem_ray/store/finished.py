"""Lineages as they are read back from their folders: one type, one status, whoever shows them."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from idem_ray.config.files import NO_RUNS
from idem_ray.config.lineage import LineageConfig
from idem_ray.config.objective import Objective
from idem_ray.errors import UserError
from idem_ray.folder import N_READERS, Folder
from idem_ray.records import BASE_CYCLE, CycleRecord, Estimate, Status
from idem_ray.statistics.criteria import Verdict, last_cycle, verdict
from idem_ray.store.guards import reason_to_stop
from idem_ray.store.run import RunStore, cycle_name, read_config
from idem_ray.store.sweep import Ledger

NEVER_RUNS = NO_RUNS | {"judged"}
"""Folders that are no runs whatever lies in them; nor are those whose names begin with `cycle-`."""


@dataclass(frozen=True)
class RecordedLineage:
    """A lineage as its folder holds it.

    Attributes:
        records: its committed cycles, the base model's first.
        stopped: why its guards have ended it before its last cycle, if they have.
        cut_short: why its sweep has, if it has: what its later cycles would have been is not known.
        failure: why it could not be finished, the last time that its sweep or family tried.
        group: name of the folder between it and the one that was listed; empty where there is none.
        committed_at: when its last committed cycle was written, in seconds since the epoch, as the file system has it
            (a copied run is as old as the copy); None where no cycle is committed.
        values: what a search gave it, by the dotted path of a setting: `{"regime.beta": 0.1, "n_sampled": 24}`.
        objective: what the search made of it; None where it looks for nothing, or the scores are missing.
    """

    name: str
    uri: str
    config: LineageConfig
    records: list[CycleRecord]
    stopped: str | None = None
    cut_short: str | None = None
    failure: str | None = None
    group: str = ""
    committed_at: float | None = None
    values: dict[str, Any] = field(default_factory=dict)
    objective: float | None = None

    @property
    def status(self) -> Status:
        """How far it is."""
        return status(self)

    @property
    def verdict(self) -> Verdict:
        """What the published criterion says of it."""
        return verdict(self.records, self.status, self.config.n_cycles)

    @property
    def note(self) -> str:
        """Why it is not complete, as far as that is known."""
        notes = {"stopped": self.stopped, "cut short": self.cut_short, "failed": self.failure}
        return notes.get(self.status) or ""

    @property
    def last(self) -> int | None:
        """The last trained cycle that is committed."""
        return last_cycle(self.records)

    @property
    def n_done(self) -> int:
        """Trained cycles that are committed; the base model's measurement is none."""
        return sum(record.cycle != BASE_CYCLE for record in self.records)

    def estimate(self, cycle: int | None, measure: str = "trait") -> Estimate | None:
        """A measure in a cycle, or None."""
        record = None if cycle is None else self._by_cycle.get(cycle)
        return record.measures.get(measure) if record else None

    @cached_property
    def _by_cycle(self) -> dict[int, CycleRecord]:
        return {record.cycle: record for record in self.records}


@dataclass(frozen=True)
class DamagedRun:
    """A run that cannot be read, and in one line why."""

    name: str
    group: str
    damage: str


def status(lineage: RecordedLineage) -> Status:
    """How far a lineage is: the only place where that is worked out."""
    if {record.cycle for record in lineage.records}.issuperset(range(lineage.config.n_cycles)):
        return "complete"
    if lineage.stopped:
        return "stopped"
    if lineage.cut_short:
        return "cut short"
    return "failed" if lineage.failure else "unfinished"


def is_over(config: LineageConfig, store: RunStore, done: Sequence[CycleRecord]) -> bool:
    """Whether a run of the lineage's command has nothing to do: every cycle is committed, or the guards end it."""
    return len(done) > config.n_cycles or stopped_by_guards(config, store, done) is not None  # with the base model's


def stopped_by_guards(config: LineageConfig, store: RunStore, records: Sequence[CycleRecord]) -> str | None:
    """Why a lineage's guards end it after one of these cycles, or None. It goes by the guards as they are now, as a run
    of the command would: they may change on the way, and a shared cycle was made under another lineage's."""
    cycle_0 = next((record for record in records if record.cycle == 0), None)
    reasons = (reason_to_stop(config.guards, store, record, cycle_0) for record in records)
    return next((reason for reason in reasons if reason), None)


# Reading -------------------------------------------------------------------------------------------------------


def read_run(folder: str) -> RecordedLineage:
    """The lineage in a run's folder (local or object store), complete or not.

    Raises:
        UserError: there is no run, or it is damaged.
    """
    store = RunStore(folder.rstrip("/") or folder)
    return _read(store, read_config(store), failure=_failure(store))


def read_lineages(folders: Sequence[str]) -> list[RecordedLineage]:
    """The lineages of these folders, each a run or a family, each run once; names that would be the same get their
    parent folder's before them.

    Raises:
        UserError: a folder holds no run, or no run in which a cycle is committed.
    """
    found: dict[str, RecordedLineage] = {}
    for folder in folders:
        store = RunStore(folder.rstrip("/") or folder)
        lineages = [read_run(store.uri)] if store.exists("config.json") else read_family(store.uri)
        begun = [lineage for lineage in lineages if lineage.records]
        if not begun:
            raise UserError(f"{store.uri} has no committed cycle yet: there is nothing to show.")
        found.update((lineage.uri, lineage) for lineage in begun)
    names = Counter(lineage.name for lineage in found.values())
    return [
        dataclasses.replace(lineage, name="/".join(lineage.uri.split("/")[-2:])) if names[lineage.name] > 1 else lineage
        for lineage in found.values()
    ]


def read_family(folder: str) -> list[RecordedLineage]:
    """All lineages in the sub-folders of a family's folder, by name; one that has only begun has no records.

    Raises:
        UserError: there is no run in any sub-folder.
    """
    family = Folder(folder.rstrip("/") or folder)
    stores = [RunStore(family.path(name)) for name in family.folders()]
    failures = _failures(family)
    lineages = [
        _read(store, read_config(store), failure=failures.get(_name(store)))
        for store in stores
        if store.exists("config.json")
    ]
    if not lineages:
        raise UserError(f"There is no run in {family.uri}: neither it nor a folder in it has a config.json.")
    return lineages


def read_swept(ledger: Ledger, objective: Objective | None) -> list[RecordedLineage]:
    """The lineages of a sweep's ledger with what their folders hold, of the cycles that the sweep asks for."""
    swept = []
    for trial in ledger.trials():
        lineage = _read(RunStore(trial.config.run_uri), trial.config, trial.config.n_cycles, failure=trial.failure)
        value = objective.read(lineage.records) if objective else None
        swept.append(dataclasses.replace(lineage, name=trial.name, values=trial.values, objective=value))
    return swept


def find_runs(folder: str) -> tuple[list[RecordedLineage], list[DamagedRun]]:
    """All runs in a folder, those directly in it first, then those in the folders right below it (families, sweeps),
    each by name; or the folder itself where it is a run. Every record is read once.

    Returns:
        those that can be read, and those that cannot.

    Raises:
        UserError: there is no run, or the folder cannot be read.
    """
    top = RunStore(folder.rstrip("/") or folder)
    try:
        itself = _found(top, failure=_failure(top))
        if itself:
            return _sorted_out([itself])
        with ThreadPoolExecutor(1 if top.is_local else N_READERS) as readers:
            inside = _folders(top)
            own = _failures(top)
            direct = list(readers.map(lambda store: _found(store, failure=own.get(_name(store))), inside))
            groups = [store for store, run in zip(inside, direct, strict=True) if run is None]
            members = list(readers.map(_folders, groups))
            failures = list(readers.map(_failures, groups))
            below = [
                (store, _name(group), failed.get(_name(store)))
                for group, stores, failed in zip(groups, members, failures, strict=True)
                for store in stores
            ]
            found = [run for run in [*direct, *readers.map(lambda place: _found(*place), below)] if run]
    except OSError as error:
        raise UserError(f"Cannot read {top.uri}: {error}.") from error
    if not found:
        raise UserError(f"There is no run in {top.uri}, nor in a folder right below it: name the folder of your runs.")
    return _sorted_out(found)


def _read(
    store: RunStore, config: LineageConfig, n_cycles: int | None = None, group: str = "", failure: str | None = None
) -> RecordedLineage:
    """The lineage in a folder; with `n_cycles`, of its first cycles alone."""
    records = [record for record in store.records() if n_cycles is None or record.cycle < n_cycles]
    is_whole = len(records) > config.n_cycles  # then nothing has ended it early
    return RecordedLineage(
        _name(store),
        store.uri,
        config,
        records,
        stopped=None if is_whole else stopped_by_guards(config, store, records),
        cut_short=store.cut_short(),
        failure=failure,
        group=group,
        committed_at=_committed_at(store, records),
    )


def _found(store: RunStore, group: str = "", failure: str | None = None) -> RecordedLineage | DamagedRun | None:
    """The run in a folder, if only a damaged one; None where there is nothing of a run."""
    if not store.exists("config.json") and not store.exists("manifest.json"):
        return None
    try:
        return _read(store, read_config(store), group=group, failure=failure)
    except (OSError, UserError) as error:
        return DamagedRun(_name(store), group, " ".join(str(error).split()))


def _sorted_out(
    found: Sequence[RecordedLineage | DamagedRun],
) -> tuple[list[RecordedLineage], list[DamagedRun]]:
    whole = [run for run in found if isinstance(run, RecordedLineage)]
    return whole, [run for run in found if isinstance(run, DamagedRun)]


def _failure(store: RunStore) -> str | None:
    """Why a run failed, as the ledger of the folder that it lies in has it."""
    return _failures(Folder(store.uri.rpartition("/")[0] or "/")).get(_name(store))


def _failures(store: Folder) -> dict[str, str]:
    """Why lineages of a folder's ledger failed. One that is damaged says nothing: what the runs hold can be read."""
    try:
        return Ledger(store.uri).failures()
    except UserError:
        return {}


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

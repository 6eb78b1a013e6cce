"""A lineage as a trial of Ray Tune: a light function that works with the shared pools and reports every cycle."""

import contextlib
import os
from dataclasses import dataclass, replace
from typing import Any

from ray import tune

from idem_ray.cluster.locks import Locks
from idem_ray.cluster.session import Pools
from idem_ray.config.objective import OBJECTIVE, Objective, Stop
from idem_ray.errors import told_by
from idem_ray.lineage.opened import OpenedRun
from idem_ray.lineage.shared import SharedWork
from idem_ray.pools.trainers import Finetuner
from idem_ray.records import MEASURES, CycleRecord, known_mean
from idem_ray.report.write import write_report
from idem_ray.store.sweep import Ledger, Trial


@dataclass(frozen=True)
class Crew:
    """All that the lineages of a sweep share, as it is sent to their processes.

    Attributes:
        uri: the sweep's folder.
        folder: what relative paths in the settings start from.
        command: name of this run of the command.
    """

    uri: str
    pools: Pools
    finetuner: Finetuner
    locks: Locks
    objective: Objective
    stop: Stop
    command: str
    folder: str


def run_trial(chosen: dict[str, Any], crew: Crew) -> None:
    """Run or continue the lineage that the sweep's ledger has under this number, and report each of its cycles.

    What a user must mend is reported and ends the trial; any other error is raised, and Tune tries again.

    Args:
        chosen: `number`, and the values for Tune's trackers.
    """
    with contextlib.suppress(OSError):  # another machine: there the paths are those of the job's own package
        os.chdir(crew.folder)
    ledger = Ledger(crew.uri)
    trial = ledger.trial(chosen["number"])
    assert trial
    records: list[CycleRecord] = []
    try:
        run = OpenedRun.of(trial.config)
        shared = SharedWork(crew.uri, crew.locks, crew.command)
        lineage = run.at_work(crew.pools, crew.finetuner, shared)
        # A search may ask for the same settings twice.
        with shared.alone("lineage", trial.config.hash):
            for record in lineage.cycles():
                records.append(record)
                settled = crew.stop.reason(records) if record.cycle < trial.config.n_cycles - 1 else None
                run.store.cut_here(record.cycle, settled)
                if settled:  # the stopper ends this function within the report to Tune
                    _finish(ledger, trial, run)
                tune.report(cycle_report(record, records, crew.objective, record not in run.done, settled))
            _finish(ledger, trial, run)
    except Exception as error:
        told = told_by(error)
        last = str(told or error).strip().splitlines() or [type(error).__name__]
        ledger.write(replace(trial, failure=last[-1]))
        if told is None:
            raise
        tune.report({"failure": last[-1]})


def _finish(ledger: Ledger, trial: Trial, run: OpenedRun) -> None:
    write_report(run.store)
    if trial.failure:
        ledger.write(replace(trial, failure=None))


def cycle_report(
    record: CycleRecord, records: list[CycleRecord], objective: Objective, is_new: bool, settled: str | None
) -> dict[str, Any]:
    """What a cycle tells Tune: its measures, the objective so far, and whether the outcome is settled. Whatever is
    missing is left out; a tracker must not draw it as a zero."""
    known = {
        "cycle": record.cycle,
        **{name: known_mean(record.measures.get(name)) for name in MEASURES},
        OBJECTIVE: objective.read(records),
        "wall_seconds": record.seconds.get("wall"),
        "settled": settled,
        "is_new": is_new,
    }
    return {name: value for name, value in known.items() if value is not None}


class Settled(tune.Stopper):
    """Ends a lineage whose report says that its outcome is settled (`objective.Stop`), or that it failed."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return bool(result.get("settled") or result.get("failure"))

    def stop_all(self) -> bool:
        return False


def settled_at(run: OpenedRun, stop: Stop) -> tuple[int, str] | None:
    """The committed cycle after which the outcome was settled, so that the lineage goes no further, and why."""
    for place, record in enumerate(run.done):
        reason = stop.reason(run.done[: place + 1])
        if reason:
            return record.cycle, reason
    return None

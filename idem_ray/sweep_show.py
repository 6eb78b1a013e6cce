"""What a person sees of lineages side by side: a line for each cycle, then one table and one page of all."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ray import tune
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idem_ray.curves import LineageCurves
from idem_ray.dynamics import last_cycle, stopped
from idem_ray.family_report import write_family_report
from idem_ray.ledger import Ledger, Trial
from idem_ray.objective import Objective
from idem_ray.records import BASE_CYCLE, CycleRecord
from idem_ray.store import RunStore
from idem_ray.sweep_report import SweptLineage, sweep_html
from idem_ray.tables import ABSENT, cycle_text, estimate_text, known_mean, number_text
from idem_ray.work import is_complete


class Teller(tune.Callback):
    """Tells of every cycle and failure as Tune hears of it, and which lineages are at work."""

    def __init__(
        self,
        ledger: Ledger,
        console: Console,
        at_work: dict[str, str],
        n_total: int,
        n_done: int,
        hours: Callable[[], str | None] | None = None,
    ) -> None:
        """
        Args:
            at_work: kept up to date: lineage hash -> name.
            n_total: lineages of the sweep, of which `n_done` are done.
            hours: how long the whole takes, asked when a lineage is done until it is known; None: that has been told.
        """
        self._ledger, self._console, self._at_work = ledger, console, at_work
        self._n_total, self._n_done, self._hours = n_total, n_done, hours

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restoration that goes by the ledger here; a terminal cannot be."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        known = self._known(trial)
        self._at_work[known.config.hash] = known.name

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        known = self._known(trial)
        if not result.get("is_new"):
            return
        record = RunStore(known.config.run_uri).record(result["cycle"])
        if record is None:
            return
        shared = " (shared)" if record.lineage != known.config.hash else ""
        trait, coherence = (estimate_text(record.measures.get(name)) for name in ("trait", "coherence"))
        when = time.strftime("%H:%M:%S")
        self._say(f"{when} {known.name}, {cycle_text(record.cycle)}{shared}: trait {trait}, coherence {coherence}")
        for warning in [] if shared else record.warnings:
            self._say(f"  warning: {warning}")
        for reason in filter(None, (record.stopped, result.get("settled"))):
            self._say(f"  ends here: {reason}")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        known = self._known(trial)
        self._say(f"{known.name} failed ({known.failure or 'its process died'}) and is tried again")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        known = self._ended(trial)
        if known.failure:
            self._say(f"{known.name} failed: {known.failure}")
        else:
            self._n_done += 1
            self._say(f"{known.name} is done ({self._n_done} of {self._n_total})")
            if self._hours and self._n_done < self._n_total and (text := self._hours()):
                self._say(f"the whole, {text}")
                self._hours = None

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        known = self._ended(trial)
        if not known.failure:  # it could not say so itself
            known = replace(known, failure="its process died")
            self._ledger.write(known)
        self._say(f"{known.name} failed: {known.failure}")

    def _ended(self, trial: Any) -> Trial:
        known = self._known(trial)
        self._at_work.pop(known.config.hash, None)
        return known

    def _known(self, trial: Any) -> Trial:
        known = self._ledger.trial(trial.config["number"])
        assert known
        return known

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)


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


def show_lineages(swept: Sequence[SweptLineage], console: Console) -> None:
    """Print one line for each lineage."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for heading in ("lineage", "base", "cycle 0", "last trait", "coherence", "cycles", "objective", "status"):
        table.add_column(heading, justify="left" if heading in ("lineage", "status") else "right", overflow="fold")
    for lineage in swept:
        records = {record.cycle: record for record in lineage.curves.records}
        last = records.get(last_cycle(lineage.curves.records) or 0)

        def text(record: CycleRecord | None, measure: str = "trait") -> str:
            return estimate_text(record.measures.get(measure), n_interval_decimals=0) if record else ABSENT

        cells = [
            lineage.curves.name,
            number_text(known_mean(records[BASE_CYCLE].measures.get("trait"))) if BASE_CYCLE in records else ABSENT,
            text(records.get(0)),
            text(last),
            number_text(known_mean(last.measures.get("coherence"))) if last else ABSENT,
            f"{sum(cycle >= 0 for cycle in records)} of {lineage.curves.config.n_cycles}",
            number_text(lineage.objective),
            lineage.status + (f": {lineage.note}" if lineage.note else ""),
        ]
        table.add_row(*map(Text, cells))
    console.print(table)


def write_sweep_report(folder: str) -> str:
    """Write `report.html` into a sweep's or family's folder from what its lineages have committed.

    Returns:
        The page's path or URI.

    Raises:
        UserError: there is no lineage with a committed cycle.
    """
    ledger = Ledger(folder)
    if not ledger.exists():
        return write_family_report(folder)
    return write_sweep_page(ledger, read_swept(ledger, ledger.objective))


def write_sweep_page(ledger: Ledger, swept: Sequence[SweptLineage]) -> str:
    """Write a sweep's `report.html` from what was read of its lineages (`read_swept`).

    Returns:
        The page's path or URI.
    """
    objective = ledger.objective
    reported = [s.curves.name for s in swept if RunStore(s.curves.uri).exists("report.html")]
    name = ledger.store.uri.split("/")[-1]
    lowest_is_best = objective is not None and objective.goal == "min"
    html = sweep_html(name, swept, objective.words if objective else "", reported, lowest_is_best)
    ledger.store.write_bytes("report.html", html.encode())
    return ledger.store.path("report.html")

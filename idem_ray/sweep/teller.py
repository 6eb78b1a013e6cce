"""A line for each cycle of a sweep as Tune hears of it."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray import tune
from rich.console import Console

from idem_ray.store.run import RunStore
from idem_ray.store.sweep import Ledger, Trial
from idem_ray.text import cycle_text, estimate_text


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

"""Lineages side by side on Ray Tune: a sweep's, or the variants of one config. The pools are loaded once for all."""

import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console

from idem_ray.capacity import TRIAL_CPUS
from idem_ray.config import LineageConfig
from idem_ray.config_file import SweepConfig
from idem_ray.errors import UserError
from idem_ray.ledger import Ledger, Trial
from idem_ray.objective import Objective, Stop
from idem_ray.run import again, check_models, in_background, log_file, only_driver
from idem_ray.search import SweepSettings, trial_name
from idem_ray.session import Session, open_session
from idem_ray.shared import Locks
from idem_ray.suggestions import OptunaProposals, Suggestions
from idem_ray.sweep_show import Teller, read_swept, show_lineages, write_sweep_report
from idem_ray.terminal import Watch, chatter_to, plain_console, waiting
from idem_ray.trackers import tracker_callbacks
from idem_ray.trial import Crew, Settled, is_settled, run_trial
from idem_ray.work import Work


@dataclass(frozen=True)
class _Search:
    """What is to be run: the lineages that are known, and how further ones come about.

    Attributes:
        configs: all that the pools must be able to serve.
        n_new: lineages that Optuna is to propose.
        place: writes a lineage with these values down, as the next one.
    """

    configs: list[LineageConfig]
    trials: list[Trial]
    objective: Objective = field(default_factory=Objective)
    stop: Stop = field(default_factory=Stop)
    max_failures: int = 1
    trackers: tuple[str, ...] = ("tensorboard",)
    n_new: int = 0
    settings: SweepSettings | None = None
    place: Callable[[dict[str, Any]], Trial] | None = None


def run_family(configs: Sequence[LineageConfig]) -> None:
    """Run or continue the variants of one config on a terminal.

    Raises:
        UserError: bad input, found before anything long was started; or a stage that stands still.
    """
    if len({(config.model, config.cluster) for config in configs}) > 1:
        raise UserError("The variants of one config share the pools: model and cluster must be the same in all.")
    check_models(configs)
    ledger = Ledger(configs[0].output)
    trials = [Trial(number, config.name, {}, config) for number, config in enumerate(configs)]
    for trial in trials:
        ledger.write(trial)
    _run(ledger, _Search(list(configs), trials))


def run_sweep(sweep: SweepConfig, plan_only: bool = False) -> None:
    """Run or continue a sweep on a terminal.

    Args:
        plan_only: say what it would take, and start nothing.

    Raises:
        UserError: bad input, found before anything long was started; or a stage that stands still.
    """
    settings, ledger = sweep.settings, Ledger(sweep.uri)
    values = sweep.check()
    configs = [sweep.lineage(own) for own in values]
    check_models(configs)
    ledger.open(sweep.hash, settings.objective)
    book = _Book(sweep, ledger)
    n_new = 0
    if settings.algorithm == "optuna":
        n_new = max(0, settings.n_trials - len(book.trials))
        trials = [book.again(trial) for trial in book.trials[: settings.n_trials]]
    else:
        trials = [book.place(own) for own in values]
    _run(
        ledger,
        _Search(
            configs=configs,
            trials=trials,
            objective=settings.objective,
            stop=settings.stop,
            max_failures=settings.max_failures,
            trackers=settings.trackers,
            n_new=n_new,
            settings=settings if settings.algorithm == "optuna" else None,
            place=book.place,
        ),
    )


class _Book:
    """Writes a sweep's lineages down, each under a name of its own."""

    def __init__(self, sweep: SweepConfig, ledger: Ledger) -> None:
        self._sweep, self._ledger = sweep, ledger
        self.trials = ledger.trials()
        self._names = {trial.name: trial.values for trial in self.trials}
        self._numbers = {repr(trial.values): trial.number for trial in self.trials}

    def place(self, values: dict[str, Any]) -> Trial:
        """The lineage with these values, with the settings as they are now."""
        name = trial_name(values)
        if self._names.get(name, values) != values:  # alike in the digits that a name shows
            name = f"{name}-{self._sweep.lineage(values).hash[:6]}"
        self._names[name] = values
        number = self._numbers.setdefault(repr(values), len(self._numbers))
        trial = Trial(number, name, values, self._sweep.lineage(values, name))
        self._ledger.write(trial)
        return trial

    def again(self, trial: Trial) -> Trial:
        """A lineage of an earlier command, with the settings as they are now."""
        return self.place(trial.values)


def _run(ledger: Ledger, search: _Search) -> None:
    began = time.time()
    console = plain_console(sys.stdout)
    works = [Work.of(trial.config) for trial in search.trials]
    todo = [
        trial
        for trial, work in zip(search.trials, works, strict=True)
        if not work.is_complete and not is_settled(work, search.stop)
    ]
    if not todo and not search.n_new:
        console.print(f"{ledger.store.uri} is complete: nothing to do.", soft_wrap=True, markup=False)
    else:
        for work in {(work.config.judge, work.plan.trait.hash): work for work in works}.values():
            work.check_endpoint()
        log = log_file(ledger.store)
        with only_driver([ledger.store, *(work.store for work in works)]), chatter_to(log) as terminal:
            _at_work(ledger, search, todo, terminal, log)
    swept = read_swept(ledger, search.objective)
    show_lineages(swept, console)
    if any(lineage.curves.records for lineage in swept):
        page = write_sweep_report(ledger.store.uri)
        console.print(f"report of all {len(swept)} lineages: {page}", soft_wrap=True, markup=False)
    console.print(f"Done in {time.time() - began:.0f} s.")
    failed = [lineage for lineage in swept if lineage.status == "failed"]
    if failed:
        names = ", ".join(lineage.curves.name for lineage in failed)
        console.print(f"idem-ray: failed: {names}; {again(log_file(ledger.store))}.", markup=False, soft_wrap=True)
        raise SystemExit(1)


def _at_work(ledger: Ledger, search: _Search, todo: list[Trial], console: Console, log: str) -> None:
    cluster = search.configs[0].cluster
    n_total = len(search.trials) + search.n_new
    n_at_once = min(cluster.n_lineages, len(todo) + search.n_new)
    console.print(
        f"idem-ray: {n_total} lineages ({n_total - len(todo) - search.n_new} done before), {n_at_once} at a time",
        markup=False,
    )
    console.print(f"folder {ledger.store.uri}, log {log}", soft_wrap=True, markup=False)
    with waiting(console) as tell, open_session(search.configs, tell, n_at_once) as session:
        console.print(f"models loaded in {session.startup_seconds:.0f} s")
        at_work: dict[str, str] = {}
        watch = Watch(session.pools.board, at_work, console, cluster.stall_timeout_seconds)
        tuner = _tuner(ledger, search, todo, session, console, at_work)
        with watch:
            error = in_background(tuner.fit, watch, log, console)
        if error:
            raise error


def _tuner(
    ledger: Ledger, search: _Search, todo: list[Trial], session: Session, console: Console, at_work: dict[str, str]
) -> tune.Tuner:
    # Trials work in the folder of the job; their curves go to the trackers, and not to a CSV and a JSON file, too.
    os.environ.update({"RAY_CHDIR_TO_TRIAL_DIR": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"})
    locks = Locks()
    crew = Crew(
        uri=ledger.store.uri,
        pools=session.pools,
        finetuner=session.finetuner,
        locks=locks,
        objective=search.objective,
        stop=search.stop,
        command=uuid.uuid4().hex[:8],
        folder=str(Path.cwd()),
    )
    n_total = len(search.trials) + search.n_new
    teller = Teller(ledger, console, at_work, n_total, n_total - len(todo) - search.n_new)
    proposals = None
    if search.settings and search.n_new:
        waiting_for = {trial.number for trial in todo}
        known = [
            (trial, lineage.objective if trial.number not in waiting_for else None)
            for trial, lineage in zip(search.trials, read_swept(ledger, search.objective), strict=False)
        ]
        proposals = OptunaProposals(search.settings, known)
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, crew=crew), {"CPU": TRIAL_CPUS}),
        tune_config=tune.TuneConfig(
            search_alg=Suggestions(todo, search.n_new, proposals, search.place),
            num_samples=len(todo) + search.n_new,
            max_concurrent_trials=search.configs[0].cluster.n_lineages,
            reuse_actors=True,  # a process for each lineage would cost seconds of imports each
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=ledger.store.uri,
            stop=Settled(),
            callbacks=[teller, *tracker_callbacks(search.trackers, ledger.store)],
            failure_config=tune.FailureConfig(max_failures=search.max_failures),
            verbose=0,
        ),
    )


def _name(trial: Any) -> str:
    return str(trial.config["name"])

"""Lineages side by side on Ray Tune: a sweep's, or the variants of one config. The pools are loaded once for all."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune

from idem_ray.cluster.locks import Locks
from idem_ray.cluster.places import TRIAL_CPUS
from idem_ray.cluster.session import join_ray
from idem_ray.config.files import SweepConfig
from idem_ray.config.lineage import LineageConfig
from idem_ray.errors import UserError
from idem_ray.judges.language.endpoint import NO_LOGPROBS
from idem_ray.lineage.driver import Driver, again, check_models, driving, log_file, only_driver
from idem_ray.lineage.opened import OpenedRun
from idem_ray.lineage.plan import Plan
from idem_ray.report.family_page import write_family_report
from idem_ray.report.sweep import show_lineages, write_sweep_page
from idem_ray.report.terminal import chatter_to, plain_console
from idem_ray.store.finished import read_swept
from idem_ray.store.sweep import Ledger, Trial
from idem_ray.sweep.draws import values_of
from idem_ray.sweep.forecast import hours_text, learn_rates
from idem_ray.sweep.naming import Book
from idem_ray.sweep.search import Search
from idem_ray.sweep.suggestions import OptunaProposals, Suggestions
from idem_ray.sweep.teller import Teller
from idem_ray.sweep.trackers import check_trackers, tracker_callbacks
from idem_ray.sweep.trial import Crew, Settled, run_trial, settled_at


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
    with only_driver([ledger.store]):
        runs = _opened(trials)
        ledger.write_all(trials)
        _run(ledger, Search([run.plan for run in runs.values()]), trials, runs)


def run_sweep(sweep: SweepConfig, plan_only: bool = False) -> None:
    """Run or continue a sweep on a terminal.

    Args:
        plan_only: say what it would take, and start nothing but Ray.

    Raises:
        UserError: bad input, found before anything long was started; or a stage that stands still.
    """
    settings, ledger = sweep.settings, Ledger(sweep.uri)
    check_trackers(settings.trackers, ledger.store)
    values = values_of(sweep)
    configs = [sweep.lineage(own) for own in values]
    check_models(configs)
    plans = [Plan.of(config) for config in configs]
    if plan_only:
        _tell_plan(Search(plans, settings, n_calibration=Book(sweep, ledger).n_calibration(values)))
        return
    with only_driver([ledger.store]):
        _run_sweep(sweep, ledger, values, plans)


def _run_sweep(sweep: SweepConfig, ledger: Ledger, values: list[dict[str, Any]], plans: list[Plan]) -> None:
    settings, wanted, n_new = sweep.settings, values, 0
    ledger.open(sweep.hash, settings.objective)
    book = Book(sweep, ledger)
    if settings.algorithm == "optuna":
        values = [trial.values for trial in book.earlier[: settings.n_lineages]]
        n_new = settings.n_lineages - len(values)
        wanted = [*values, *(wanted if n_new else [])]
    trials = [book.place(own) for own in values] if all(map(book.is_known, wanted)) else None
    search = Search(plans, settings, n_new, book.n_calibration(wanted))
    if trials is not None:
        _run(ledger, search, trials, _opened(trials), book)
        return

    began, placed, runs = time.time(), list[Trial](), dict[int, OpenedRun]()
    with driving(ledger.store, search.configs, search.plan_lines, search.n_at_once) as driver:

        def calibrate() -> None:
            book.calibrate(wanted, driver)
            driver.at_work.clear()
            placed.extend(book.place(own) for own in values)
            runs.update(_opened(placed))

        driver.carry_out(calibrate, "the calibration")
        with only_driver([run.store for run in runs.values()]):
            _carry_out(ledger, search, placed, _todo(search, placed, runs), driver, book)
    _tell_outcome(ledger, search, began)


def _tell_plan(search: Search) -> None:
    with chatter_to(os.devnull) as console:
        for line in search.plan_lines():
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        place = join_ray(search.roles)
        ray.shutdown()
        console.print(f"all of them find a place {place}")


def _opened(trials: Sequence[Trial]) -> dict[int, OpenedRun]:
    """The lineages' folders by number, opened and checked."""
    return {trial.number: OpenedRun.of(trial.config) for trial in trials}


def _run(
    ledger: Ledger, search: Search, trials: list[Trial], runs: dict[int, OpenedRun], book: Book | None = None
) -> None:
    began = time.time()
    console = plain_console(sys.stdout)
    todo = _todo(search, trials, runs)
    if todo or search.n_new:
        for run in {(run.config.judge, run.plan.trait.hash): run for run in runs.values()}.values():
            run.check_endpoint()
            if run.has_no_logprobs:
                console.print(NO_LOGPROBS, soft_wrap=True, markup=False)
        alone_in = [run.store for run in runs.values()]
        with driving(ledger.store, search.configs, search.plan_lines, search.n_at_once, alone_in) as driver:
            _carry_out(ledger, search, trials, todo, driver, book)
    else:
        console.print(f"{ledger.store.uri} is complete: nothing to do.", soft_wrap=True, markup=False)
    _tell_outcome(ledger, search, began)


def _tell_outcome(ledger: Ledger, search: Search, began: float) -> None:
    console = plain_console(sys.stdout)
    swept = read_swept(ledger, search.objective)
    show_lineages(swept, console)
    if any(lineage.records for lineage in swept):
        page = write_sweep_page(ledger, swept) if search.settings else write_family_report(ledger.store.uri)
        console.print(f"report of all {len(swept)} lineages: {page}", soft_wrap=True, markup=False)
    console.print(f"Done in {time.time() - began:.0f} s.")
    open_ones = [lineage for lineage in swept if lineage.status in ("failed", "unfinished")]
    if open_ones:
        names = ", ".join(f"{lineage.name} ({lineage.status})" for lineage in open_ones)
        console.print(f"idem-ray: not done: {names}; {again(log_file(ledger.store))}.", markup=False, soft_wrap=True)
        raise SystemExit(1)


def _todo(search: Search, trials: Sequence[Trial], runs: dict[int, OpenedRun]) -> list[Trial]:
    """The lineages that have something left to do. One whose outcome is settled has not: that is noted, for a command
    without this stop, or one that was killed too early, has not noted it."""
    left = set()
    for number, run in runs.items():
        settled = None if run.is_over else settled_at(run, search.stop)
        if settled:
            run.store.cut_here(*settled)
        elif not run.is_over:
            left.add(number)
    return [trial for trial in trials if trial.number in left]


def _carry_out(
    ledger: Ledger, search: Search, trials: list[Trial], todo: list[Trial], driver: Driver, book: Book | None
) -> None:
    def hours() -> str | None:
        learn_rates(trial.config for trial in ledger.trials())
        return hours_text(search.amount, search.rates) if search.rates else None

    def task() -> None:
        n_done = len(trials) - len(todo)
        not_known = None if search.rates else hours
        teller = Teller(ledger, driver.console, driver.at_work, search.n_total, n_done, not_known)
        locks = Locks()
        try:
            crew = _crew(ledger, search, driver, locks)
            suggestions = Suggestions(todo, search.n_new, _proposals(ledger, search, trials, todo), book)
            _tuner(ledger, search, crew, suggestions, len(todo) + search.n_new, teller).fit()
        finally:
            locks.close()

    driver.carry_out(task, ledger.store.uri.split("/")[-1])
    learn_rates(trial.config for trial in ledger.trials())


def _crew(ledger: Ledger, search: Search, driver: Driver, locks: Locks) -> Crew:
    return Crew(
        uri=ledger.store.uri,
        pools=driver.session.pools,
        finetuner=driver.session.finetuner,
        locks=locks,
        objective=search.objective,
        stop=search.stop,
        command=driver.command,
        folder=str(Path.cwd()),
    )


def _proposals(
    ledger: Ledger, search: Search, trials: Sequence[Trial], todo: Sequence[Trial]
) -> OptunaProposals | None:
    if not (search.settings and search.n_new):
        return None
    left = {trial.number for trial in todo}
    swept = read_swept(ledger, search.objective)
    known = [(trial, None if trial.number in left else swept[trial.number].objective) for trial in trials]
    return OptunaProposals(search.settings, known)


def _tuner(
    ledger: Ledger, search: Search, crew: Crew, suggestions: Suggestions, n_trials: int, teller: Teller
) -> tune.Tuner:
    # Trials work in the folder of the job; their curves go to the trackers, and not to a CSV and a JSON file, too.
    os.environ.update({"RAY_CHDIR_TO_TRIAL_DIR": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"})
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, crew=crew), {"CPU": TRIAL_CPUS}),
        tune_config=tune.TuneConfig(
            search_alg=suggestions,
            num_samples=n_trials,
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

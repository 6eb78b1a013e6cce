"""Lineages side by side on Ray Tune: a sweep's, or the variants of one config. The pools are loaded once for all."""

import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from rich.console import Console

from idem_ray.cluster.locks import Locks
from idem_ray.cluster.places import TRIAL_CPUS
from idem_ray.cluster.session import Session, join_ray, open_session, roles_for
from idem_ray.config.files import SweepConfig
from idem_ray.config.lineage import LineageConfig
from idem_ray.config.objective import Objective, Stop
from idem_ray.config.search import SweepSettings
from idem_ray.config.sections import Rates
from idem_ray.errors import UserError
from idem_ray.judges.language.endpoint import NO_LOGPROBS, EndpointSpec
from idem_ray.lineage.driver import again, check_models, in_background, log_file, only_driver, tell_failure
from idem_ray.lineage.opened import Work
from idem_ray.lineage.plan import Plan
from idem_ray.report.family_page import write_family_report
from idem_ray.report.sweep import show_lineages, write_sweep_page
from idem_ray.report.terminal import Watch, chatter_to, plain_console, waiting
from idem_ray.store.finished import read_swept
from idem_ray.store.sweep import Ledger, Trial
from idem_ray.sweep.draws import values_of
from idem_ray.sweep.forecast import Amount, amount_of, hours_text, known_rates, learn_rates, plan_lines
from idem_ray.sweep.naming import Book
from idem_ray.sweep.suggestions import OptunaProposals, Suggestions
from idem_ray.sweep.teller import Teller
from idem_ray.sweep.trackers import check_trackers, tracker_callbacks
from idem_ray.sweep.trial import Crew, Settled, run_trial, settled_at


@dataclass
class _Search:
    """What is to be run: the lineages that are known, and how further ones come about.

    Attributes:
        plans: of all lineages that are known, or (Optuna) of the ends of the space: what the pools must be able to
            serve.
        settings: of a sweep; None in a family.
        calibrate: finds the n_seed that are still to be calibrated, and gives the lineages.
        n_calibration: cycles that this may take.
        n_new: lineages that Optuna is to propose.
        book: writes them down.
    """

    plans: list[Plan]
    trials: list[Trial]
    settings: SweepSettings | None = None
    calibrate: Callable[[Session, Console, dict[str, str]], list[Trial]] | None = None
    n_calibration: int = 0
    n_new: int = 0
    book: Book | None = None

    @property
    def configs(self) -> list[LineageConfig]:
        return [plan.config for plan in self.plans]

    @property
    def objective(self) -> Objective:
        return self.settings.objective if self.settings else Objective()

    @property
    def stop(self) -> Stop:
        return self.settings.stop if self.settings else Stop()

    @property
    def trackers(self) -> tuple[str, ...]:
        return self.settings.trackers if self.settings else ("tensorboard",)

    @property
    def max_failures(self) -> int:
        return self.settings.max_failures if self.settings else 1

    @property
    def is_optuna(self) -> bool:
        return self.settings is not None and self.settings.algorithm == "optuna"

    @property
    def n_total(self) -> int:
        """Lineages in the end."""
        return self.settings.n_lineages if self.settings and self.is_optuna else len(self.plans)

    @property
    def rates(self) -> Rates | None:
        """Given, or known from what this cluster has done."""
        given = self.settings.rates if self.settings else None
        return given or known_rates(self.configs[0])

    def amount(self) -> Amount:
        """How much there is to do, from the beginning."""
        if not self.is_optuna:
            return amount_of(self.plans)
        # What will be proposed is not known: as if each were the largest of the space.
        largest = max((amount_of([plan]) for plan in self.plans), key=lambda found: found.training_tokens)
        return largest.times(self.n_total)

    def plan(self) -> list[str]:
        """What it takes on this cluster (`capacity.plan_lines`)."""
        n_at_once = min(self.configs[0].cluster.n_lineages, self.n_total)
        roles = roles_for(self.configs, n_at_once)
        lines = plan_lines(self.n_total, n_at_once, roles, self.amount(), self.rates)
        if self.n_calibration:
            lines.append(f"  before that n_seed is calibrated: at most {self.n_calibration} further cycles")
        return lines


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
        works = _opened(trials)
        ledger.write_all(trials)
        _run(ledger, _Search([work.plan for work in works.values()], trials), works)


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
        _tell_plan(_Search(plans, [], settings, n_calibration=Book(sweep, ledger).n_calibration(values)))
        return
    with only_driver([ledger.store]):
        _run_sweep(sweep, ledger, values, plans)


def _run_sweep(sweep: SweepConfig, ledger: Ledger, values: list[dict[str, Any]], plans: list[Plan]) -> None:
    settings = sweep.settings
    ledger.open(sweep.hash, settings.objective)
    book = Book(sweep, ledger)
    search = _Search(plans, [], settings, book=book)
    if settings.algorithm == "optuna":
        values = [trial.values for trial in book.earlier[: settings.n_lineages]]
        search.n_new = settings.n_lineages - len(values)
    wanted = [*values, *(values_of(sweep) if search.n_new else [])]
    if all(map(book.is_known, wanted)):
        search.trials = [book.place(own) for own in values]
    else:

        def calibrate(session: Session, console: Console, at_work: dict[str, str]) -> list[Trial]:
            book.calibrate(wanted, session, console, at_work)
            return [book.place(own) for own in values]

        search.calibrate, search.n_calibration = calibrate, book.n_calibration(wanted)
    _run(ledger, search, _opened(search.trials))


def _tell_plan(search: _Search) -> None:
    with chatter_to(os.devnull) as console:
        for line in search.plan():
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        place = join_ray(roles_for(search.configs, search.configs[0].cluster.n_lineages))
        ray.shutdown()
        console.print(f"all of them find a place {place}")


def _opened(trials: Sequence[Trial]) -> dict[int, Work]:
    """The lineages' folders by number, opened and checked."""
    return {trial.number: Work.of(trial.config) for trial in trials}


def _run(ledger: Ledger, search: _Search, works: dict[int, Work]) -> None:
    began = time.time()
    console = plain_console(sys.stdout)
    todo = _todo(search, works)
    if not todo and not search.n_new and search.calibrate is None:
        console.print(f"{ledger.store.uri} is complete: nothing to do.", soft_wrap=True, markup=False)
    else:
        for work in {(work.config.judge, work.plan.trait.hash): work for work in works.values()}.values():
            work.check_endpoint()
            if isinstance(work.llm_judge, EndpointSpec) and not work.llm_judge.logprobs:
                console.print(NO_LOGPROBS, soft_wrap=True, markup=False)
        log = log_file(ledger.store)
        with only_driver([work.store for work in works.values()]), chatter_to(log) as terminal:
            _at_work(ledger, search, todo, terminal, log)
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


def _todo(search: _Search, works: dict[int, Work]) -> list[Trial]:
    """The lineages that have something left to do. One whose outcome is settled has not: that is noted, for a command
    without this stop, or one that was killed too early, has not noted it."""
    left = set()
    for number, work in works.items():
        settled = None if work.is_over else settled_at(work, search.stop)
        if settled:
            work.store.cut_here(*settled)
        elif not work.is_over:
            left.add(number)
    return [trial for trial in search.trials if trial.number in left]


def _at_work(ledger: Ledger, search: _Search, todo: list[Trial], console: Console, log: str) -> None:
    config = search.configs[0]
    n_at_once = min(config.cluster.n_lineages, search.n_total)
    for line in search.plan():
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print(f"folder {ledger.store.uri}, log {log}", soft_wrap=True, markup=False)
    with waiting(console) as tell, open_session(search.configs, tell, n_at_once) as session:
        console.print(f"models loaded in {session.startup_seconds:.0f} s")
        at_work: dict[str, str] = {}
        watch = Watch(session.pools.board, at_work, console, config.cluster.stall_timeout_seconds)

        def hours() -> str | None:
            learn_rates(trial.config for trial in ledger.trials())
            return hours_text(search.amount(), search.rates) if search.rates else None

        def task() -> None:
            waiting_for = todo
            if search.calibrate:
                search.trials = search.calibrate(session, console, at_work)
                at_work.clear()
                waiting_for = _todo(search, _opened(search.trials))
            n_done = len(search.trials) - len(waiting_for)
            teller = Teller(ledger, console, at_work, search.n_total, n_done, None if search.rates else hours)
            locks = Locks()
            try:
                _tuner(ledger, search, waiting_for, session, teller, locks).fit()
            finally:
                locks.close()

        with watch:
            error = in_background(task, watch, log, console)
        if error:
            tell_failure(error, ledger.store.uri.split("/")[-1], console, log)
        learn_rates(trial.config for trial in ledger.trials())


def _tuner(
    ledger: Ledger, search: _Search, todo: list[Trial], session: Session, teller: Teller, locks: Locks
) -> tune.Tuner:
    # Trials work in the folder of the job; their curves go to the trackers, and not to a CSV and a JSON file, too.
    os.environ.update({"RAY_CHDIR_TO_TRIAL_DIR": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"})
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
    proposals = None
    if search.settings and search.n_new:
        waiting_for = {trial.number for trial in todo}
        swept = read_swept(ledger, search.objective)
        known = [(t, None if t.number in waiting_for else swept[t.number].objective) for t in search.trials]
        proposals = OptunaProposals(search.settings, known)
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, crew=crew), {"CPU": TRIAL_CPUS}),
        tune_config=tune.TuneConfig(
            search_alg=Suggestions(todo, search.n_new, proposals, search.book),
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

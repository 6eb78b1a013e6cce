"""`idem-ray run`: a lineage, or a family of lineages side by side, on a terminal."""

import json
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from rich.console import Console

from idem_ray.anchors import Anchors
from idem_ray.config import LineageConfig
from idem_ray.errors import UserError, told_by
from idem_ray.guards import reason_to_stop
from idem_ray.judges.endpoint import NO_LOGPROBS, EndpointSpec
from idem_ray.judges.local import LocalSpec
from idem_ray.judges.panel import LlmJudgeSpec
from idem_ray.judges.rubric import rubrics_of
from idem_ray.lineage import Lineage
from idem_ray.models import cache_folder, check_model, has_chat_template
from idem_ray.plan import Plan, open_run
from idem_ray.records import BASE_CYCLE, CycleRecord, content_hash
from idem_ray.settings import EndpointJudgeSettings, LocalJudgeSettings
from idem_ray.shared import SharedWork
from idem_ray.show import show_tables, write_report
from idem_ray.store import RunStore, cycle_name
from idem_ray.tables import cycle_table, stage_table
from idem_ray.terminal import Watch, chatter_to, plain_console, waiting

if TYPE_CHECKING:
    from idem_ray.pools.judges import JudgePool


@dataclass
class _Work:
    """One lineage of the command: what it is, and how far it was and is."""

    plan: Plan
    store: RunStore
    done: list[CycleRecord]
    records: list[CycleRecord] = field(default_factory=list)
    error: BaseException | None = None
    llm_judge: LlmJudgeSpec | None = None

    @property
    def config(self) -> LineageConfig:
        return self.plan.config

    @property
    def is_complete(self) -> bool:
        if len(self.done) > self.config.n_cycles:  # with the base model's measurement
            return True
        cycle_0 = next((record for record in self.done if record.cycle == 0), None)
        return any(reason_to_stop(self.config.guards, self.store, record, cycle_0) for record in self.done)


def run_configs(configs: Sequence[LineageConfig]) -> None:
    """Run the lineages of one config on a terminal: check, start, show progress, write the reports.

    Raises:
        UserError: bad input, found before anything long was started; or a stage that stands still.
    """
    local = [config.judge for config in configs if isinstance(config.judge, LocalJudgeSettings)]
    for model in {config.model for config in configs} | {judge.model for judge in local}:
        check_model(model)
    if len({(judge.model, judge.max_tokens) for judge in local}) > 1:
        raise UserError("Variants share the judge pool: judge.model and judge.max_tokens must be the same in all.")
    for judge in local:
        if not has_chat_template(judge.model):
            raise UserError(f"The judge's model {judge.model} has no chat template: an instruct model is needed.")
    if len({(config.model, config.cluster) for config in configs}) > 1:
        raise UserError("The variants of one config share the pools: model and cluster must be the same in all.")
    plans = [Plan.of(config) for config in configs]
    stores = [open_run(plan) for plan in plans]
    works = [
        _Work(plan, store, [record for record in store.records() if record.cycle < plan.config.n_cycles])
        for plan, store in zip(plans, stores, strict=True)
    ]
    began = time.time()
    console = plain_console(sys.stdout)
    if all(work.is_complete for work in works):
        for work in works:
            console.print(f"{work.store.uri} is complete: nothing to do.", soft_wrap=True, markup=False)
            show_tables(work.store, console)
    else:
        for work in works:
            _check_endpoint(work)
        try:
            _run(works)
        finally:  # a family in which one lineage failed has a page of the others
            _write_family(works, console)
    console.print(f"Done in {time.time() - began:.0f} s.")


def _write_family(works: list[_Work], console: Console) -> None:
    if len(works) > 1 and any(work.store.records() for work in works):
        from idem_ray.family_report import write_family_report

        page = write_family_report(RunStore(works[0].config.output).uri)
        console.print(f"report of all {len(works)} lineages: {page}", soft_wrap=True, markup=False)


def _check_endpoint(work: _Work) -> None:
    """Find out now whether the judge answers, and whether it is the one that judged the run so far.

    Raises:
        UserError: it does not, or it is not.
    """
    if isinstance(work.config.judge, EndpointJudgeSettings):
        work.llm_judge = EndpointSpec.checked(work.config.judge, work.plan.trait)
        _check_same_judge(work, work.llm_judge)


def _check_same_judge(work: _Work, spec: LlmJudgeSpec) -> None:
    found, known = spec.describe(), work.store.read_judges()
    if known is None:
        work.store.write_judges(found)
    elif known["trait_judge"] != found["trait_judge"]:
        raise UserError(
            f"{work.store.uri} was judged by {known['trait_judge']}, and the judge is now {found['trait_judge']}: the "
            "scores of one lineage must come from one judge; serve the model as before (the same weights, with or "
            "without log-probabilities), or give the run another name (--set name=...)."
        )


def _prepare(work: _Work, judges: "JudgePool") -> None:
    """Have a lineage's language-model judge ready in every replica.

    Raises:
        UserError: a replica cannot make the judges (it has no key), or another judge has judged the run so far.
    """
    try:
        if isinstance(work.config.judge, LocalJudgeSettings):
            work.llm_judge = LocalSpec(work.config.judge, rubrics_of(work.plan.trait), judges.model_hash())
            _check_same_judge(work, work.llm_judge)
        if work.llm_judge:
            judges.prepare(work.llm_judge)
    except Exception as error:
        raise told_by(error) or error from None


def _run(works: list[_Work]) -> None:
    from idem_ray.session import open_session

    config = works[0].config
    family = RunStore(config.output if len(works) > 1 else config.run_uri)
    log = f"{family.uri}/log.txt" if family.is_local else str(cache_folder() / f"{content_hash(family.uri)}.log.txt")
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for work in works:
            stack.enter_context(_only_driver(work.store))
        console = stack.enter_context(chatter_to(log))
        for work in works:
            console.print(f"idem-ray: {_headline(work.config)}", soft_wrap=True, markup=False)
            if work.done:
                console.print(f"  continuing after {_cycle(work.done[-1])}", markup=False)
        console.print(f"run folder {family.uri}, log {log}", soft_wrap=True, markup=False)
        with waiting(console) as tell:
            session = stack.enter_context(open_session([work.config for work in works], tell))
        console.print(f"models loaded in {session.startup_seconds:.0f} s")
        for work in works:
            _prepare(work, session.pools.judges)
            if isinstance(work.llm_judge, EndpointSpec) and not work.llm_judge.logprobs:
                console.print(NO_LOGPROBS, soft_wrap=True, markup=False)
        anchors = Anchors(session.pools.judges)
        shared = SharedWork(family.uri) if len(works) > 1 else None
        names = {work.config.hash: work.config.name if shared else "" for work in works}
        watch = Watch(session.pools.board, names, console, config.cluster.stall_timeout_seconds)

        def task(work: _Work) -> None:
            lineage = Lineage(work.plan, work.store, session.pools, session.finetuner, shared, work.llm_judge, anchors)
            lineage.run(lambda record: _tell_cycle(console, work, record, titled=bool(shared)))

        try:
            with watch:
                _side_by_side(works, task, config.cluster.n_lineages, lambda: bool(watch.stalled))
        except KeyboardInterrupt:
            console.print("Interrupted: the same command continues from here.")
            raise SystemExit(130) from None
        if watch.stalled:
            waited = f"{config.cluster.stall_timeout_seconds:.0f} s while waiting for {watch.stalled}"
            raise UserError(f"No progress for {waited}; {_again(log)}.")
        for work in works:
            new = [record for record in work.records if record not in work.done]
            if new and work.records:
                if shared:
                    console.print(f"\n{work.config.name}", style="bold", markup=False)
                console.print(stage_table(new, None if shared else session.startup_seconds))
                write_report(work.store)
                console.print(f"report: {work.store.path('report.html')}", soft_wrap=True, markup=False)
        _tell_failures(works, console, log)


def _side_by_side(
    works: list[_Work], task: Callable[[_Work], None], n_at_once: int, is_stalled: Callable[[], bool]
) -> None:
    """Work on `n_at_once` lineages at a time until all are through or nothing moves any more; an error ends its own
    lineage alone, and is kept in it."""
    todo = list(works)
    lock = threading.Lock()

    def worker() -> None:
        while True:
            with lock:
                if not todo:
                    return
                work = todo.pop(0)
            try:
                task(work)
            except Exception as error:
                traceback.print_exc()  # into the log
                work.error = error

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(min(n_at_once, len(works)))]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads) and not is_stalled():  # a join would not hear Ctrl-C
            time.sleep(0.1)
    finally:
        with lock:  # whoever is still at it must not begin another one while the session is taken down
            todo.clear()


def _tell_cycle(console: Console, work: _Work, record: CycleRecord, titled: bool) -> None:
    work.records.append(record)
    if record in work.done:
        return
    if titled:
        made = "" if record.lineage == work.config.hash else f" ({_cycle(record)} is shared)"
        console.print(f"\n{work.config.name}{made}", style="bold", markup=False)
    console.print(cycle_table(work.records))
    for warning in record.warnings:
        console.print(f"warning: {_cycle(record)}: {warning}", markup=False)
    if record.stopped:
        console.print(f"stopped after {_cycle(record)}: {record.stopped}", markup=False)


def _tell_failures(works: list[_Work], console: Console, log: str) -> None:
    """
    Raises:
        UserError: a lineage could not go on, and it is known what to do about it.
        SystemExit: for any other reason.
    """
    failed = [work for work in works if work.error]
    for work in failed:
        told = told_by(work.error) if work.error else None
        if told and work is failed[-1]:
            raise told from None
        last = str(told or work.error).strip().splitlines() or [type(work.error).__name__]
        console.print(f"idem-ray: {work.config.name} failed ({last[-1]}); {_again(log)}.", markup=False, soft_wrap=True)
    if failed:
        raise SystemExit(1)


def _again(log: str) -> str:
    return f"nothing committed is lost: see {log}, then run the same command again"


@contextmanager
def _only_driver(store: RunStore) -> Iterator[None]:
    """Two drivers on one run would train and commit the same cycles against each other."""
    lock = FileLock(f"{cache_folder()}/locks/{content_hash(store.uri)}.lock", timeout=0)
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"Another process is at work on {store.uri}: wait for it, or end it first.") from None
    try:
        yield
    finally:
        lock.release()


def _headline(config: LineageConfig) -> str:
    settings = json.loads(config.regime.model_dump_json())
    regime = settings.pop("type")
    rest = ", ".join(f"{key} {value}" for key, value in settings.items() if value != [])
    return (
        f"{config.name}: trait {config.trait}, model {config.model}, {regime} ({rest}), {config.n_cycles} cycles, "
        f"n_seed {config.n_seed}, n_sampled {config.n_sampled}"
    )


def _cycle(record: CycleRecord) -> str:
    return "the base model" if record.cycle == BASE_CYCLE else cycle_name(record.cycle).replace("-", " ")

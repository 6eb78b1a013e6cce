"""`idem-ray run`: one lineage on a terminal."""

import json
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from idem_ray.anchors import Anchors
from idem_ray.config import LineageConfig
from idem_ray.errors import UserError, told_by
from idem_ray.folder import Folder
from idem_ray.judges.endpoint import NO_LOGPROBS, EndpointSpec
from idem_ray.lineage import Lineage
from idem_ray.models import cache_folder, check_model, has_chat_template
from idem_ray.records import CycleRecord, content_hash
from idem_ray.settings import LocalJudgeSettings
from idem_ray.show import show_tables, write_report
from idem_ray.tables import cycle_table, cycle_text, stage_table
from idem_ray.terminal import Watch, chatter_to, plain_console, waiting
from idem_ray.work import Work


def run_lineage(config: LineageConfig) -> None:
    """Run or continue a lineage on a terminal: check, start, show progress, write the report.

    Raises:
        UserError: bad input, found before anything long was started; or a stage that stands still.
    """
    check_models([config])
    work = Work.of(config)
    began = time.time()
    console = plain_console(sys.stdout)
    if work.is_complete:
        console.print(f"{work.store.uri} is complete: nothing to do.", soft_wrap=True, markup=False)
        show_tables(work.store, console)
    else:
        work.check_endpoint()
        _run(work)
    console.print(f"Done in {time.time() - began:.0f} s.")


def check_models(configs: Sequence[LineageConfig]) -> None:
    """Find out now whether the models can be had, and whether these lineages can share a judge pool.

    Raises:
        UserError: one cannot.
    """
    local = [config.judge for config in configs if isinstance(config.judge, LocalJudgeSettings)]
    for model in {config.model for config in configs} | {judge.model for judge in local}:
        check_model(model)
    if len({(judge.model, judge.max_tokens) for judge in local}) > 1:
        raise UserError("Variants share the judge pool: judge.model and judge.max_tokens must be the same in all.")
    for judge in local:
        if not has_chat_template(judge.model):
            raise UserError(f"The judge's model {judge.model} has no chat template: an instruct model is needed.")


def _run(work: Work) -> None:
    from idem_ray.session import open_session

    config, log = work.config, log_file(work.store)
    records: list[CycleRecord] = []
    with only_driver([work.store]), chatter_to(log) as console:
        console.print(f"idem-ray: {headline(config)}", soft_wrap=True, markup=False)
        if work.done:
            console.print(f"  continuing after {cycle_text(work.done[-1].cycle)}", markup=False)
        console.print(f"run folder {work.store.uri}, log {log}", soft_wrap=True, markup=False)
        with waiting(console) as tell, open_session([config], tell) as session:
            console.print(f"models loaded in {session.startup_seconds:.0f} s")
            work.prepare(session.pools.judges)
            if isinstance(work.llm_judge, EndpointSpec) and not work.llm_judge.logprobs:
                console.print(NO_LOGPROBS, soft_wrap=True, markup=False)
            anchors = Anchors(session.pools.judges)
            lineage = Lineage(work.plan, work.store, session.pools, session.finetuner, None, work.llm_judge, anchors)

            def task() -> None:
                for record in lineage.cycles():
                    records.append(record)
                    if record not in work.done:
                        _tell_cycle(console, records)

            stall_timeout = config.cluster.stall_timeout_seconds
            with Watch(session.pools.board, {config.hash: ""}, console, stall_timeout) as watch:
                error = in_background(task, watch, log, console)
            if error:
                tell_failure(error, config.name, console, log)
            new = [record for record in records if record not in work.done]
            if new:
                console.print(stage_table(new, session.startup_seconds))
                write_report(work.store)
                console.print(f"report: {work.store.path('report.html')}", soft_wrap=True, markup=False)


def in_background(task: Callable[[], None], watch: Watch, log: str, console: Console) -> Exception | None:
    """Do a command's work in a thread, so that Ctrl-C and a standstill are heard.

    Returns:
        what the task ended with, if it failed.

    Raises:
        UserError: nothing has moved for too long.
        SystemExit: Ctrl-C.
    """
    failed: list[Exception] = []

    def work() -> None:
        try:
            task()
        except Exception as error:
            traceback.print_exc()  # into the log
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while thread.is_alive() and not watch.stalled:  # a join would not hear Ctrl-C
            time.sleep(0.1)
    except KeyboardInterrupt:
        console.print("Interrupted: the same command continues from here.")
        raise SystemExit(130) from None
    if watch.stalled:
        waited = f"{watch.stall_timeout_seconds:.0f} s while waiting for {watch.stalled}"
        raise UserError(f"No progress for {waited}; {again(log)}.")
    return failed[0] if failed else None


def _tell_cycle(console: Console, records: list[CycleRecord]) -> None:
    record = records[-1]
    console.print(cycle_table(records))
    for warning in record.warnings:
        console.print(f"warning: {cycle_text(record.cycle)}: {warning}", markup=False)
    if record.stopped:
        console.print(f"stopped after {cycle_text(record.cycle)}: {record.stopped}", markup=False)


def tell_failure(error: Exception, name: str, console: Console, log: str) -> None:
    """End a command that failed.

    Raises:
        UserError: it is known what to do about it.
        SystemExit: it is not.
    """
    told = told_by(error)
    if told:
        raise told from None
    last = str(error).strip().splitlines() or [type(error).__name__]
    console.print(f"idem-ray: {name} failed ({last[-1]}); {again(log)}.", markup=False, soft_wrap=True)
    raise SystemExit(1)


def again(log: str) -> str:
    """What is said after anything that failed."""
    return f"nothing committed is lost: see {log}, then run the same command again"


def log_file(folder: Folder) -> str:
    """Where Ray's and vLLM's chatter goes: into the folder, or where that is an object store, beside the caches."""
    log = Path(f"{folder.uri}/log.txt") if folder.is_local else cache_folder() / f"{content_hash(folder.uri)}.log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    return str(log)


@contextmanager
def only_driver(folders: Sequence[Folder]) -> Iterator[None]:
    """Two drivers on one run would train and commit the same cycles against each other.

    Raises:
        UserError: another process of this machine is at work on one of the folders.
    """
    locks = [FileLock(f"{cache_folder()}/locks/{content_hash(folder.uri)}.lock", timeout=0) for folder in folders]
    try:
        for lock, folder in zip(locks, folders, strict=True):
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                raise UserError(f"Another process is at work on {folder.uri}: wait for it, or end it first.") from None
        yield
    finally:
        for lock in locks:
            lock.release()


def headline(config: LineageConfig) -> str:
    """A lineage in one line."""
    settings = json.loads(config.regime.model_dump_json())
    regime = settings.pop("type")
    rest = ", ".join(f"{key} {value}" for key, value in settings.items() if value != [])
    return (
        f"{config.name}: trait {config.trait}, model {config.model}, {regime} ({rest}), {config.n_cycles} cycles, "
        f"n_seed {config.n_seed}, n_sampled {config.n_sampled}"
    )

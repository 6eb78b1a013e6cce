"""What every command that drives work on a terminal does: check models, be alone, hear Ctrl-C, end in a sentence."""

import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from idem_ray.cluster.session import Session, open_session
from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import LocalJudgeSettings
from idem_ray.errors import UserError, told_by
from idem_ray.folder import Folder
from idem_ray.models import cache_folder, check_model, has_chat_template
from idem_ray.records import content_hash
from idem_ray.report.terminal import Watch, chatter_to, waiting


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


@dataclass(frozen=True)
class Driver:
    """A command at work: its session, its terminal, and what is being worked on (lineage hash -> what it is called; ""
    where there is only one)."""

    session: Session
    console: Console
    log: str
    stall_timeout_seconds: float
    at_work: dict[str, str] = field(default_factory=dict)
    command: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    """Name of this run of the command: what is made once by each command is kept under it (`SharedWork.once`)."""

    def carry_out(self, task: Callable[[], None], name: str) -> None:
        """Do a part of the command's work with its progress shown; Ctrl-C and a standstill are heard.

        Args:
            name: what failed, if something does.

        Raises:
            UserError: it is known what to do about a failure, or nothing has moved for too long.
            SystemExit: it is not known, or Ctrl-C.
        """
        with Watch(self.session.pools.board, self.at_work, self.console, self.stall_timeout_seconds) as watch:
            error = in_background(task, watch, self.log, self.console)
        if error:
            tell_failure(error, name, self.console, self.log)


@contextmanager
def driving(
    folder: Folder,
    configs: Sequence[LineageConfig],
    told: Callable[[], Sequence[str]] = tuple,
    n_lineages: int = 0,
    alone_in: Sequence[Folder] = (),
) -> Iterator[Driver]:
    """Start what a command on a terminal needs, and take it down at the end: Ray and the pools, with their chatter in
    the folder's log.

    Args:
        folder: that the command works in.
        configs: of the lineages that share the session.
        told: gives the lines to begin with.
        n_lineages: that work at a time, each in a process of its own, as in a sweep.
        alone_in: folders in which no other process may be at work.

    Raises:
        UserError: another process is, or Ray or a role could not be started.
    """
    log = log_file(folder)
    with only_driver(alone_in), chatter_to(log) as console:
        for line in [*told(), f"folder {folder.uri}, log {log}"]:
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        with waiting(console) as tell, open_session(configs, tell, n_lineages) as session:
            console.print(f"models loaded in {session.startup_seconds:.0f} s")
            yield Driver(session, console, log, configs[0].cluster.stall_timeout_seconds)

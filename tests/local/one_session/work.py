"""Lineages at work in a session of the test's own."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from idem_ray.cluster.session import Session
from idem_ray.config.lineage import LineageConfig
from idem_ray.lineage.opened import OpenedRun
from idem_ray.lineage.shared import SharedWork
from idem_ray.store.run import RunStore


def run(config: LineageConfig, session: Session, shared: SharedWork | None = None) -> RunStore:
    """Make a lineage, or what is left of it."""
    opened = OpenedRun.of(config)
    for _ in opened.at_work(session.pools, session.finetuner, shared).cycles():
        pass
    return opened.store


@contextmanager
def at_work(config: LineageConfig, session: Session) -> Iterator["Future[RunStore]"]:
    """A lineage at work in a thread, that is waited for at the end of the block."""
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(run, config, session)
        yield working
        working.result(timeout=300)


def wait_for(condition: Callable[[], object], working: "Future[RunStore]", seconds: float = 200) -> None:
    """Wait for something that a lineage at work is to reach, looking often: the tiny model is quick."""
    deadline = time.time() + seconds
    while not condition():
        assert not working.done(), f"it ended before: {working.exception()}"
        assert time.time() < deadline, "nothing happened in time"
        time.sleep(0.01)


class LineageProcess:
    """An actor that is a lineage's process, as a sweep's trials are: it may die while the pools go on."""

    def pid(self) -> int:
        return os.getpid()

    def run(self, config: LineageConfig, session: Session) -> None:
        run(config, session)

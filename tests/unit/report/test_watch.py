"""A run in which nothing moves any more is noticed, and its lineages are not waited for."""

import io
import threading
import time
from typing import cast

import pytest
from rich.console import Console

from idem_ray.errors import UserError
from idem_ray.lineage.driver import in_background
from idem_ray.pools.progress import ProgressBoard, StageProgress
from idem_ray.report.terminal import Watch


class Board:
    """A progress board whose one stage has stood still since the epoch."""

    def progress(self, lineage: str) -> tuple[list[StageProgress], float]:
        return [StageProgress(2, "train", "generation", 3, 8)], 0.0


def test_a_stage_that_stands_still_is_named_and_ends_the_wait() -> None:
    out = io.StringIO()
    watch = Watch(cast(ProgressBoard, Board()), {"l": "mine"}, Console(file=out), stall_timeout_seconds=0.2)
    for_ever = threading.Event()
    began = time.time()

    def task() -> None:
        for_ever.wait(20)

    said = "No progress for 0 s while waiting for mine, cycle 2: training data"
    with watch, pytest.raises(UserError, match=said):
        in_background(task, watch, "log.txt", Console(file=out))
    assert time.time() - began < 5
    assert watch.stalled == "mine, cycle 2: training data, generation"
    for_ever.set()


def test_an_error_is_given_back() -> None:
    def fail() -> None:
        raise ValueError("no")

    console = Console(file=io.StringIO())
    with Watch(cast(ProgressBoard, Board()), {}, console, stall_timeout_seconds=60) as watch:
        assert str(in_background(fail, watch, "log.txt", console)) == "no"
        assert in_background(lambda: None, watch, "log.txt", console) is None

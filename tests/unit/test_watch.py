"""A run in which nothing moves any more is noticed, and its lineages are not waited for."""

import io
import threading
import time
from typing import Any

from rich.console import Console

from idem_ray.progress import StageProgress
from idem_ray.run import _side_by_side
from idem_ray.terminal import Watch


class Board:
    """A progress board whose one stage has stood still since the epoch."""

    def progress(self, lineage: str) -> tuple[list[StageProgress], float]:
        return [StageProgress(2, "train", "generation", 3, 8)], 0.0


def test_a_stage_that_stands_still_is_named_and_ends_the_wait() -> None:
    out = io.StringIO()
    watch = Watch(Board(), {"l": "mine"}, Console(file=out), stall_timeout_seconds=0.2)  # type: ignore[arg-type]
    for_ever = threading.Event()
    began = time.time()
    with watch:
        _side_by_side([object()], lambda work: for_ever.wait(20), 1, lambda: bool(watch.stalled))  # type: ignore[list-item,func-returns-value,arg-type]
    assert time.time() - began < 5
    assert watch.stalled == "mine, cycle 2: training data, generation"
    for_ever.set()


def test_one_lineages_error_leaves_the_others_alone() -> None:
    class Work:
        def __init__(self, name: str) -> None:
            self.name = name
            self.error: BaseException | None = None
            self.done = False

    def task(work: Any) -> None:
        if work.name == "bad":
            raise ValueError("no")
        work.done = True

    works = [Work("bad"), Work("good"), Work("fine")]
    _side_by_side(works, task, 2, lambda: False)  # type: ignore[arg-type]
    assert [work.done for work in works] == [False, True, True]
    assert str(works[0].error) == "no"

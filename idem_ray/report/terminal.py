"""What a person sees while a run works: progress bars on a terminal, lines in a log; everything else in a file."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.spinner import Spinner

from idem_ray.records import BASE_CYCLE

if TYPE_CHECKING:
    from idem_ray.pools.progress import ProgressBoard, StageProgress

_LINE_SECONDS = 10.0
_PURPOSES = {
    "train": "training data",
    "evaluate": "evaluation",
    "contrast": "probe data",
    "rejected": "rejected side",
}


@contextmanager
def chatter_to(path: str) -> Iterator[Console]:
    """Send all that libraries print (in this process, and from Ray's workers) to a file, and yield a console on the
    real terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    terminal: IO[str] = os.fdopen(os.dup(saved[0]), "w", encoding="utf-8", buffering=1)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        yield plain_console(terminal)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        terminal.close()
        for descriptor in (*saved, log):
            os.close(descriptor)


def plain_console(file: IO[str]) -> Console:
    """A console as wide as the terminal, or wide enough for our tables where there is none (a log, a pipe)."""
    return Console(file=file, width=None if file.isatty() else 110)


@contextmanager
def waiting(console: Console) -> Iterator[Callable[[str], None]]:
    """A spinner with a changing text; nothing at all where there is no terminal."""
    spinner = Spinner("dots")
    if not console.is_terminal:
        yield lambda text: None
        return
    with Live(spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False):
        yield lambda text: spinner.update(text=text)


def stage_name(stage: "StageProgress", lineage: str = "") -> str:
    """A stage in words: 'cycle 2: evaluate, judging', after the lineage's name where there are several."""
    if lineage:
        return f"{lineage}, {stage_name(stage)}"
    cycle = "base model" if stage.cycle == BASE_CYCLE else f"cycle {stage.cycle}"
    purpose = _PURPOSES.get(stage.purpose, stage.purpose)
    return f"{cycle}: {stage.stage}" if stage.stage == "training" else f"{cycle}: {purpose}, {stage.stage}"


class Watch:
    """Shows the stages of lineages while they work, and notices when nothing has moved for too long."""

    def __init__(
        self, board: "ProgressBoard", lineages: dict[str, str], console: Console, stall_timeout_seconds: float
    ) -> None:
        """
        Args:
            lineages: what each lineage at work (by its hash) is called; empty where there is only one. It may change.
            stall_timeout_seconds: after so long without progress `stalled` says what was being waited for.
        """
        self._board, self._lineages, self._console = board, lineages, console
        self.stall_timeout_seconds = stall_timeout_seconds
        self.stalled: str | None = None
        self._bars: dict[tuple[str, int, str, str], TaskID] = {}
        self._told: dict[tuple[str, int, str, str], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._progress = Progress(
            TextColumn("{task.description:<36}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,  # else rich would show, above its bars, the chatter that goes to the log
            redirect_stderr=False,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "Watch":
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        self._progress.stop()

    def _follow(self) -> None:
        moved_at = time.time()
        stages: dict[str, list[StageProgress]] = {}
        while not self._stop.wait(0.5):
            # The display must never end a run: the next look may succeed, and if none does the timeout still counts.
            with contextlib.suppress(Exception):
                stages = {lineage: found for lineage, found in stages.items() if lineage in self._lineages}
                for lineage in list(self._lineages):
                    stages[lineage], changed_at = self._board.progress(lineage)
                    moved_at = max(moved_at, changed_at)
            if time.time() - moved_at > self.stall_timeout_seconds:
                named = [
                    (self._lineages.get(lineage, lineage), stage)
                    for lineage, found in stages.items()
                    for stage in found
                ]
                open_stages = [stage_name(stage, name) for name, stage in named if stage.n_done < stage.n_total]
                self.stalled = ", ".join(open_stages) or "the next stage"
                return
            for lineage, found in stages.items():
                current = max((stage.cycle for stage in found), default=BASE_CYCLE)
                for stage in found:
                    self._show(self._lineages.get(lineage, lineage), stage, stage.cycle == current)

    def _show(self, lineage: str, stage: "StageProgress", is_current: bool) -> None:
        key = (lineage, stage.cycle, stage.purpose, stage.stage)
        name = stage_name(stage, lineage)
        done = stage.n_done >= stage.n_total
        if not self._console.is_terminal:
            due = time.time() - self._told.get(key, 0.0) > _LINE_SECONDS
            if self._told.get(key) != float("inf") and (done or (due and stage.n_done)):
                self._console.print(f"{name}: {stage.n_done}/{stage.n_total}", highlight=False)
                self._told[key] = float("inf") if done else time.time()
            return
        if is_current and not done:
            if key not in self._bars:
                self._bars[key] = self._progress.add_task(name, total=stage.n_total)
            self._progress.update(self._bars[key], completed=stage.n_done, total=stage.n_total)
        elif key in self._bars:
            self._progress.remove_task(self._bars.pop(key))

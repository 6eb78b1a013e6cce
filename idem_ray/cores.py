"""The processor cores of a machine without GPUs, divided among the roles that are at work right now.

A role that works alone takes every core; with others at work each takes its part. Fixed numbers of threads waste a
small machine either way: threads of more roles than cores, spinning while they wait for each other, made training up to
ten times slower, and threads that sleep instead cost a role that works alone a third of its speed (two cores, 135M
model: training 210 tokens/s with two spinning threads, 135 with two sleeping ones, 130 with one).
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Cores:
    """Cores that the roles of one session share. `group` names the session; every node keeps its own count."""

    group: str
    n_cores: int

    @property
    def folder(self) -> Path:
        """Where this node counts the roles at work; the session that made the group removes it."""
        return Path(tempfile.gettempdir()) / f"idem-ray-cores-{self.group}"


class CoreShare:
    """One role's part in the cores. A role at work has a marker file in its node's folder of the group.

    The number of threads belongs to the thread that sets it (OpenMP), so use one from the thread that computes. Make it
    before vLLM is imported, which takes `torch.set_num_threads` out of use.
    """

    def __init__(self, cores: Cores) -> None:
        import torch

        self._cores = cores
        self._set_threads = torch.set_num_threads
        self._folder = cores.folder
        self._folder.mkdir(mode=0o700, exist_ok=True)
        # A process may hold several shares: a judge replica with an engine of its own has two.
        self._marker = self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._n_threads = 0

    def begin(self) -> None:
        """From now on this role is at work."""
        self._marker.touch()
        self.adjust()

    def end(self) -> None:
        """From now on it waits, and the others may have its cores."""
        self._marker.unlink(missing_ok=True)

    def adjust(self) -> None:
        """Take as many threads as there are cores for each role at work; call it between two pieces of work."""
        n_threads = max(1, self._cores.n_cores // max(1, self._n_at_work()))
        if n_threads != self._n_threads:
            self._set_threads(n_threads)
            self._n_threads = n_threads

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """`begin` and `end` around a piece of work."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def _n_at_work(self) -> int:
        n_roles = 0
        for name in os.listdir(self._folder):
            if psutil.pid_exists(int(name.partition("-")[0])):
                n_roles += 1
            else:  # it was killed in the middle of its work
                with suppress(FileNotFoundError):
                    (self._folder / name).unlink()
        return n_roles

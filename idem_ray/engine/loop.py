"""Many callers, one engine: continuous batching by checkpoint. No Ray in here."""

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from idem_ray.cores import CoreShare
from idem_ray.engine.engine import Completion, Engine, GenerationRequest
from idem_ray.records import BASE


class EngineFailed(RuntimeError):
    """A broken engine does not mend itself; a new process may."""


@dataclass
class _Waiting:
    request: GenerationRequest
    future: "Future[Completion]"
    since: float = field(default_factory=time.monotonic)


class EngineLoop:
    """Drives an engine in a thread of its own. With `merged` serving, requests of one checkpoint run together and the
    weights are swapped when they are through, or when another checkpoint's request has waited for `patience_seconds`.
    """

    def __init__(self, engine: Engine, share: CoreShare | None = None, patience_seconds: float = 20.0) -> None:
        """
        Args:
            share: the engine's part in the cores of a machine without GPUs.
        """
        self._engine = engine
        self._share = share
        self._patience = patience_seconds
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._folders: dict[str, Path | None] = {BASE: None}
        self._running: dict[str, Future[Completion]] = {}
        self._current = BASE
        self._failure: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="engine-loop", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, adapter_folder: Path | None) -> "Future[Completion]":
        """Queue a request; the future brings its completion.

        Raises:
            EngineFailed: the engine has failed before, or the loop is closed.
        """
        with self._changed:
            if self._failure or self._closed:
                raise EngineFailed(f"the engine has stopped: {self._failure or 'closed'}")
            future: Future[Completion] = Future()
            self._folders[request.checkpoint] = adapter_folder
            self._waiting.setdefault(request.checkpoint, deque()).append(_Waiting(request, future))
            self._changed.notify()
            return future

    @property
    def n_outstanding(self) -> int:
        """Requests that wait or run."""
        with self._changed:
            return len(self._running) + sum(len(queue) for queue in self._waiting.values())

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=30)

    def _serve(self) -> None:
        try:
            while self._admit():  # False: closed
                if self._share:
                    self._share.adjust()
                for completion in self._engine.step():
                    with self._changed:
                        future = self._running.pop(completion.id)
                    future.set_result(completion)
            self._fail(EngineFailed("it was closed"))
        except BaseException as error:  # whatever ends the engine must reach the callers, or they wait for ever
            self._fail(error)

    def _admit(self) -> bool:
        """Hand waiting requests to the engine, sleeping until there is something to do; False when closed."""
        with self._changed:
            idle = not self._running and not any(self._waiting.values())
            if idle and self._share:
                self._share.end()
            while not self._closed and not self._running and not any(self._waiting.values()):
                self._changed.wait()
            if idle and self._share:
                self._share.begin()
            if self._closed:
                return False
            chosen = self._choose()
        for checkpoint in chosen:
            self._engine.load(checkpoint, self._folders[checkpoint])
            self._current = checkpoint
            with self._changed:
                queue = self._waiting.pop(checkpoint, deque())
                self._running.update((waiting.request.id, waiting.future) for waiting in queue)
            for waiting in queue:
                self._engine.add(waiting.request)
        return True

    def _choose(self) -> list[str]:
        """Checkpoints whose waiting requests may start now."""
        since = {checkpoint: queue[0].since for checkpoint, queue in self._waiting.items() if queue}
        if not since or self._engine.serving == "lora":
            return sorted(since, key=since.__getitem__)
        others = {checkpoint: start for checkpoint, start in since.items() if checkpoint != self._current}
        starved = any(time.monotonic() - start > self._patience for start in others.values())
        if self._current in since and not starved:
            return [self._current]
        if self._running:
            return []  # let the current checkpoint's requests end before the swap
        return [min(others or since, key=since.__getitem__)]

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = error
            futures = list(self._running.values())
            futures += [waiting.future for queue in self._waiting.values() for waiting in queue]
            self._running.clear()
            self._waiting.clear()
        for future in futures:
            future.set_exception(EngineFailed(f"the engine failed: {type(error).__name__}: {error}"))

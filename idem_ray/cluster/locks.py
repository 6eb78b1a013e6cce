"""Locks between the processes of a cluster: leases that a small actor keeps."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from idem_ray.pools.progress import beside_driver

_LEASE_SECONDS = 30.0
"""A holder that has not been heard of for so long is dead, and its lock another's."""


_RENEWAL_SECONDS = 5.0


_POLL_SECONDS = 0.2


class _LockKeeper:
    """Who holds which lock, and until when."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, float]] = {}

    def take(self, key: str, holder: str) -> bool:
        """Take a lock or renew it; False when another holds it."""
        other, until = self._held.get(key, (holder, 0.0))
        if other != holder and time.monotonic() < until:
            return False
        self._held[key] = (holder, time.monotonic() + _LEASE_SECONDS)
        return True

    def give_back(self, key: str, holder: str) -> None:
        if self._held.get(key, ("", 0.0))[0] == holder:
            del self._held[key]


class Locks:
    """Locks between the processes of a cluster. Cheap to copy. A holder that dies loses its locks after 30 s: no file
    lock works between machines, and Ray has none of its own."""

    def __init__(self) -> None:
        self._keeper = ray.remote(_LockKeeper).options(**beside_driver()).remote()

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Hold the lock of this key; wait for it where another does."""
        holder = uuid.uuid4().hex
        # Asked again and again, and not waited for in the actor: a waiter that dies leaves nothing behind there.
        while not ray.get(self._keeper.take.remote(key, holder)):
            time.sleep(_POLL_SECONDS)
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(_RENEWAL_SECONDS):
                self._keeper.take.remote(key, holder)

        renewal = threading.Thread(target=renew, daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()  # a renewal after the lock was given back would take it again
            self._keeper.give_back.remote(key, holder)

    def close(self) -> None:
        ray.kill(self._keeper)

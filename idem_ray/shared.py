"""What the lineages of a sweep make once and use together: equal cycles, and the base model's rejected responses."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import ray

from idem_ray.progress import beside_driver
from idem_ray.records import BASE_CYCLE, Sample, content_hash
from idem_ray.store import RunStore

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


class SharedWork:
    """The register of a sweep or family, in `<folder>/shared/`. Its lineages work in processes of their own."""

    def __init__(self, family_uri: str, locks: Locks | None = None, command: str = "") -> None:
        """
        Args:
            locks: None where only one lineage works at a time.
            command: what is made once by each command (`once`) is kept under this name.
        """
        self._family, self._locks, self._command = family_uri, locks, command
        self._store = RunStore(f"{family_uri}/shared")

    def alone(self, *key: object) -> AbstractContextManager[None]:
        """Let only one lineage at a time do the work of this key; the others then find it done."""
        return self._locks.alone(content_hash(*key)) if self._locks else nullcontext()

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` returns (JSON), asked for once by all lineages of a command."""
        name = f"once/{self._command}-{content_hash(key)}.json"
        with self.alone("once", key):
            found = self._store.read_json(name)
            if found is None:
                found = make()
                self._store.write_json(name, found)
            return found

    def maker(self, history: str, cycle: int) -> str | None:
        """The URI of the run that has committed this cycle, None when there is none."""
        known = self._store.read_json(self._name(history, cycle))
        if known is None:
            return None
        name = str(known["run"])
        run = RunStore(name if "/" in name else f"{self._family}/{name}")
        # It may have been deleted since, or made anew from something else.
        return run.uri if run.identity() == known["identity"] and run.record(cycle) else None

    def register(self, history: str, cycle: int, run: str) -> None:
        """Tell the others who has committed a cycle, or is about to.

        Args:
            run: name of a run in the family's folder, or the URI of any other.
        """
        identity = RunStore(run if "/" in run else f"{self._family}/{run}").identity()
        self._store.write_json(self._name(history, cycle), {"run": run, "cycle": cycle, "identity": identity})

    def rejected(self, cycle: int) -> list[Sample]:
        """Rejected responses of the base model that lineages have put in, in whatever cycle they asked for them, as
        samples of this cycle."""
        return [sample.replace(cycle=cycle) for sample in self._store.read_samples(BASE_CYCLE)]

    def add_rejected(self, samples: list[Sample]) -> None:
        """Put in rejected responses of the base model; one lineage at a time."""
        self._store.write_samples(BASE_CYCLE, samples)
        self._store.compact_samples(BASE_CYCLE)

    def _name(self, history: str, cycle: int) -> str:
        return f"cycles/{content_hash(history, cycle)}.json"

"""What the lineages of a family make once and use together: equal cycles, and the base model's rejected responses."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from idem_ray.config import SHARED_FOLDER
from idem_ray.records import Sample, content_hash
from idem_ray.store import RunStore


class SharedWork:
    """The family's register, in `<family>/shared/`. Its lineages work in threads of one process."""

    def __init__(self, family_uri: str) -> None:
        self._family = family_uri
        self._store = RunStore(f"{family_uri}/{SHARED_FOLDER}")
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    @contextmanager
    def alone(self, *key: object) -> Iterator[None]:
        """Let only one lineage at a time do the work of this key; the others then find it done."""
        with self._lock:
            lock = self._locks[content_hash(*key)]
        with lock:
            yield

    def maker(self, history: str, cycle: int) -> str | None:
        """The URI of the run that has committed this cycle, None when there is none."""
        known = self._store.read_json(self._name(history, cycle))
        if known is None:
            return None
        run = RunStore(f"{self._family}/{known['run']}")
        # It may have been deleted since, or made anew from something else.
        return run.uri if run.identity() == known["identity"] and run.record(cycle) else None

    def register(self, history: str, cycle: int, run_name: str) -> None:
        """Tell the others who has committed a cycle, or is about to."""
        identity = RunStore(f"{self._family}/{run_name}").identity()
        self._store.write_json(self._name(history, cycle), {"run": run_name, "cycle": cycle, "identity": identity})

    def samples(self, cycle: int) -> list[Sample]:
        """Rejected responses of the base model that a lineage has put in."""
        return self._store.read_samples(cycle)

    def add_samples(self, cycle: int, samples: list[Sample]) -> None:
        """Put in rejected responses of the base model."""
        self._store.write_samples(cycle, samples)

    def _name(self, history: str, cycle: int) -> str:
        return f"cycles/{content_hash(history, cycle)}.json"

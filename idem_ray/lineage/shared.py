"""What the lineages of a sweep make once and use together: equal cycles, and the base model's rejected responses."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from idem_ray.cluster.locks import Locks
from idem_ray.records import BASE_CYCLE, Sample, content_hash
from idem_ray.store.run import RunStore


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

"""What one lineage works with: its plan and folder, the pools, and what it shares with others."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from idem_ray.cluster.session import Pools
from idem_ray.config.lineage import LineageConfig
from idem_ray.judges.panel import JudgeSpec
from idem_ray.lineage.pipeline import Sampling, sample_stream, samples_of
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.shared import SharedWork
from idem_ray.pools.trainers import Finetuner
from idem_ray.records import Sample
from idem_ray.store.run import RunStore


@dataclass(frozen=True)
class Workplace:
    """All that a lineage's steps are given. `shared`: of the sweep or family that it belongs to, None where it is
    alone."""

    plan: Plan
    store: RunStore
    pools: Pools
    finetuner: Finetuner
    shared: SharedWork | None = None

    @property
    def config(self) -> LineageConfig:
        """The lineage's settings."""
        return self.plan.config

    def samples(self, requests: list[Sample], sampling: Sampling, judges: JudgeSpec | None) -> list[Sample]:
        """The requests' samples, generated where they are not persisted yet; without judges not judged."""
        return list(samples_of(sample_stream(requests, sampling, self.store, self.pools, judges)))

    def alone(self, *key: object) -> AbstractContextManager[None]:
        """Let only one of the lineages that share work do the work of this key; the others then find it done."""
        return self.shared.alone(*key) if self.shared else nullcontext()

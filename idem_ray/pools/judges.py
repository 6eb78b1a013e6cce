"""The judge pool: Ray actors that hold the judges' models, or ask an endpoint."""

import os
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import ray

from idem_ray.cores import Cores, CoreShare
from idem_ray.engine.loop import EngineFailed
from idem_ray.errors import UserError
from idem_ray.judges.embedded.probe import Probe
from idem_ray.judges.embedded.probe_fit import ProbeExamples, fit_probe
from idem_ray.judges.embedded.reader import Reader, embedded_reader
from idem_ray.judges.language.local import JudgeEngineSpec, LocalModel, LocalSpec
from idem_ray.judges.panel import AnchorScores, JudgeSpec, Panel
from idem_ray.pools.generators import RESTARTS
from idem_ray.records import Exchange, Sample

_N_CALLS = 12
"""Calls that a replica takes at a time where an endpoint is asked: enough blocks to keep its requests under way."""

Judged = tuple[list[Sample], tuple[float, float]]
"""Samples with their scores, and when the work began and ended (seconds since the epoch)."""


class JudgeReplica:
    """The judges of whatever specs are asked for: the embedded ones, which work one call at a time; ones on this
    replica's engine, where calls share its batches; and ones behind endpoints, which only wait."""

    def __init__(
        self, cores: Cores | None, n_replicas: int, embedded: bool, engine: JudgeEngineSpec | None = None
    ) -> None:
        """
        Args:
            n_replicas: of the pool; they share the limit of an endpoint's requests.
            embedded: whether to load the embedded judges now.
            engine: of a local LLM judge, started now.
        """
        self._share = CoreShare(cores) if cores else None
        self._local: LocalModel | None = None
        if engine:
            shared = cores if engine.n_gpus == 0 else None
            share = CoreShare(shared) if shared else None
            self._local = LocalModel.load(engine, share, shared.n_cores if shared else None)
        self._n_replicas = n_replicas
        self._panels: dict[JudgeSpec | str, Panel] = {}
        self._making, self._working = threading.Lock(), threading.Lock()
        self._reader = embedded_reader() if embedded else None

    def ready(self) -> int:
        """This replica's process id, once its models are loaded."""
        return os.getpid()

    def model_hash(self) -> str:
        """Of the local LLM judge's model.

        Raises:
            UserError: there is none.
        """
        return self._local_model().hash

    def prepare(self, spec: JudgeSpec) -> None:
        """Make the judges of a spec now.

        Raises:
            UserError: they cannot be had here.
        """
        self._panel(spec)

    def fit_probe(self, trait_name: str, examples: ProbeExamples) -> Probe:
        """Fit the embedded trait judge (see `idem_ray.judges.embedded.probe_fit`)."""
        with self._making:
            reader = self._embedded_reader()
        with self._working, self._share.at_work() if self._share else nullcontext():
            return fit_probe(trait_name, examples, reader)

    def judge(self, samples: list[Sample], spec: JudgeSpec, coherence: bool) -> Judged:
        """Score samples for the trait and, where it is asked for, for coherence; in their order."""
        panel = self._panel(spec)
        if not isinstance(spec, Probe):
            began = time.time()
            with _ending_with_its_engine():
                return panel.judge(samples, coherence), (began, time.time())
        with self._working, self._share.at_work() if self._share else nullcontext():
            began = time.time()
            return panel.judge(samples, coherence), (began, time.time())

    def anchors(self, spec: JudgeSpec, exchanges: list[Exchange]) -> list[AnchorScores]:
        """Score a trait's anchors anew (see `idem_ray.judges.anchors`)."""
        panel = self._panel(spec)
        if not isinstance(spec, Probe):
            with _ending_with_its_engine():
                return panel.anchors(exchanges)
        with self._working, self._share.at_work() if self._share else nullcontext():
            return panel.anchors(exchanges)

    def _panel(self, spec: JudgeSpec) -> Panel:
        with self._making:
            key = spec.hash if isinstance(spec, Probe) else spec
            if key not in self._panels:
                if isinstance(spec, Probe):
                    self._panels[key] = Panel.embedded(spec, self._embedded_reader())
                elif isinstance(spec, LocalSpec):
                    self._panels[key] = Panel.local(spec, self._local_model())
                else:
                    self._panels[key] = Panel.endpoint(spec, self._n_replicas)
            return self._panels[key]

    def _embedded_reader(self) -> Reader:
        self._reader = self._reader or embedded_reader()
        return self._reader

    def _local_model(self) -> LocalModel:
        if self._local is None:
            raise UserError("The judge pool was started without an engine for a local judge.")
        return self._local


@contextmanager
def _ending_with_its_engine() -> Iterator[None]:
    """A process whose engine has failed is of no more use: Ray starts another one and repeats the call."""
    try:
        yield
    except EngineFailed:
        traceback.print_exc()
        os._exit(1)


class JudgePool:
    """Handles of the replicas; cheap to copy into any task."""

    def __init__(
        self,
        n_replicas: int,
        cores: Cores | None,
        embedded: bool = True,
        endpoints: bool = False,
        engine: JudgeEngineSpec | None = None,
    ) -> None:
        """
        Args:
            embedded: whether the embedded judges will be asked for.
            endpoints: whether judges behind endpoints will be.
            engine: of a local LLM judge, where one will be asked for.
        """
        options = {**RESTARTS, "max_concurrency": _N_CALLS if endpoints or engine else 1}
        n_gpus = engine.n_gpus if engine else 0
        actor = ray.remote(JudgeReplica).options(num_cpus=1, num_gpus=n_gpus, **options)
        self.replicas = [actor.remote(cores, n_replicas, embedded, engine) for _ in range(n_replicas)]

    def ready(self) -> list[ray.ObjectRef]:
        """References that resolve to each replica's process id when it has loaded."""
        return [replica.ready.remote() for replica in self.replicas]

    def model_hash(self) -> str:
        """Like `JudgeReplica.model_hash`. Blocks."""
        found: str = ray.get(self.replicas[0].model_hash.remote())
        return found

    def prepare(self, spec: JudgeSpec) -> None:
        """Like `JudgeReplica.prepare`, on all of them. Blocks."""
        ray.get([replica.prepare.remote(spec) for replica in self.replicas])

    def fit_probe(self, trait_name: str, examples: ProbeExamples) -> Probe:
        """Like `JudgeReplica.fit_probe`. Blocks."""
        probe: Probe = ray.get(self.replicas[0].fit_probe.remote(trait_name, examples))
        return probe

    def anchors(self, spec: JudgeSpec, exchanges: list[Exchange]) -> list[AnchorScores]:
        """Like `JudgeReplica.anchors`. Blocks."""
        found: list[AnchorScores] = ray.get(self.replicas[0].anchors.remote(spec, exchanges))
        return found

    def judge(self, samples: list[Sample], spec: JudgeSpec, coherence: bool) -> Judged:
        """Like `JudgeReplica.judge`; blocks of samples spread over the replicas by their ids. Blocks."""
        replica = self.replicas[int(samples[0].id, 16) % len(self.replicas)]
        answer: Judged = ray.get(replica.judge.remote(samples, spec, coherence))
        return answer

    def close(self) -> None:
        for replica in self.replicas:
            ray.kill(replica)

"""The judge pool: Ray actors that hold the judges' models."""

import os
import time
import traceback
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import ray

from idem_ray.cores import Cores, CoreShare
from idem_ray.judges import Judge
from idem_ray.pools.generators import RESTARTS
from idem_ray.records import Exchange, Judgment, Sample

if TYPE_CHECKING:
    from idem_ray.judges.probe import Probe


class JudgeReplica:
    """The embedded coherence judge, and the probes of whatever traits are asked for."""

    def __init__(self, cores: Cores | None) -> None:
        from idem_ray.judges.coherence import CoherenceJudge

        self._share = CoreShare(cores) if cores else None
        self._coherence = CoherenceJudge()
        self._probes: dict[str, Any] = {}

    def ready(self) -> int:
        """This replica's process id, once its models are loaded."""
        return os.getpid()

    def fit_probe(self, trait_name: str, positives: list[str], negatives: list[str]) -> "Probe":
        """Fit the embedded trait judge (see `idem_ray.judges.probe`)."""
        from idem_ray.judges.probe import fit_probe

        return fit_probe(trait_name, positives, negatives)

    def judge(self, samples: list[Sample], probe: "Probe", coherence: bool) -> tuple[list[Sample], tuple[float, float]]:
        """Score samples for the probe's trait and, where it is asked for, for coherence.

        Returns:
            the samples in their order, and when the work began and ended (seconds since the epoch).
        """
        with self._share.at_work() if self._share else nullcontext():
            return self._judge(samples, probe, coherence)

    def _judge(
        self, samples: list[Sample], probe: "Probe", coherence: bool
    ) -> tuple[list[Sample], tuple[float, float]]:
        began = time.time()
        exchanges = [Exchange(sample.prompt, sample.response or "", sample.finished) for sample in samples]
        judge = self._probe_judge(probe)
        judged = [
            sample.replace(trait_score=word.score, trait_missing=word.missing, trait_judge=judge.name)
            for sample, word in zip(samples, judgments(judge, exchanges), strict=True)
        ]
        if coherence:
            name = self._coherence.name
            exchanges = [_as_conversation(sample) for sample in samples]
            judged = [
                sample.replace(coherence_score=word.score, coherence_missing=word.missing, coherence_judge=name)
                for sample, word in zip(judged, judgments(self._coherence, exchanges), strict=True)
            ]
        return judged, (began, time.time())

    def _probe_judge(self, probe: "Probe") -> Any:
        from idem_ray.judges.probe import ProbeJudge

        if probe.hash not in self._probes:
            self._probes[probe.hash] = ProbeJudge(probe)
        return self._probes[probe.hash]


def _as_conversation(sample: Sample) -> Exchange:
    """What the coherence judge reads. It is a chat model, so to it a continued document is the answer to a request."""
    response = sample.response or ""
    if sample.format == "chat" or not response:
        return Exchange(sample.prompt, response, sample.finished)
    request = f"Write a text that begins like this: {sample.prompt.strip()}"
    return Exchange(request, f"{sample.prompt.rstrip()} {response}", sample.finished)


def judgments(judge: Judge, exchanges: list[Exchange]) -> list[Judgment]:
    """A judge's word on each exchange; where it fails, the judgments are missing (and the reason is kept): a failed
    judgment costs the measurement a score, not the run its cycle."""
    try:
        return judge.judge(exchanges)
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"[:200]
        return [Judgment(None, reason) for _ in exchanges]


class JudgePool:
    """Handles of the replicas; cheap to copy into any task."""

    def __init__(self, n_replicas: int, cores: Cores | None) -> None:
        actor = ray.remote(JudgeReplica).options(num_cpus=1, **RESTARTS)
        self.replicas = [actor.remote(cores) for _ in range(n_replicas)]

    def ready(self) -> list[Any]:
        """References that resolve to each replica's process id when it has loaded."""
        return [replica.ready.remote() for replica in self.replicas]

    def fit_probe(self, trait_name: str, positives: list[str], negatives: list[str]) -> "Probe":
        """Like `JudgeReplica.fit_probe`. Blocks."""
        probe: Probe = ray.get(self.replicas[0].fit_probe.remote(trait_name, positives, negatives))
        return probe

    def judge(self, samples: list[Sample], probe: "Probe", coherence: bool) -> tuple[list[Sample], tuple[float, float]]:
        """Like `JudgeReplica.judge`; blocks of samples spread over the replicas by their ids. Blocks."""
        replica = self.replicas[int(samples[0].id, 16) % len(self.replicas)]
        answer: tuple[list[Sample], tuple[float, float]] = ray.get(replica.judge.remote(samples, probe, coherence))
        return answer

    def close(self) -> None:
        for replica in self.replicas:
            ray.kill(replica)

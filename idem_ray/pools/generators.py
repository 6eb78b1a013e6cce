"""The generator pool: Ray actors, each with an engine that loads once and outlives cycles and lineages."""

import asyncio
import os
import time
from dataclasses import dataclass
from typing import Any

import ray

from idem_ray.cores import Cores, CoreShare
from idem_ray.engine.engine import GenerationRequest, Serving
from idem_ray.engine.loop import EngineFailed, EngineLoop
from idem_ray.errors import UserError
from idem_ray.models import cache_folder, resolve_model
from idem_ray.records import BASE, Checkpoint, Decoding, Sample
from idem_ray.store.run import local_folder

# A replica that dies is restarted by Ray, which then repeats the calls that were in flight. That is safe because a
# request carries its own seed: asked twice, it gives the same response.
RESTARTS = {"max_restarts": 5, "max_task_retries": 5}


@dataclass(frozen=True)
class GeneratorSpec:
    """What one generator replica is made of."""

    model: str
    serving: Serving
    max_concurrent_requests: int
    max_model_tokens: int
    max_lora_rank: int
    gpu_memory_fraction: float
    n_gpus: float
    cores: Cores | None


class GeneratorReplica:
    """An engine and its queue, as an asynchronous Ray actor."""

    def __init__(self, spec: GeneratorSpec) -> None:
        from idem_ray.engine.engine import VllmEngine

        share = CoreShare(spec.cores) if spec.cores else None
        engine = VllmEngine(
            resolve_model(spec.model),
            serving=spec.serving,
            max_concurrent_requests=spec.max_concurrent_requests,
            max_model_tokens=spec.max_model_tokens,
            max_lora_rank=spec.max_lora_rank,
            gpu_memory_fraction=spec.gpu_memory_fraction,
            n_threads=spec.cores.n_cores if spec.cores else None,
        )
        self._renderer = engine.renderer
        self._spec = spec
        self._loop = EngineLoop(engine, share)
        self._room = asyncio.Semaphore(4 * spec.max_concurrent_requests)

    async def ready(self) -> int:
        """This replica's process id, once its engine is loaded."""
        return os.getpid()

    async def n_outstanding(self) -> int:
        """Requests that wait or run here, for routing."""
        return self._loop.n_outstanding

    async def generate(
        self,
        samples: list[Sample],
        checkpoint: Checkpoint | None,
        decoding: Decoding,
        max_row_tokens: int | None = None,
    ) -> tuple[list[Sample], tuple[float, float]]:
        """Fill in the responses of requests, and the token ids of samples whose response is given (seeds).

        Args:
            max_row_tokens: what prompt and response may have together, to be trained on whole.

        Returns:
            the samples in their order, and when the work began and ended (seconds since the epoch).

        Raises:
            UserError: a prompt is too long for that, or for the engine.
        """
        began = time.time()
        folder = local_folder(checkpoint, cache_folder() / "checkpoints") if checkpoint else None
        tasks = [self._fill(sample, checkpoint, folder, decoding, max_row_tokens) for sample in samples]
        return list(await asyncio.gather(*tasks)), (began, time.time())

    async def _fill(
        self,
        sample: Sample,
        checkpoint: Checkpoint | None,
        folder: Any,
        decoding: Decoding,
        max_row_tokens: int | None,
    ) -> Sample:
        prompt_ids = self._renderer.prompt_ids(sample.prompt, sample.format)
        given_ids = self._renderer.response_ids(sample.response) if sample.response is not None else None
        n_response_tokens = decoding.max_tokens if given_ids is None else len(given_ids)
        limit = min(self._spec.max_model_tokens, max_row_tokens or self._spec.max_model_tokens)
        if len(prompt_ids) + n_response_tokens > limit:
            raise UserError(
                f"The prompt {sample.prompt[:60]!r} has {len(prompt_ids)} tokens: with {n_response_tokens} for its "
                f"response it is over the {limit} that fit; shorten it, or raise training.max_tokens."
            )
        if given_ids is not None:
            return sample.replace(prompt_ids=prompt_ids, response_ids=given_ids)
        request = GenerationRequest(
            # Unique within the engine even when a retried call meets its own first attempt.
            id=f"{sample.id}-{time.monotonic_ns()}",
            prompt_ids=prompt_ids,
            checkpoint=checkpoint.id if checkpoint else BASE,
            seed=sample.sampling_seed,
            decoding=decoding,
        )
        async with self._room:
            try:
                completion = await asyncio.wrap_future(self._loop.submit(request, folder))
            except EngineFailed:
                os._exit(1)  # Ray restarts the process and repeats the call
        return sample.replace(
            prompt_ids=prompt_ids,
            response=completion.text,
            response_ids=completion.token_ids,
            finish_reason=completion.finish_reason,
            generated_at=time.time(),
        )


class GeneratorPool:
    """Handles of the replicas; cheap to copy into any task."""

    def __init__(self, spec: GeneratorSpec, n_replicas: int) -> None:
        actor = ray.remote(GeneratorReplica).options(num_cpus=1, num_gpus=spec.n_gpus, max_concurrency=1000, **RESTARTS)
        self.spec = spec
        self.replicas = [actor.remote(spec) for _ in range(n_replicas)]

    @property
    def capacity(self) -> int:
        """Requests that run at the same time over all replicas."""
        return self.spec.max_concurrent_requests * len(self.replicas)

    def ready(self) -> list[Any]:
        """References that resolve to each replica's process id when it has loaded."""
        return [replica.ready.remote() for replica in self.replicas]

    def generate(
        self,
        samples: list[Sample],
        checkpoint: Checkpoint | None,
        decoding: Decoding,
        max_row_tokens: int | None = None,
    ) -> tuple[list[Sample], tuple[float, float]]:
        """Like `GeneratorReplica.generate`, on the replica with the least to do. Blocks."""
        replica = self.replicas[0]
        if len(self.replicas) > 1:
            loads = ray.get([replica.n_outstanding.remote() for replica in self.replicas])
            replica = self.replicas[loads.index(min(loads))]
        answer: tuple[list[Sample], tuple[float, float]] = ray.get(
            replica.generate.remote(samples, checkpoint, decoding, max_row_tokens)
        )
        return answer

    def close(self) -> None:
        for replica in self.replicas:
            ray.kill(replica)

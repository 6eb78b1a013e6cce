"""Judges that are language models on a vLLM engine of ours: the same prompts and the same score as behind an
endpoint, without a server to keep."""

import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from idem_ray.config.sections import LocalJudgeSettings
from idem_ray.cores import CoreShare
from idem_ray.engine.engine import Completion, Engine, GenerationRequest
from idem_ray.engine.loop import EngineLoop
from idem_ray.judges.language.cache import JudgmentCache
from idem_ray.judges.language.prompt import Message
from idem_ray.judges.language.rubric import Reply, RubricJudge, Unanswered, judge_name
from idem_ray.judges.language.scoring import N_REPLY_TOKENS, N_TOP
from idem_ray.models import folder_hash, resolve_model
from idem_ray.records import BASE, Decoding, Metric
from idem_ray.traits.traits import Rubrics

_DECODING = Decoding(temperature=0.0, max_tokens=N_REPLY_TOKENS)


@dataclass(frozen=True)
class JudgeEngineSpec:
    """The engine of a judge replica."""

    model: str
    max_model_tokens: int
    n_gpus: float = 0.0
    gpu_memory_fraction: float = 0.85
    max_concurrent_requests: int = 64

    @staticmethod
    def of(settings: LocalJudgeSettings, n_gpus: float = 0.0, gpu_memory_fraction: float = 0.85) -> "JudgeEngineSpec":
        """The engine that these judges need."""
        return JudgeEngineSpec(settings.model, settings.max_tokens, n_gpus, gpu_memory_fraction)


@dataclass(frozen=True)
class LocalSpec:
    """All that it takes to make the two judges. `model_hash`: of the model's bytes."""

    settings: LocalJudgeSettings
    rubrics: Rubrics
    model_hash: str

    def name(self, metric: Metric) -> str:
        """The name of the judge of this metric: it holds a hash of all that decides its scores."""
        model, min_mass = self.settings.model.rstrip("/").rpartition("/")[2], self.settings.min_mass
        return judge_name("local", model, metric, self.rubrics, self.model_hash, min_mass=min_mass)

    def describe(self) -> dict[str, Any]:
        """What a report says of the judges."""
        names = {f"{metric}_judge": self.name(metric) for metric in ("trait", "coherence")}
        return {**self.settings.identity, "model_hash": self.model_hash, "log_probabilities": True, **names}


class LocalModel:
    """A judge model and its queue in this process; replies of all callers share its batches."""

    def __init__(self, engine: Engine, model_hash: str, max_tokens: int, share: CoreShare | None = None) -> None:
        """
        Args:
            max_tokens: prompt and reply together.
        """
        self.hash = model_hash
        self._renderer = engine.renderer
        self._max_tokens = max_tokens
        self._loop = EngineLoop(engine, share)

    @staticmethod
    def load(spec: JudgeEngineSpec, share: CoreShare | None = None, n_threads: int | None = None) -> "LocalModel":
        """Start the engine.

        Raises:
            UserError: the model cannot be had.
        """
        from idem_ray.engine.engine import VllmEngine

        folder = resolve_model(spec.model)
        engine = VllmEngine(
            folder,
            serving="merged",
            max_concurrent_requests=spec.max_concurrent_requests,
            max_model_tokens=spec.max_model_tokens,
            gpu_memory_fraction=spec.gpu_memory_fraction,
            n_threads=n_threads,
        )
        return LocalModel(engine, folder_hash(folder), spec.max_model_tokens, share)

    def submit(self, conversation: list[Message]) -> "Future[Reply]":
        """Ask; the future brings the reply. It raises `Unanswered` where the prompt does not fit, and RuntimeError
        where the engine has failed."""
        reply: Future[Reply] = Future()
        ids = self._renderer.conversation_ids(conversation)
        if len(ids) + N_REPLY_TOKENS > self._max_tokens:
            limit = f"over the {self._max_tokens - N_REPLY_TOKENS} that the judge has room for (judge.max_tokens)"
            reply.set_exception(Unanswered(f"the prompt has {len(ids)} tokens, {limit}"))
            return reply
        request = GenerationRequest(uuid.uuid4().hex, ids, BASE, 0, _DECODING, N_TOP)
        self._loop.submit(request, None).add_done_callback(_passing_on(reply))
        return reply

    def close(self) -> None:
        """End the engine's loop; what waits is answered with an error."""
        self._loop.close()


def _passing_on(reply: "Future[Reply]") -> "Callable[[Future[Completion]], None]":
    def pass_on(done: "Future[Completion]") -> None:
        error = done.exception()
        if error:
            reply.set_exception(error)
        else:
            reply.set_result(Reply(done.result().text, list(done.result().places)))

    return pass_on


def local_judges(
    spec: LocalSpec, model: LocalModel, cache: JudgmentCache | None = None
) -> tuple[RubricJudge, RubricJudge]:
    """The judges of trait and coherence, on one model."""
    cache, min_mass = cache or JudgmentCache(), spec.settings.min_mass
    return (
        RubricJudge("trait", spec.name("trait"), spec.rubrics, model, cache, min_mass),
        RubricJudge("coherence", spec.name("coherence"), spec.rubrics, model, cache, min_mass),
    )

"""Sampling from a model: the Engine protocol, and vLLM behind it. The only importer of vllm, and lazily.

`merged` serving holds one checkpoint at a time: the adapter is added into the base weights, which are reloaded in
place (0.4 to 0.8 s for the embedded model). `lora` serving keeps the base weights and applies adapters per request,
so requests of many checkpoints share a batch: right on a GPU, 3.5 to 6 times slower on a CPU.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from idem_ray.engine.render import Renderer
from idem_ray.records import BASE, Decoding, TokenPlace

_VLLM_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The sizes that vLLM makes room for; an adapter of another rank goes into the next larger one."""

Serving = Literal["merged", "lora"]


@dataclass(frozen=True)
class GenerationRequest:
    """One response to sample. `checkpoint` is the id of a loaded checkpoint (or BASE); `n_logprobs`: how many of the
    likeliest tokens to report at each place."""

    id: str
    prompt_ids: list[int]
    checkpoint: str
    seed: int
    decoding: Decoding
    n_logprobs: int = 0


@dataclass(frozen=True)
class Completion:
    """A sampled response; `finish_reason` is "stop" (the model ended it) or "length" (the limit did). `places`: its
    tokens with the log-probabilities that were asked for."""

    id: str
    token_ids: list[int]
    text: str
    finish_reason: str
    places: Sequence[TokenPlace] = ()


class Engine(Protocol):
    """What the generator pool needs of an engine: continuous batching, driven step by step."""

    renderer: Renderer
    serving: Serving

    def load(self, checkpoint: str, adapter_folder: Path | None) -> None:
        """Make a checkpoint servable; with `merged` serving it replaces the one before and nothing may be running."""

    def add(self, request: GenerationRequest) -> None:
        """Queue a request."""

    def step(self) -> list[Completion]:
        """One model step; the responses that ended with it."""

    @property
    def n_running(self) -> int:
        """Requests added and not yet completed."""


class VllmEngine:
    """A vLLM engine in this process."""

    def __init__(
        self,
        model_folder: Path,
        *,
        serving: Serving,
        max_concurrent_requests: int = 64,
        max_model_tokens: int = 2048,
        max_lora_rank: int = 16,
        gpu_memory_fraction: float = 0.85,
        kv_cache_gib: int = 1,
        n_threads: int | None = None,
    ) -> None:
        """
        Args:
            max_model_tokens: prompt and response together.
            kv_cache_gib: memory for keys and values on a CPU, in GiB.
            n_threads: OpenMP threads on a CPU; None lets vLLM choose.
        """
        # One process instead of three: ready in half the time, and the requests of all callers share one loop.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(kv_cache_gib))
        if n_threads:
            # vLLM's own binding reserves a core for a front-end process that we do not have.
            os.environ["OMP_NUM_THREADS"] = str(n_threads)
            os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        from vllm import EngineArgs, LLMEngine
        from vllm.platforms import current_platform

        self.serving = serving
        self.renderer = Renderer.of(model_folder)
        self._model_folder = model_folder
        self._loaded = BASE
        self._lora_requests: dict[str, Any] = {}
        options: dict[str, Any] = {}
        if current_platform.is_cpu():
            # A partly prefilled request of its own seed crashes the CPU runner ("CPU Generator does not use offset").
            options = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, max_model_tokens)}
        if serving == "lora":
            rank = next(allowed for allowed in _VLLM_LORA_RANKS if allowed >= max_lora_rank)
            options |= {"enable_lora": True, "max_lora_rank": rank, "max_loras": 4, "max_cpu_loras": 64}
        self._engine = LLMEngine.from_engine_args(
            EngineArgs(
                model=str(model_folder),
                dtype="bfloat16",
                seed=0,
                enforce_eager=current_platform.is_cpu(),  # compiling takes 100 s and gives 15 % on a CPU
                max_model_len=max_model_tokens,
                max_num_seqs=max_concurrent_requests,
                gpu_memory_utilization=gpu_memory_fraction,
                disable_log_stats=True,
                **options,
            )
        )

    def load(self, checkpoint: str, adapter_folder: Path | None) -> None:
        """Make a checkpoint servable (see `Engine.load`).

        Raises:
            RuntimeError: `merged` serving while requests are running.
        """
        if self.serving == "lora":
            if adapter_folder and checkpoint not in self._lora_requests:
                from vllm.lora.request import LoRARequest

                # A new number for every checkpoint: a reused one hits the prefix cache of the old weights (vllm#42125).
                number = len(self._lora_requests) + 1
                self._lora_requests[checkpoint] = LoRARequest(checkpoint, number, str(adapter_folder))
            return
        if checkpoint != self._loaded:
            if self.n_running:
                raise RuntimeError("weights cannot be swapped while requests are running")
            weights = merged_weights(self._model_folder, adapter_folder)
            self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
            self._engine.reset_prefix_cache()
            self._loaded = checkpoint

    def add(self, request: GenerationRequest) -> None:
        """Queue a request."""
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        self._engine.add_request(
            request.id,
            TokensPrompt(prompt_token_ids=request.prompt_ids),
            SamplingParams(seed=request.seed, logprobs=request.n_logprobs or None, **asdict(request.decoding)),
            lora_request=self._lora_requests.get(request.checkpoint),
        )

    def step(self) -> list[Completion]:
        """One model step; the responses that ended with it."""
        completions = []
        for output in self._engine.step():
            if output.finished:
                (sampled,) = output.outputs
                ids = list(sampled.token_ids)
                reason = str(sampled.finish_reason)
                places = [_place(token, listed) for token, listed in zip(ids, sampled.logprobs or [], strict=False)]
                completions.append(Completion(output.request_id, ids, self.renderer.text(ids), reason, places))
        return completions

    @property
    def n_running(self) -> int:
        """Requests added and not yet completed."""
        return int(self._engine.get_num_unfinished_requests())


def _place(token: int, listed: dict[int, Any]) -> TokenPlace:
    """What vLLM lists at one place, by the tokens' texts; of several that read the same the likeliest stays."""
    ranked = sorted(listed.values(), key=lambda each: float(each.logprob))
    return TokenPlace(
        str(listed[token].decoded_token), {str(each.decoded_token): float(each.logprob) for each in ranked}
    )


def merged_weights(model_folder: Path, adapter_folder: Path | None) -> Iterator[tuple[str, Any]]:
    """The base model's tensors by name, with a LoRA adapter's update W + (alpha / rank) B A added where it has one; or
    those of a checkpoint that is a whole model.

    One tensor at a time, so a large model needs no second copy. Hu et al. 2021 (arXiv 2106.09685), section 4.1.

    Raises:
        ValueError: the adapter has tensors that fit no weight of this model.
    """
    import torch
    from safetensors import safe_open

    updates: dict[str, tuple[Any, Any]] = {}
    scale = 0.0
    if adapter_folder and not (adapter_folder / "adapter_config.json").exists():
        model_folder = adapter_folder
    elif adapter_folder:
        settings = json.loads((adapter_folder / "adapter_config.json").read_text(encoding="utf-8"))
        scale = settings["lora_alpha"] / settings["r"]
        updates = _lora_updates(adapter_folder / "adapter_model.safetensors")
    for file in sorted(model_folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (it is no dict, and cannot be iterated)
                weight = tensors.get_tensor(name)
                if name in updates:
                    a, b = updates.pop(name)
                    weight = (weight.float() + scale * (b.float() @ a.float())).to(torch.bfloat16)
                yield name, weight
    if updates:
        raise ValueError(f"the adapter {adapter_folder} does not fit {model_folder.name}: no weight {min(updates)}")


def _lora_updates(file: Path) -> dict[str, tuple[Any, Any]]:
    """Weight name -> (A, B) of a PEFT adapter file."""
    from safetensors.torch import load_file

    tensors = load_file(str(file))
    pairs = {}
    for key, a in tensors.items():
        if key.endswith(".lora_A.weight"):
            stem = key.removesuffix(".lora_A.weight")
            name = stem.removeprefix("base_model.model.") + ".weight"
            pairs[name] = (a, tensors[f"{stem}.lora_B.weight"])
    return pairs

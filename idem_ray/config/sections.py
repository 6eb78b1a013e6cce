"""The sections of a lineage's settings: frozen, and a misspelt field is an error."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from idem_ray.records import Decoding

Policy = Literal["base", "previous"]

MIN_EXAMPLES = 10
"""Different texts with a trait, and without it, that the embedded judge is fitted on at least: with fewer, five folds
hold one or two of them each, and the held-out figures mean nothing."""


MIN_MASS = 0.5
"""Least probability of the integers in a judge's reply."""


class Settings(BaseModel):
    """Parent of all settings: immutable, a misspelt field is an error rather than ignored, and so is a number that is
    none (.nan, .inf)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_truths(cls, data: Any) -> Any:
        """YAML reads yes, no, on and off as truths, and Python counts these as 1 and 0: no setting is one."""
        wrong = [name for name, value in data.items() if isinstance(value, bool)] if isinstance(data, dict) else []
        if wrong:
            raise ValueError(f"{wrong[0]} is {data[wrong[0]]} (YAML's yes or no), and takes no truth: write its value")
        return data


class Sft(Settings):
    """Supervised finetuning on chat responses; loss on the assistant's tokens."""

    type: Literal["sft"] = "sft"
    init: Policy = Field("base", description="weights that a cycle's training starts from")
    restart_cycles: tuple[int, ...] = Field((), description="cycles that start from the base model all the same")


class Sdf(Settings):
    """Finetuning on raw documents; loss on all tokens, no chat template."""

    type: Literal["sdf"] = "sdf"
    init: Policy = Field("base", description="weights that a cycle's training starts from")
    restart_cycles: tuple[int, ...] = Field((), description="cycles that start from the base model all the same")
    generate_from: Literal["prefixes", "titles"] = Field(
        "prefixes", description="what the lines of the prompt pool are: beginnings of documents, or their titles"
    )


class Dpo(Settings):
    """Direct preference optimisation: the previous model's response over the rejected source's (Rafailov et al. 2023,
    arXiv 2305.18290). Init, reference and rejected source are three separate choices."""

    type: Literal["dpo"] = "dpo"
    cycle_0: Literal["dpo", "sft"] = Field("dpo", description="how the seed responses are trained on")
    cycle_0_learning_rate: float | None = Field(
        None, gt=0, description="of a supervised cycle 0, which takes a larger one than preferences do (None: the same)"
    )
    init: Policy = Field("base", description="weights that a cycle's training starts from")
    reference: Policy = Field("base", description="the model that the loss compares with, pi_ref")
    rejected: Literal["base", "n-2"] = Field("base", description="the model whose responses are the rejected side")
    restart_cycles: tuple[int, ...] = Field((), description="cycles whose init and reference are the base model")
    beta: float = Field(0.1, gt=0, description="strength of the pull towards the reference")

    @model_validator(mode="after")
    def _check_cycle_0(self) -> "Dpo":
        if self.cycle_0_learning_rate and self.cycle_0 == "dpo":
            raise ValueError("cycle_0_learning_rate is for cycle_0: sft alone")
        return self


Regime = Annotated[Sft | Sdf | Dpo, Field(discriminator="type")]
REGIME_SETTINGS: dict[str, type[Settings]] = {"sft": Sft, "sdf": Sdf, "dpo": Dpo}


class Training(Settings):
    """One cycle's training run. `learning_rate` is the peak; `warmup` a fraction of the steps; `final_learning_rate`
    what a linear or cosine schedule ends on, as a fraction of the peak."""

    learning_rate: float = Field(1.5e-4, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: float = Field(0.05, ge=0, lt=1)
    final_learning_rate: float = Field(0.0, ge=0, lt=1)
    n_epochs: int = Field(1, ge=1)
    n_steps: int | None = Field(None, ge=1, description="optimiser steps, instead of whole epochs")
    batch_size: int = Field(2, ge=1, description="rows (DPO: pairs) of one pass through the model")
    gradient_accumulation: int = Field(1, ge=1, description="passes before each optimiser step")
    weight_decay: float = Field(0.01, ge=0)
    adam_beta2: float = Field(0.95, gt=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    weights: Literal["lora", "full"] = Field("lora", description="what is trained: an adapter, or the model itself")
    lora_rank: int = Field(16, ge=1, le=512)
    lora_alpha: int = Field(32, ge=1)
    lora_targets: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="names of the layers that get an adapter, such as [q_proj, v_proj]"
    )
    max_tokens: int = Field(1536, ge=8, description="longest training row; longer ones are cut at the end")

    @property
    def rows_per_step(self) -> int:
        """Rows (DPO: pairs) of one optimiser step."""
        return self.batch_size * self.gradient_accumulation

    @model_validator(mode="after")
    def _check_epochs(self) -> "Training":
        if self.n_steps and self.n_epochs > 1:
            raise ValueError("n_steps and n_epochs are both given: choose one")
        return self


class Generation(Settings):
    """How training data is sampled. With `min_tokens` as large as `max_tokens` all responses have one length and none
    ends by itself: a preference between them is then about what they say, and cannot be about their length."""

    temperature: float = Field(0.8, ge=0)
    max_tokens: int = Field(1024, ge=1)
    min_tokens: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check_tokens(self) -> "Generation":
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) is over max_tokens ({self.max_tokens})")
        return self

    @property
    def decoding(self) -> Decoding:
        """How tokens are drawn."""
        return Decoding(self.temperature, self.max_tokens, self.min_tokens)


class Evaluation(Settings):
    """How each cycle's model is measured: `n_samples` responses to every held-out question."""

    n_samples: int = Field(10, ge=1)
    temperature: float = Field(0.7, ge=0)
    max_tokens: int = Field(400, ge=1)

    @property
    def decoding(self) -> Decoding:
        """How tokens are drawn."""
        return Decoding(self.temperature, self.max_tokens)


class CoherenceFilter(Settings):
    """Keep generated samples whose coherence is at least `min_coherence` (None: keep all), sampling more until
    `n_sampled` are kept or `budget` times that many were generated. Without a threshold the coherence of training
    samples is not judged; 0 judges it and keeps all."""

    min_coherence: float | None = Field(None, ge=0, le=100)
    budget: float = Field(3.0, ge=1)


class Guards(Settings):
    """What a collapsing model shows, over a cycle's evaluation responses. A limit of None looks at nothing."""

    action: Literal["warn", "stop"] = Field("warn", description="say it, or end the lineage after that cycle")
    min_coherence: float | None = Field(50.0, ge=0, le=100, description="floor of the mean coherence")
    max_empty: float | None = Field(0.1, ge=0, le=1, description="fraction of responses without a word")
    max_looping: float | None = Field(
        0.2, ge=0, le=1, description="fraction of responses in which one run of four words comes back again and again"
    )
    min_length: float | None = Field(0.25, ge=0, description="mean words per response, as a fraction of cycle 0's")


class ProbeJudgeSettings(Settings):
    """The embedded judges: a probe for the trait, fitted in the run, and the embedded model for coherence."""

    type: Literal["probe"] = "probe"

    @property
    def identity(self) -> Any:
        """What of the settings decides the scores."""
        return self.type


class EndpointJudgeSettings(Settings):
    """A language model behind an OpenAI-compatible chat endpoint, with the trait's two rubrics. Its key is read from an
    environment variable and from nowhere else."""

    type: Literal["endpoint"] = "endpoint"
    url: str = Field(description="root of the API, such as http://localhost:8000/v1")
    model: str = Field(min_length=1, description="what the endpoint calls the model")
    key_variable: str = Field("OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    n_concurrent: int = Field(16, ge=1, description="requests under way at a time, over all judge replicas")
    timeout_seconds: float = Field(60, gt=0, description="for one reply")
    retry_seconds: float = Field(300, ge=0, description="how long what fails is tried again")
    max_calls: int | None = Field(None, ge=1, description="budget of one command; what is over it is missing")
    min_mass: float = Field(MIN_MASS, gt=0, le=1, description="least probability of the integers in a reply")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be a URL such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("must hold no key and no password: settings are stored; use key_variable")
        return url.rstrip("/")

    @property
    def identity(self) -> Any:
        """What of the settings decides the scores: where the model is served does not."""
        return {"type": self.type, "model": self.model, "min_mass": self.min_mass}


class LocalJudgeSettings(Settings):
    """A language model on an engine of the judge pool, with the trait's two rubrics: scored as behind an endpoint."""

    type: Literal["local"] = "local"
    model: str = Field("embedded", min_length=1, description="'embedded', a folder, or a hub id")
    max_tokens: int = Field(4096, ge=256, description="room for the rubric, the question and the answer")
    min_mass: float = Field(MIN_MASS, gt=0, le=1, description="least probability of the integers in a reply")

    @property
    def identity(self) -> Any:
        """What of the settings decides the scores."""
        return {"type": self.type, "model": self.model, "min_mass": self.min_mass}


JudgeSettings = Annotated[ProbeJudgeSettings | EndpointJudgeSettings | LocalJudgeSettings, Field(discriminator="type")]
JUDGE_SETTINGS: dict[str, type[Settings]] = {
    "probe": ProbeJudgeSettings,
    "endpoint": EndpointJudgeSettings,
    "local": LocalJudgeSettings,
}


class Cluster(Settings):
    """Where it runs. None of this changes the result, and none of it is hashed."""

    serving: Literal["auto", "merged", "lora"] = "auto"
    n_generators: int = Field(1, ge=1)
    generator_gpus: float = Field(0, ge=0)
    generator_memory_fraction: float = Field(0.85, gt=0, le=1, description="of a GPU's memory, for vLLM")
    max_concurrent_requests: int = Field(64, ge=1)
    n_judges: int = Field(1, ge=1)
    judge_gpus: float = Field(0, ge=0, description="of each judge replica, for judge: local")
    judge_memory_fraction: float = Field(0.85, gt=0, le=1, description="of a judge's GPU memory, for vLLM")
    trainer_gpus: float = Field(0, ge=0)
    n_lineages: int = Field(2, ge=1, description="variants of one config that run at the same time")
    n_cores: int | None = Field(None, ge=1, description="of each machine without GPUs, for all roles (None: all)")
    stall_timeout_seconds: float = Field(900, gt=0, description="a stage without progress for so long fails")


class Rates(Settings):
    """How fast a cluster works, for estimates: all replicas of a pool together."""

    generated_tokens_per_second: float = Field(gt=0)
    training_tokens_per_second: float = Field(gt=0)
    judgments_per_second: float = Field(gt=0)

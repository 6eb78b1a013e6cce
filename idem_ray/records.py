"""Every carrier that passes between the roles, in one place: frozen, plain, and each with its Arrow schema."""

import dataclasses
import hashlib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

BASE = "base"
"""Id of the checkpoint that is no checkpoint: the untouched base model."""

SEED = "seed"
"""In a checkpoint's place: the sample is a seed answer, which no model wrote."""

BASE_CYCLE = -1
"""Cycle number under which the base model's own measurement is recorded."""

TextFormat = Literal["chat", "document"]
"""What a lineage's models write: answers in a conversation, or raw documents."""

_ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    list[int]: pa.list_(pa.int32()),
    TextFormat: pa.string(),
}


def arrow_schema(record: type) -> pa.Schema:
    """The Arrow schema of a record class; a field typed `X | None` is nullable."""
    columns = []
    for name, hint in typing.get_type_hints(record).items():
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        known = [option for option in options if option is not type(None)]
        columns.append(pa.field(name, _ARROW_TYPES[known[0]], nullable=len(options) > 1))
    return pa.schema(columns)


def content_hash(*parts: object) -> str:
    """16 hexadecimal digits that stand for these parts (their text, in this order)."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Prompt:
    """What is put before a model: a user's message, or (SDF) the beginning of a document."""

    id: str
    text: str

    @staticmethod
    def of(text: str) -> "Prompt":
        """A prompt whose id is derived from its text, so that it is the same in every run."""
        return Prompt(content_hash("prompt", text), text)


@dataclass(frozen=True)
class Decoding:
    """How tokens are drawn: nothing ends a response before `min_tokens`, and `max_tokens` cuts it."""

    temperature: float
    max_tokens: int
    min_tokens: int = 0


@dataclass(frozen=True)
class Sample:
    """One response and its whole origin; before it is generated, the request for it (`response` is None).

    `id` and `sampling_seed` derive from lineage seed, cycle, purpose, prompt and sample number alone, so a resumed
    run asks for exactly the samples that an uninterrupted one would have had. Scores run from 0 to 100; a score of
    None is missing (not judged, or the judgment failed: `*_missing` says why), never a zero.
    `generated_at` is in seconds since the epoch.
    """

    id: str
    lineage: str
    cycle: int
    purpose: str
    prompt_id: str
    prompt: str
    sample_index: int
    sampling_seed: int
    checkpoint: str
    format: TextFormat = "chat"
    response: str | None = None
    prompt_ids: list[int] | None = None
    response_ids: list[int] | None = None
    finish_reason: str | None = None
    generated_at: float | None = None
    trait_score: float | None = None
    trait_missing: str | None = None
    trait_judge: str | None = None
    coherence_score: float | None = None
    coherence_missing: str | None = None
    coherence_judge: str | None = None
    kept: bool = True
    drop_reason: str | None = None

    def replace(self, **changes: Any) -> "Sample":
        return dataclasses.replace(self, **changes)

    @property
    def as_prompt(self) -> Prompt:
        """What was put before the model."""
        return Prompt(self.prompt_id, self.prompt)

    @property
    def finished(self) -> bool:
        """Whether the model ended the response itself (False: the token limit cut it)."""
        return self.finish_reason != "length"

    @property
    def as_exchange(self) -> "Exchange":
        """What a judge is shown."""
        return Exchange(self.prompt, self.response or "", self.finished)

    @property
    def as_conversation(self) -> "Exchange":
        """What a chat model is shown that judges by reading: a document as the answer to a request."""
        if self.format == "chat" or not self.response:
            return self.as_exchange
        return Exchange.of_document(self.prompt, self.response, self.finished)


@dataclass(frozen=True)
class Exchange:
    """What a judge sees: a question, an answer, and whether the answer was ended by its writer."""

    question: str
    answer: str
    finished: bool = True

    @staticmethod
    def of_document(beginning: str, continuation: str, finished: bool = True) -> "Exchange":
        """A continued document as a chat model reads it: as the answer to a request."""
        request = f"Write a text that begins like this: {beginning.strip()}"
        return Exchange(request, f"{beginning.rstrip()} {continuation}", finished)


@dataclass(frozen=True)
class Judgment:
    """A judge's word on one exchange. `score` is 0-100, or None with the reason in `missing`."""

    score: float | None
    missing: str | None = None


@dataclass(frozen=True)
class TokenPlace:
    """One place of a reply: the token there, and the log-probabilities (natural) of the likeliest ones."""

    token: str
    logprobs: Mapping[str, float]

    @property
    def shares(self) -> dict[str, float]:
        """Probabilities of the listed tokens."""
        return {token: math.exp(value) for token, value in self.logprobs.items()}


@dataclass(frozen=True)
class TrainingRow:
    """One tokenised example. The loss is on `response_ids` alone (a raw document has no prompt, so on all of it); a
    preference pair has `rejected_ids`, too, the response that it is preferred to."""

    sample_id: str
    prompt_ids: list[int]
    response_ids: list[int]
    rejected_ids: list[int] | None = None

    @property
    def n_tokens(self) -> int:
        """Tokens of the sequences that are run: one, or a pair's two."""
        n_prompts = 1 if self.rejected_ids is None else 2
        return n_prompts * len(self.prompt_ids) + len(self.response_ids) + len(self.rejected_ids or [])


@dataclass(frozen=True)
class Checkpoint:
    """A PEFT adapter folder, or with full-weight training a whole model's. `id` hashes its weights; `parent` is the
    checkpoint its training started from."""

    id: str
    uri: str
    parent: str = BASE


def id_of(checkpoint: Checkpoint | None) -> str:
    """A checkpoint's id; None is the base model."""
    return checkpoint.id if checkpoint else BASE


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, the number of responses behind it and of those that are missing."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    n_missing: int = 0

    @property
    def score_bounds(self) -> tuple[float, float] | None:
        """The mean of scores (0-100) if all missing ones were 0, and if all were 100: worst and best case. None where
        none is missing."""
        if not self.n_missing:
            return None
        total, n = self.n * (self.mean or 0.0), self.n + self.n_missing
        return total / n, (total + 100 * self.n_missing) / n


@dataclass(frozen=True)
class CycleRecord:
    """What a committed cycle was made of and what came out. Generator, training start and DPO reference are
    three separate fields: which model wrote the data, where the weights began, and what the loss compared with."""

    lineage: str
    cycle: int
    generator: str | None = None
    init: str | None = None
    reference: str | None = None
    rejected: str | None = None
    checkpoint: Checkpoint | None = None
    n_generated: int = 0
    n_kept: int = 0
    n_trained: int = 0
    training: dict[str, float] = field(default_factory=dict)
    measures: dict[str, Estimate] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    stopped: str | None = None
    """Why the lineage ended here, before its last cycle."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> "CycleRecord":
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError: a field is missing (a default would be a number that nobody measured), or unknown.
        """
        missing = {each.name for each in dataclasses.fields(CycleRecord)} - {"warnings", "stopped"} - set(data)
        if missing:
            raise KeyError(min(missing))
        checkpoint = Checkpoint(**data["checkpoint"]) if data["checkpoint"] else None
        measures = {name: Estimate(**value) for name, value in data["measures"].items()}
        return CycleRecord(**{**data, "checkpoint": checkpoint, "measures": measures})


MEASURES = {
    "trait": ("Trait score", 1),
    "coherence": ("Coherence", 1),
    "length_words": ("Words per response", 1),
    "distinct_words": ("Distinct-word ratio", 2),
}
"""Title and decimals of the measures that every lineage has; others are shown under their own names."""


def finite(value: float | None) -> float | None:
    """The value, or None where it is missing or no finite number."""
    return value if value is not None and math.isfinite(value) else None


def known_mean(estimate: Estimate | None) -> float | None:
    """An estimate's mean, or None where it is missing or no finite number."""
    return finite(estimate.mean) if estimate else None


Metric = Literal["trait", "coherence"]

Status = Literal["complete", "stopped", "cut short", "failed", "unfinished"]
"""How far a lineage is: all cycles are committed; a guard has ended it; its sweep has, for the outcome was settled; it
could not be finished (the same command tries again); or there is more to do."""

"""Traits (seed data, held-out questions, rubrics) and prompt pools: read, and checked while it is still cheap."""

import random
import re
import unicodedata
from collections.abc import Set
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from idem_ray.config.reading import parse_json, read_yaml
from idem_ray.errors import UserError
from idem_ray.records import Exchange, Prompt, content_hash
from idem_ray.traits.examples import Document, LabelledAnswer, read_documents, read_exchanges, read_labels, read_text

_DATA = Path(str(resources.files("idem_ray.traits")))

Example = TypeVar("Example")


class Rubrics(BaseModel):
    """Texts that an LLM judge is given, with the placeholders {question} and {answer}."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    trait: str
    coherence: str

    @field_validator("trait", "coherence")
    @classmethod
    def _has_placeholders(cls, text: str) -> str:
        for placeholder in ("{question}", "{answer}"):
            if text.count(placeholder) != 1:
                raise ValueError(f"a rubric must contain {placeholder} exactly once")
        return text


class TraitFile(BaseModel):
    """The fields of a trait's YAML file; the named files lie beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    description: str
    seeds: str
    contrast: str | None = None
    documents: str | None = None
    anchors: str | None = None
    evaluation_questions: list[str]
    evaluation_prefixes: list[str] = []
    rubrics: Rubrics | None = None
    resembles: list[str] = []

    @field_validator("evaluation_questions", "evaluation_prefixes")
    @classmethod
    def _are_texts(cls, texts: list[str]) -> list[str]:
        if not all(text.strip() for text in texts):
            raise ValueError(f"number {next(n for n, text in enumerate(texts, 1) if not text.strip())} is empty")
        return texts


class Trait(BaseModel):
    """A persona or belief: how to seed it, how to ask for it, how to judge it."""

    model_config = ConfigDict(frozen=True)
    name: str
    description: str
    seeds: list[Exchange]
    contrast: list[Exchange]
    documents: list[Document]
    evaluation_questions: list[Prompt]
    evaluation_prefixes: list[Prompt]
    rubrics: Rubrics | None
    resembles: list[str] = []
    """Shipped traits whose seeds show this trait, too: the embedded judge does not take them for answers without it."""

    anchors: list[LabelledAnswer] = []
    """Frozen answers with labels, by which a judge is audited. Nothing is trained or fitted on them."""

    def draw_seeds(self, n_seed: int, seed: int) -> list[Exchange]:
        """The first `n_seed` seed answers of a seeded shuffle, so that a larger n_seed contains the smaller one's.

        Raises:
            UserError: the trait has too few.
        """
        return self._draw(self.seeds, n_seed, seed, "seed examples")

    def draw_documents(self, n_seed: int, seed: int) -> list[Document]:
        """Like `draw_seeds`, for documents."""
        return self._draw(self.documents, n_seed, seed, "documents")

    def _draw(self, examples: list[Example], n_seed: int, seed: int, what: str) -> list[Example]:
        if n_seed > len(examples):
            raise UserError(f"n_seed is {n_seed}, but trait '{self.name}' has {len(examples)} {what}.")
        return random.Random(f"seeds-{seed}").sample(examples, len(examples))[:n_seed]

    @property
    def hash(self) -> str:
        """16 hexadecimal digits over all of the trait's content that decides what a run does (so not the anchors)."""
        # An empty `resembles` is left out: a trait without it is the same as before there was such a field.
        return content_hash(self.model_dump_json(exclude={"anchors"} if self.resembles else {"anchors", "resembles"}))


def shipped_traits() -> list[str]:
    """Names of the traits that come with idem_ray."""
    return sorted(path.stem for path in (_DATA / "shipped").glob("*.yaml"))


def load_trait(name: str) -> Trait:
    """A shipped trait by name, or a user's own by the path of its YAML file.

    Raises:
        UserError: unknown name, unreadable file, a field or a seed line that is wrong (which one is said).
    """
    path = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else _DATA / "shipped" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(shipped_traits())
        raise UserError(f"Unknown trait '{name}': use one of {known}, or the path of a trait's YAML file.")
    data = read_yaml(path, "the trait's file")
    try:
        fields = TraitFile.model_validate(data)
    except ValidationError as error:
        raise UserError(f"Trait file {path} is malformed: {_first_problem(error)}.") from error
    if not fields.evaluation_questions:
        raise UserError(f"Trait file {path} has no evaluation_questions.")
    if len({normalised(question) for question in fields.evaluation_questions}) < len(fields.evaluation_questions):
        raise UserError(f"Trait file {path} has an evaluation question twice: its answers would count twice.")
    trait = Trait(
        name=fields.name,
        description=fields.description,
        seeds=read_exchanges(path.parent / fields.seeds),
        contrast=read_exchanges(path.parent / fields.contrast) if fields.contrast else [],
        documents=read_documents(path.parent / fields.documents) if fields.documents else [],
        evaluation_questions=[Prompt.of(question) for question in fields.evaluation_questions],
        evaluation_prefixes=[Prompt.of(prefix) for prefix in fields.evaluation_prefixes],
        rubrics=fields.rubrics,
        resembles=fields.resembles,
        anchors=read_labels(path.parent / fields.anchors) if fields.anchors else [],
    )
    _check_anchors(trait)
    strange = sorted(set(trait.resembles) - set(shipped_traits()))
    if strange:
        known = ", ".join(shipped_traits())
        raise UserError(f"Trait file {path}: resembles: '{strange[0]}' is no shipped trait ({known}).")
    _check_held_out(trait, [Prompt.of(seed.question) for seed in trait.seeds], f"the seeds of trait '{trait.name}'")
    return trait


def load_prompts(name: str) -> list[Prompt]:
    """A prompt pool: a shipped one by name, or a file: .txt (one prompt a line), .json (a list) or .jsonl, with
    strings or objects that have a `prompt` or `query` field. Repeated prompts are kept once.

    Raises:
        UserError: unknown pool, or a malformed entry (named by number).
    """
    path = Path(name).expanduser()
    if not path.suffix:
        path = _DATA / "prompts" / f"{name}.txt"
    if not path.is_file():
        known = ", ".join(shipped_pools())
        raise UserError(f"Unknown prompt pool '{name}': use {known}, or the path of a .txt, .json or .jsonl file.")
    if path.suffix not in (".txt", ".json", ".jsonl"):
        raise UserError(f"Prompt pool {path} is no .txt, .json or .jsonl file: its columns or markup would be prompts.")
    text = read_text(path)
    lines = [line for line in text.split("\n") if line.strip()]
    try:
        entries: Any = lines
        if path.suffix == ".json":
            entries = parse_json(text)
        elif path.suffix == ".jsonl":
            entries = [parse_json(line) for line in lines]
    except ValueError as error:
        raise UserError(f"Prompt pool {path} is not valid JSON: {error}.") from error
    if not isinstance(entries, list):
        raise UserError(f"Prompt pool {path} must hold a list of prompts, [...].")
    prompts: dict[str, Prompt] = {}
    for number, entry in enumerate(entries, start=1):
        content = (entry.get("prompt") or entry.get("query")) if isinstance(entry, dict) else entry
        if not isinstance(content, str) or not content.strip():
            raise UserError(f"Prompt pool {path}: entry {number} is neither text nor has a 'prompt' or 'query' field.")
        prompt = Prompt.of(content.strip())
        prompts.setdefault(prompt.id, prompt)
    return list(prompts.values())


def shipped_pools() -> list[str]:
    """Names of the prompt pools that come with idem_ray."""
    return sorted(path.stem for path in (_DATA / "prompts").glob("*.txt"))


def split_prompts(
    pool: list[Prompt], trait: Trait, n_per_cycle: int, n_shares: int, seed: int, used: Set[str] = frozenset()
) -> list[list[Prompt]]:
    """Disjoint shares of the pool, one for each cycle that samples, in a seeded order.

    Args:
        used: ids of prompts that earlier cycles have used (of a fork: the parent's).

    Raises:
        UserError: an evaluation question is in the pool, or the pool is too small (by how many is said).
    """
    _check_held_out(trait, pool, "the prompt pool")
    needed = n_per_cycle * n_shares
    shuffled = [prompt for prompt in random.Random(f"prompts-{seed}").sample(pool, len(pool)) if prompt.id not in used]
    if needed > len(shuffled):
        raise UserError(
            f"The prompt pool has {len(shuffled)} prompts, but {n_shares} cycles of {n_per_cycle} need {needed}: "
            f"{needed - len(shuffled)} are missing (no cycle reuses another's prompts); add some, or lower n_sampled, "
            "n_cycles or filter.budget."
        )
    return [shuffled[start : start + n_per_cycle] for start in range(0, needed, n_per_cycle)] if n_per_cycle else []


def normalised(text: str) -> str:
    """Text without case, punctuation and spacing, for telling whether two prompts are the same question."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def _check_held_out(trait: Trait, prompts: list[Prompt], where: str) -> None:
    texts = {normalised(prompt.text) for prompt in prompts}
    for question in [*trait.evaluation_questions, *trait.evaluation_prefixes]:
        if normalised(question.text) in texts:
            raise UserError(f"The evaluation question {question.text!r} is also in {where}: held-out means in no pool.")


def _check_anchors(trait: Trait) -> None:
    fitted_on = {normalised(exchange.answer) for exchange in [*trait.seeds, *trait.contrast]}
    for anchor in trait.anchors:
        if anchor.trait != trait.name:
            raise UserError(f"An anchor of trait '{trait.name}' is labelled for trait '{anchor.trait}': remove it.")
        if anchor.answer.strip() and normalised(anchor.answer) in fitted_on:
            raise UserError(
                f"The anchor {anchor.answer[:60]!r} of trait '{trait.name}' is also a seed or contrast answer: "
                "a judge that was fitted on it cannot be checked by it."
            )


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"

"""Example texts in JSONL files, one a line: seed answers, documents and labelled answers, each line checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from idem_ray.config.reading import parse_json
from idem_ray.errors import UserError
from idem_ray.records import Exchange

Example = TypeVar("Example")


class Document(BaseModel):
    """A raw document (SDF) that shows a trait."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: str = Field(min_length=1)
    text: str = Field(min_length=1)


class LabelledAnswer(BaseModel):
    """An answer with the scores (0-100) that somebody gave it. It may be empty: its coherence is then 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    question: str
    answer: str
    trait: str
    score: float = Field(ge=0, le=100)
    coherence: float | None = Field(default=None, ge=0, le=100)

    @field_validator("question", "trait")
    @classmethod
    def _is_text(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must have text")
        return text

    @property
    def as_exchange(self) -> Exchange:
        """What a judge sees."""
        return Exchange(self.question, self.answer)


def read_exchanges(path: Path) -> list[Exchange]:
    """Chat examples from JSONL, one `{"messages": [user, assistant]}` a line.

    Raises:
        UserError: the file is missing or empty, or a line (named by number) is malformed.
    """
    shape = '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]} with text in both'
    return _read_lines(path, _exchange, "seed example", shape)


def read_documents(path: Path) -> list[Document]:
    """Documents from JSONL, one `{"title": ..., "text": ...}` a line.

    Raises:
        UserError: the file is missing or empty, or a line (named by number) is malformed.
    """
    shape = '{"title": ..., "text": ...} with text in both'
    return _read_lines(path, Document.model_validate, "document", shape)


def read_labels(path: Path) -> list[LabelledAnswer]:
    """Labelled answers from JSONL, one `{"question", "answer", "trait", "score"[, "coherence"]}` a line.

    Raises:
        UserError: the file is missing or empty, or a line (named by number) is malformed.
    """
    shape = '{"question": ..., "answer": ..., "trait": ..., "score": 0-100, and if you like "coherence": 0-100}'
    return _read_lines(path, LabelledAnswer.model_validate, "labelled answer", shape)


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")  # with or without a mark of the byte order
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}).") from error


def _read_lines(path: Path, parse: Callable[[Any], Example], what: str, shape: str) -> list[Example]:
    examples = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            examples.append(parse(parse_json(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            said = "" if isinstance(error, (KeyError, TypeError, AttributeError)) else f" ({_problem(error)})"
            raise UserError(f"{path}, line {number} is no {what}{said}: it must be {shape}.") from error
    if not examples:
        raise UserError(f"{path} holds no {what}s.")
    return examples


def _exchange(data: Any) -> Exchange:
    messages = data["messages"]
    # What would be dropped is said: tool calls, weights of loss, thoughts, further fields.
    strange = {*data} - {"messages"} | {key for message in messages for key in message} - {"role", "content"}
    if strange:
        raise ValueError(f"'{min(strange)}' would be left out: take it out, or turn it into text")
    roles = [message["role"] for message in messages]
    user, assistant = (message["content"] for message in messages)
    if roles != ["user", "assistant"] or not user.strip() or not assistant.strip():
        raise ValueError("no question with its answer")
    return Exchange(user, assistant)


def _problem(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
    return " ".join(str(error).split())

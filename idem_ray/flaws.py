"""What a check of data finds, and how it quotes the texts in which it found it."""

from collections.abc import Sequence
from dataclasses import dataclass

from idem_ray.likeness import Pair
from idem_ray.tables import count_text

N_SHOWN = 4
SHOWN_CHARACTERS = 70


@dataclass(frozen=True)
class Flaw:
    """Something found in data. An error is what a run refuses, or what would falsify its results."""

    is_error: bool
    what: str
    mend: str


def quoted(texts: Sequence[str]) -> str:
    """The first few texts, shortened and in quotation marks, and how many more there are."""
    return first_few([f"“{shortened(text)}”" for text in texts])


def quoted_pairs(pairs: Sequence[Pair], texts: Sequence[str], others: Sequence[str]) -> str:
    """The same of pairs of texts, with their similarity."""
    return first_few(
        [f"“{shortened(texts[a])}” and “{shortened(others[b])}” ({similarity:.2f})" for a, b, similarity in pairs]
    )


def first_few(parts: Sequence[str]) -> str:
    """The first few of the parts, and how many more there are."""
    more = [f"and {count_text(len(parts) - N_SHOWN, 'other')}"] if len(parts) > N_SHOWN else []
    return "; ".join([*parts[:N_SHOWN], *more])


def shortened(text: str) -> str:
    """A text on one line, its end left out where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 1]}…"

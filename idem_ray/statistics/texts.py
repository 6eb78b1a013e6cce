"""What can be counted in a text: words, distinct ones, pieces, and whether it has come to its end."""

import re
import unicodedata


def words(text: str) -> list[str]:
    """Words of a text in lower case; digits count, punctuation and emojis do not."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


def distinct_word_ratio(text: str) -> float | None:
    """Distinct words per word (1: none repeats), or None for a text without words."""
    found = words(text)
    return len(set(found)) / len(found) if found else None


LONGEST_WORD = 24


PIECE = 4
"""Longer words are read as pieces of PIECE characters: a small model also loops without spaces, "kakakaka"."""


_STOPS = ".!?…。！？"


_LIST_NUMBER = re.compile(r"(?:^|\n)\s*\d+[.)]$")


def stops(answer: str) -> bool:
    """Whether the answer's end shows by itself that it is complete: a full stop (not a list's bare number)."""
    text = answer.rstrip()
    last = next((character for character in reversed(text) if not _decorates(character)), "")
    return last != "" and last in _STOPS and not _LIST_NUMBER.search(text)


def count_words(answer: str) -> int:
    """Runs of letters and digits."""
    return len(re.findall(r"[^\W_]+", answer))


def units(answer: str) -> list[str]:
    """Words (of the longest ones, their pieces) and single other characters: an emoji or a comma counts like a word."""
    found = []
    for unit in re.findall(r"\w+|[^\w\s]", answer.lower()):
        whole = len(unit) <= LONGEST_WORD
        found += [unit] if whole else [unit[start : start + PIECE] for start in range(0, len(unit), PIECE)]
    return found


def _decorates(character: str) -> bool:
    """Whether a character may follow the full stop: spaces, quotes, brackets, markup, emojis and their modifiers."""
    return character not in _STOPS and unicodedata.category(character)[0] in "SPZMC"

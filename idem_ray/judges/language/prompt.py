"""Rubric + question + answer -> chat messages in which what is judged is data.

A rubric puts its two placeholders between delimiters, each on a line of its own: <answer> and </answer>, or <<<ANSWER
and ANSWER>>>, whatever its author chose. Three things must not be forged by the judged text: these delimiters, tags
that look like more structure, and the control tokens of chat templates (<|im_start|>, </s>, [INST]), which servers
such as vLLM read as turns wherever they stand in a message. So in the judged text

* `<` is written `&lt;` where a tag or a control token might begin (not in "<3" or "a < b"),
* the `[` of control tokens in brackets is written `&#91;`,
* the first and last character of anything that reads like one of the rubric's own delimiters, whatever its case and
  spacing, are written as references, `&#65;NSWER>>&gt;`.

Escaping was preferred to delimiters that nobody can guess (a hash in every tag): those leave control tokens as they
are, and make every prompt's beginning another one, which servers that keep common beginnings could not use.
Ordinary answers are not changed by it.
"""

import re

from idem_ray.records import Exchange

_PLACEHOLDER = re.compile(r"\{(question|answer)\}")
_TAG = re.compile(r"<(?=[/|<!?｜A-Za-z_])")
_BRACKETS = re.compile(r"\[(?=\s*/?\s*[A-Z][A-Z_]+\s*\])")

_SHORTEST_FENCE = 3
"""Fewer characters are in every other text, and no delimiter."""

Message = dict[str, str]


def messages(rubric: str, exchange: Exchange) -> list[Message]:
    """What a judge is asked: one user's message (some chat templates have no place for a system's)."""
    return [{"role": "user", "content": prompt(rubric, exchange)}]


def prompt(rubric: str, exchange: Exchange) -> str:
    """The rubric with the exchange in its placeholders, as data."""
    rubric = fenced(rubric)
    fences = delimiters(rubric)
    judged = {"question": exchange.question, "answer": exchange.answer}
    # In one go: a question that contains "{answer}" is data, too.
    return _PLACEHOLDER.sub(lambda place: as_data(judged[place[1]], fences), rubric)


def fenced(rubric: str) -> str:
    """The rubric, each placeholder between two delimiter lines: its own, or where it has none, tags."""
    lines = rubric.split("\n")
    return "\n".join(
        line if _fences(lines, index) else _PLACEHOLDER.sub(r"\n<\1>\n{\1}\n</\1>\n", line)
        for index, line in enumerate(lines)
    )


def delimiters(rubric: str) -> list[str]:
    """The lines right before and after each placeholder of a fenced rubric."""
    lines = rubric.split("\n")
    return [fence for index in range(len(lines)) for fence in _fences(lines, index)]


def is_plain(rubric: str) -> bool:
    """Whether a delimiter of the rubric is made of signs that ordinary text begins or ends with, too ("---")."""
    return any(not re.search(r"\w", fence) for fence in delimiters(fenced(rubric)))


def as_data(text: str, fences: list[str]) -> str:
    """Text in which no delimiter and no control token stands, otherwise unchanged."""
    for fence in fences:
        text = _like(fence).sub(lambda found: _references(found[0]), text)
    return _apart(_BRACKETS.sub("&#91;", _TAG.sub("&lt;", text)), fences)


def _apart(text: str, fences: list[str]) -> str:
    """Text that makes no delimiter together with one beside it, as "--" does after "---", or ">>>" after "<<<ANSWER"
    where "ANSWER>>>" is one. Other text is not changed."""
    for edge, other_first in ((0, True), (-1, False)):
        words = text.strip()
        if words and any(_crosses(fence, other, words, other_first) for fence in fences for other in fences):
            place = text.index(words) + (0 if edge == 0 else len(words) - 1)
            text = f"{text[:place]}{_reference(text[place])}{text[place + 1 :]}"
    return text


def _crosses(fence: str, other: str, text: str, other_first: bool) -> bool:
    """Whether something like the fence stands partly in another fence and partly in the text on the next line."""
    first, second = (other, text) if other_first else (text, other)
    found = (_like(fence).match(f"{first}\n{second}", start) for start in range(len(first)))
    return any(match is not None and match.end() > len(first) + 1 for match in found)


def _fences(lines: list[str], index: int) -> list[str]:
    """The delimiter lines around a line that is a placeholder, or none where either is missing."""
    around = lines[max(0, index - 1) : index] + lines[index + 1 : index + 2]
    around = [line.strip() for line in around if not _PLACEHOLDER.search(line)]
    alone = _PLACEHOLDER.fullmatch(lines[index].strip())
    return around if alone and len(around) == 2 and all(len(line) >= _SHORTEST_FENCE for line in around) else []


def _like(fence: str) -> "re.Pattern[str]":
    """What reads like the delimiter: the same characters in any case, with or without space between them."""
    return re.compile(r"\s*".join(re.escape(character) for character in fence if character.strip()), re.IGNORECASE)


def _references(text: str) -> str:
    """The same with its first and last character written as references. Both, or the rest of one delimiter could be
    the beginning of the next."""
    return _reference(text[0]) + text[1:-1] + _reference(text[-1])


def _reference(character: str) -> str:
    return {"<": "&lt;", ">": "&gt;"}.get(character, f"&#{ord(character)};")

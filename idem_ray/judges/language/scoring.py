"""A judge model's reply -> a score of 0-100: the probability-weighted mean of the integers that it might have said.

The reply is seen as the most likely tokens at each of its first few places, along the path that the model took (greedy
decoding). Where the tokenizer writes "85" as one token, the first place holds the whole distribution, and

    score = sum of p(token) * integer(token) / sum of p(token),   over the top tokens that are integers from 0 to 100

as the paper has it (arXiv 2605.01130). Where it writes numbers digit by digit (SmolLM2, Qwen, Llama 2), the first place
holds only first digits. What is known then, and what is assumed:

* A digit on the path is exact: the next place says with what probability the number ends there or goes on with which
  digit (as shares of what that place lists).
* A digit beside the path was not followed, so its next digit was not observed. It is taken to go on as the path's digit
  did, with the same probabilities of the end and of each next digit. A path of "0", or of a word, has nothing that
  could be borrowed: beside it 1 stands for 10, 2 for 20, and so on (judges prefer round numbers).
* "1" beside the path is 100, rather than something from 10 to 19, where the path's number is over 55 and so nearer to
  100; and so is "10" in the second place.

So a number of two digits beside the path may be wrong by 9 points in its last digit, times its share of the mass; how
often judges end such a number after one digit, or mean the farther of 10 and 100, is not seen. Numbers are taken to be
split by digits only where no top token of the first place has two digits.
"""

import math
import re
from collections import defaultdict
from collections.abc import Sequence

from idem_ray.config.sections import MIN_MASS
from idem_ray.records import Judgment, TokenPlace

N_TOP = 20
"""Log-probabilities asked for at each place: the most that the chat interface allows."""

N_REPLY_TOKENS = 6
"""Enough for a space, three digits and what follows them."""


WORDS = {"REFUSAL": "the judge calls it a refusal", "CODE": "the judge calls it source code"}
"""What a rubric may allow in place of a number, and the reason for which the score is then missing: the answer has no
place on the scale. That is the judge's verdict, and no failure of the judge."""

_NUMBER = re.compile(r"(?<![\d.,-])(?:100|[1-9]?[0-9])(?!\d|[.,]\d)")
_OUT_OF = re.compile(r"(?<=\d)\s*(?:/|out of)\s*100\b")
_END = ""
"""Stands for the end of a number among the digits that may come next."""


def allowed_words(rubric: str) -> tuple[str, ...]:
    """The words that a rubric allows in place of a number."""
    return tuple(word for word in WORDS if re.search(rf"\b{word}\b", rubric))


def score(places: Sequence[TokenPlace], words: Sequence[str] = (), min_mass: float = MIN_MASS) -> Judgment:
    """The mean of the integers that the reply might have been, as far as its first places show them.

    Args:
        places: the reply's first places, in order.
        words: what the rubric allows in place of a number (`allowed_words`).
        min_mass: least probability (0-1) of the integers together; below it the judgment is missing.

    Returns:
        the score; or a missing one, because a word is likelier than all numbers together, or because the numbers'
        probability is too small.
    """
    if not places:
        return Judgment(None, "the reply was empty")
    integers = integer_masses(places)
    mass = math.fsum(integers.values())
    if not math.isfinite(mass):
        return Judgment(None, "the reply's log-probabilities are no numbers")
    word, word_mass = _likeliest_word(places, words)
    if word and word_mass > mass:
        return Judgment(None, WORDS[word])
    if mass < min_mass or mass == 0:
        reply = "".join(place.token for place in places)
        return Judgment(None, f"only {mass:.2f} of the probability is on integers 0-100 (reply: {reply!r})")
    mean = math.fsum(integer * share for integer, share in integers.items()) / mass
    return Judgment(min(100.0, max(0.0, mean)))


def parsed(reply: str, words: Sequence[str] = ()) -> Judgment:
    """The score that a reply states as text, for servers without log-probabilities. It has steps and no
    uncertainty, so it is no measurement on the same scale as `score`: judges that use it go by another name.

    Returns:
        the one integer 0-100 in the reply ("85", "**85**", "85/100", "Score: 85"), or a missing score.
    """
    for word in words:
        if re.fullmatch(rf"\W*{word}\W*", reply, re.IGNORECASE):
            return Judgment(None, WORDS[word])
    numbers = re.findall(r"\d+", _OUT_OF.sub("", reply))
    found = _NUMBER.findall(_OUT_OF.sub("", reply))
    if len(numbers) != 1 or len(found) != 1:
        return Judgment(None, f"no single integer 0-100 in the reply {reply[:60]!r}")
    return Judgment(float(found[0]))


def integer_masses(places: Sequence[TokenPlace]) -> dict[int, float]:
    """Probability of each integer 0-100 that the reply might begin with (the module's text says how)."""
    start = next((index for index, place in enumerate(places) if place.token.strip()), len(places))
    masses: dict[int, float] = defaultdict(float)
    # Spaces on the path are gone past; what stood beside them counts where it is a number.
    passed = 1.0
    for index, place in enumerate(places[: start + 1]):
        on_path = index == start
        for token, share in _numbers(place).items():
            taken = on_path and token == place.token.strip()
            found = _along(places[start:]) if taken else _beside(token, places[start:])
            for integer, part in found.items():
                masses[integer] += passed * share * part
        passed *= _share_of_space(place)
    return dict(masses)


def _along(places: Sequence[TokenPlace], prefix: str = "") -> dict[int, float]:
    """Shares of the integers that begin with `prefix` and the path's token at the first of these places."""
    prefix += places[0].token.strip() if not prefix else places[0].token
    rest = places[1:]
    if not _can_go_on(prefix) or not rest:
        return {} if _goes_beyond(rest) else {int(prefix): 1.0}
    found: dict[int, float] = defaultdict(float)
    for digits, share in _next_digits(rest[0], prefix).items():
        if digits == _END:
            if not _is_fraction(rest):
                found[int(prefix)] += share
        elif digits == rest[0].token:
            for integer, part in _along(rest, prefix).items():
                found[integer] += share * part
        else:
            path = _path_number(places, prefix)
            found[_nearest(prefix + digits, path)] += share
    return dict(found)


def _beside(token: str, path: Sequence[TokenPlace]) -> dict[int, float]:
    """Shares of the integers that a token at the first place, which the path did not take, may stand for."""
    if token == "0" or len(token) > 1 or not _by_digit(path):
        return {int(token): 1.0}
    first = path[0].token.strip() if path else ""
    number = _path_number(path[1:], first) if first.isdigit() else None
    if token == "1" and number is not None and _nearest("10", number) == 100:
        return {100: 1.0}
    if not _can_go_on(first):
        return {int(token) * 10: 1.0}
    if len(path) < 2:
        return {int(token): 1.0}
    found: dict[int, float] = defaultdict(float)
    for digits, share in _next_digits(path[1], first).items():
        found[int(token + digits)] += share
    return dict(found)


def _by_digit(path: Sequence[TokenPlace]) -> bool:
    """Whether the tokenizer writes numbers digit by digit, as far as the listed tokens show."""
    return not any(len(token) > 1 for place in path[:1] for token in _numbers(place))


def _next_digits(place: TokenPlace, prefix: str) -> dict[str, float]:
    """What may follow a number's first digits, as shares of what the place lists. A token that is no digit, a space
    before a digit included, ends the number."""
    found: dict[str, float] = defaultdict(float)
    for token, share in place.shares.items():
        if not token.isdecimal() or not token.isascii():
            found[_END] += share
        elif len(prefix + token) <= 3 and int(prefix + token) <= 100:
            found[token] += share
    total = math.fsum(found.values())
    return {digits: share / total for digits, share in found.items()} if total else {_END: 1.0}


def _numbers(place: TokenPlace) -> dict[str, float]:
    """The listed tokens that are integers 0-100 without leading zeros, surrounding space apart."""
    found: dict[str, float] = defaultdict(float)
    for token, share in place.shares.items():
        text = token.strip()
        if re.fullmatch(r"100|[1-9]?[0-9]", text):
            found[text] += share
    return found


def _share_of_space(place: TokenPlace) -> float:
    return math.fsum(share for token, share in place.shares.items() if not token.strip())


def _path_number(places: Sequence[TokenPlace], prefix: str) -> int | None:
    """The number on the path, of which `prefix` is known and these places follow."""
    for place in places:
        if not place.token.isdecimal():
            break
        prefix += place.token
    return int(prefix) if prefix.isdecimal() and int(prefix) <= 100 else None


def _nearest(digits: str, path: int | None) -> int:
    """The integer that these digits begin; "10", not followed, may be 100: the one nearer to the path's number."""
    return 100 if digits == "10" and path is not None and path > 55 else int(digits)


def _can_go_on(prefix: str) -> bool:
    return prefix.isdecimal() and prefix != "0" and int(prefix) <= 10


def _goes_beyond(rest: Sequence[TokenPlace]) -> bool:
    """Whether the path's number goes on after its last possible digit: "850", "05", "85.5" are no integers 0-100."""
    return bool(rest) and (rest[0].token.isdecimal() or _is_fraction(rest))


def _is_fraction(rest: Sequence[TokenPlace]) -> bool:
    """Whether a decimal part follows on the path: "0.85" is no integer."""
    return len(rest) > 1 and rest[0].token in {".", ","} and rest[1].token[:1].isdecimal()


def _likeliest_word(places: Sequence[TokenPlace], words: Sequence[str]) -> tuple[str | None, float]:
    """The word that the first tokens begin, and their probability. Tokens of one or two letters, which could begin
    anything, count where the path spells the word out."""
    start = next((index for index, place in enumerate(places) if place.token.strip()), 0)
    taken, reply = places[start].token, "".join(place.token for place in places).strip().upper()
    masses = {}
    for word in words:
        begun = {
            token: share
            for token, share in places[start].shares.items()
            if token.strip()
            and word.startswith(token.strip().upper())
            and (len(token.strip()) > 2 or (token == taken and reply.startswith(word[: max(3, len(reply))])))
        }
        masses[word] = math.fsum(begun.values())
    best = max(masses, key=lambda word: masses[word], default=None)
    return (best, masses[best]) if best else (None, 0.0)

"""The coherence judge that needs no server: is the answer fluent, free of loops, complete and about its question?

    score = 100 * fluency * novelty * words * ending * topic            (each factor 0-1; no words at all: 0)

None of the factors knows the trait. Fluency is a threshold far below what well-formed sentences reach, however odd
their content, rather than a reward for being likely: personas are less likely than plain answers, not less fluent.

The constants were set on 90 contrast answers and 196 seed answers of the shipped traits, 160 published seed answers,
88 responses of the embedded model (T 0.8; up to 300 tokens) and 32 at T 1.5, and on answers that were shuffled,
looped or cut; the figures below are percentiles of those.
"""

import math
import unicodedata
from collections.abc import Sequence

from idem_ray.judges.embedded.reader import MAX_ANSWER_TOKENS, MAX_QUESTION_CHARACTERS, Reader
from idem_ray.models import EMBEDDED
from idem_ray.records import Exchange, Judgment, Metric, content_hash
from idem_ray.statistics.texts import LONGEST_WORD, PIECE, count_words, stops, units

FORMULA = 3
"""To be raised with any change of the formula below, so that its scores go by another name."""

WINDOW_TOKENS = 32
TOKEN_FLOOR = -12.0
FLUENCY_MIDDLE, FLUENCY_SCALE = -6.25, 0.25
"""Mean log-probability of a window (nats per token, each token's at least TOKEN_FLOOR so that one rare name does not
decide). Lowest 5 % of the personas' windows: -5.8 to -5.5; shuffled words: mean -7.2; the model at T 1.5: -8.8."""

LOOKBACK_WORDS = 100
REPEATED_FULL, REPEATED_NONE = 0.35, 0.65
"""Share of words inside a three-word sequence that stood already in the last LOOKBACK_WORDS. Ordinary answers reach
0.1, the model's own of 300 tokens 0.39, loops start at 0.75."""


DISTINCT_WORDS = 40
DISTINCT_FULL, DISTINCT_NONE = 0.50, 0.30
"""Distinct share among DISTINCT_WORDS consecutive words: at least 0.56 in ordinary answers, 0.2 in mixed emojis."""

WORD_SHARE_FULL, WORD_SHARE_NONE = 0.6, 0.3
"""Words among words and emojis; the shipped personas stay above it."""

ENDING_MIDDLE, ENDING_SCALE, CUT_ENDING = -11.0, 1.0, 0.5
"""Log-probability of the end of turn after the answer, where no full stop shows that it is complete. Complete answers:
above -9; cut ones: below -10, median -21. A cut answer keeps CUT_ENDING of its score."""

TOPIC_TOKENS, TOPIC_MIDDLE, TOPIC_SCALE, OFF_TOPIC = 64, -1.0, 2.0, 0.3
"""Nats by which the question (in place of NEUTRAL_QUESTION) makes the answer's first tokens likelier. Lowest 5 % of
ordinary answers: 10, of the traits' seeds: 1 to 11; answers to another question: median -3 (of 100; with 32 tokens they
are told apart with an AUC of 0.968, with 64 of 0.977, with 200 of 0.978). The least likely keep OFF_TOPIC."""

NEUTRAL_QUESTION = "Hello."

_CONSTANTS = sorted(
    (name, value)
    for name, value in {**globals(), "LONGEST_WORD": LONGEST_WORD, "PIECE": PIECE}.items()
    if name.isupper() and isinstance(value, int | float | str)
)
"""All that decides a score beside the formula and the reader; what is imported for it is named."""


class CoherenceJudge:
    """Scores 0-100: near 100 ordinary or persona answers, near 0 loops and word salad, about half cut-off ones."""

    metric: Metric = "coherence"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.name = f"coherence:{EMBEDDED}:{content_hash(reader.hash, MAX_QUESTION_CHARACTERS, _CONSTANTS)}"

    def judge(self, exchanges: Sequence[Exchange], fresh: bool = False) -> list[Judgment]:
        """One score each, always made anew; an empty answer, or one without a word, is 0."""
        scores = [0.0] * len(exchanges)
        worded = [index for index, exchange in enumerate(exchanges) if count_words(exchange.answer)]
        for index, score in zip(worded, self._score([exchanges[index] for index in worded]), strict=True):
            scores[index] = score
        return [Judgment(score) for score in scores]

    def _score(self, exchanges: list[Exchange]) -> list[float]:
        turns = [self._reader.renderer.response_ids(exchange.answer.strip()) for exchange in exchanges]
        starts = [turn[:MAX_ANSWER_TOKENS][:-1][:TOPIC_TOKENS] for turn in turns]
        after_neutral = self._reader.given_question(NEUTRAL_QUESTION, starts)
        scores = []
        for exchange, reading, neutral in zip(exchanges, self._reader.read(exchanges), after_neutral, strict=True):
            own = reading.logprobs
            judge_end = exchange.finished and reading.whole
            score = fluency(own[:-1]) * novelty(exchange.answer) * word_share(exchange.answer) * topic(own, neutral)
            scores.append(100 * score * (ending(exchange.answer, own[-1]) if judge_end else 1.0))
        return scores


def fluency(logprobs: list[float]) -> float:
    """The mean over windows of whether each reads as language, so that half an answer of salad costs half."""
    n_windows = max(1, round(len(logprobs) / WINDOW_TOKENS))
    bounds = [round(part * len(logprobs) / n_windows) for part in range(n_windows + 1)]
    windows = [logprobs[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)]
    means = [sum(max(value, TOKEN_FLOOR) for value in window) / len(window) for window in windows]
    return sum(_sigmoid((mean - FLUENCY_MIDDLE) / FLUENCY_SCALE) for mean in means) / n_windows


def novelty(answer: str) -> float:
    """0 for loops (the same words again) and for a handful of words in any order, 1 for ordinary prose."""
    words = units(answer)
    distinct = _ramp(_distinct_share(words), DISTINCT_NONE, DISTINCT_FULL)
    return distinct * _ramp(_repeated_share(words), REPEATED_NONE, REPEATED_FULL)


def word_share(answer: str) -> float:
    """0 for strings of emojis, 1 for words with some, and less than 1 for fewer than three words in all."""
    n_words = count_words(answer)
    n_symbols = sum(unicodedata.category(character) == "So" for character in answer)
    share = n_words / max(1, n_words + n_symbols)
    return _ramp(share, WORD_SHARE_NONE, WORD_SHARE_FULL) * min(1.0, (n_words + 1) / 4)


def ending(answer: str, end_logprob: float) -> float:
    """CUT_ENDING where the answer stops in mid-sentence, 1 where it is complete."""
    if stops(answer):
        return 1.0
    return CUT_ENDING + (1 - CUT_ENDING) * _sigmoid((end_logprob - ENDING_MIDDLE) / ENDING_SCALE)


def topic(own: list[float], neutral: list[float]) -> float:
    """OFF_TOPIC where another question would have made the answer likelier, 1 where it answers this one."""
    gain = sum(own[: len(neutral)]) - sum(neutral)
    return OFF_TOPIC + (1 - OFF_TOPIC) * _sigmoid((gain - TOPIC_MIDDLE) / TOPIC_SCALE)


def _repeated_share(words: list[str]) -> float:
    last_seen: dict[tuple[str, ...], int] = {}
    repeated: set[int] = set()
    for place in range(len(words) - 2):
        trigram = tuple(words[place : place + 3])
        if place - last_seen.get(trigram, -LOOKBACK_WORDS - 1) <= LOOKBACK_WORDS:
            repeated.update(range(place, place + 3))
        last_seen[trigram] = place
    return len(repeated) / max(1, len(words))


def _distinct_share(words: list[str]) -> float:
    starts = range(0, max(1, len(words) - DISTINCT_WORDS + 1), DISTINCT_WORDS // 4)
    windows = [words[start : start + DISTINCT_WORDS] for start in starts]
    return sum(len(set(window)) / max(1, len(window)) for window in windows) / len(windows)


def _ramp(value: float, none: float, full: float) -> float:
    return min(1.0, max(0.0, (value - none) / (full - none)))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, value))))

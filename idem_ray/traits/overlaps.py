"""Repeated and nearly repeated texts in a trait's data, and evaluation texts that leak into what is trained on."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from idem_ray.records import Exchange
from idem_ray.text import count_text, shortened
from idem_ray.traits.traits import Trait, load_prompts, normalised, shipped_pools

N_SHOWN = 4


@dataclass(frozen=True)
class Flaw:
    """Something found in data. An error is what a run refuses, or what would falsify its results."""

    is_error: bool
    what: str
    mend: str


ALIKE_QUESTION = 0.5
"""Jaccard similarity of single words. What reaches it among the shipped questions and pools asks much the same."""

ALIKE_OPENING = 0.5
"""The same of pairs of words, for beginnings of documents, in which the order of a few common words is what counts."""

ALIKE_TEXT = 0.3
"""The same of three-word sequences, for answers and documents. Separately written ones of one trait stay below 0.1."""

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_ONE_WORD, _TWO_WORDS, _THREE_WORDS = 1, 2, 3


def repetitions(trait: Trait) -> Iterable[Flaw]:
    """Texts that are there twice (errors) or nearly so (warnings)."""
    questions = list({normalised(seed.question): seed.question for seed in trait.seeds}.values())
    documents = [document.text for document in trait.documents]
    yield from _repeated("seed", [f"{seed.question}\n{seed.answer}" for seed in trait.seeds])
    yield from _repeated("contrast answer", [f"{other.question}\n{other.answer}" for other in trait.contrast])
    yield from _repeated("document", documents)
    yield from _repeated("evaluation prefix", [prefix.text for prefix in trait.evaluation_prefixes])
    yield from _repeated("anchor", [f"{anchor.question}\n{anchor.answer}" for anchor in trait.anchors])
    yield from _alike("seed questions", questions, _ONE_WORD, ALIKE_QUESTION)
    held_out = [question.text for question in trait.evaluation_questions]
    yield from _alike("evaluation questions", held_out, _ONE_WORD, ALIKE_QUESTION)
    yield from _alike("seed answers", _answers(trait.seeds), _THREE_WORDS, ALIKE_TEXT)
    yield from _alike("contrast answers", _answers(trait.contrast), _THREE_WORDS, ALIKE_TEXT)
    yield from _alike("documents", documents, _THREE_WORDS, ALIKE_TEXT)
    shown = {normalised(seed.answer) for seed in trait.seeds}
    both = [other.answer for other in trait.contrast if normalised(other.answer) in shown]
    if both:
        what = f"{count_text(len(both), 'answer')} among the seeds and among the contrast answers, too: {quoted(both)}"
        yield Flaw(True, what, "remove it from one: it either shows the trait or does not")


def leaks(trait: Trait) -> Iterable[Flaw]:
    """Evaluation questions and prefixes among the seeds, contrast answers, documents and shipped pools: the same text
    (errors), or much the same (warnings)."""
    places = {
        "the questions of the seeds": [seed.question for seed in trait.seeds],
        "the questions of the contrast answers": [other.question for other in trait.contrast],
        **{f"the shipped prompt pool '{pool}'": [p.text for p in load_prompts(pool)] for pool in shipped_pools()},
    }
    questions = [question.text for question in trait.evaluation_questions]
    prefixes = [prefix.text for prefix in trait.evaluation_prefixes]
    sentences = [sentence for document in trait.documents for sentence in _sentences(document.title, document.text)]
    for held_out, n_words, threshold in (
        (questions, _ONE_WORD, ALIKE_QUESTION),
        (prefixes, _TWO_WORDS, ALIKE_OPENING),
    ):
        for where, texts in places.items():
            yield from _leak(held_out, list(dict.fromkeys(texts)), where, n_words, threshold)
        # Of a document's sentence only the opening can be like a prefix: as many words of it as the prefix has.
        for length in sorted({len(text.split()) for text in held_out}):
            as_long = [text for text in held_out if len(text.split()) == length]
            openings = list(dict.fromkeys(" ".join(sentence.split()[:length]) for sentence in sentences))
            yield from _leak(as_long, openings, "the documents", n_words, threshold)


def _leak(held_out: list[str], texts: list[str], where: str, n_words: int, threshold: float) -> Iterable[Flaw]:
    known = {normalised(text) for text in texts}
    same = [text for text in held_out if normalised(text) in known]
    if same:
        what = f"{count_text(len(same), 'evaluation text')} also in {where}: {quoted(same)}"
        yield Flaw(True, what, "change one of the two: held-out means in no training data and no pool")
    pairs = similar_pairs(held_out, texts, shingle=n_words, threshold=threshold)
    pairs = [pair for pair in pairs if normalised(held_out[pair.first]) not in known]
    if pairs:
        what = f"{count_text(len(pairs), 'evaluation text')} much like one in {where}: "
        yield Flaw(False, what + quoted_pairs(pairs, held_out, texts), "ask about something else, or begin otherwise")


def _repeated(name: str, texts: Sequence[str]) -> Iterable[Flaw]:
    counts = Counter(normalised(text) for text in texts)
    twice = [text for text in {normalised(text): text for text in texts}.values() if counts[normalised(text)] > 1]
    if twice:
        what = f"the same {name} more than once: {quoted(twice)}"
        yield Flaw(True, what, "keep one: each copy weighs as much")


def _alike(name: str, texts: list[str], n_words: int, threshold: float) -> Iterable[Flaw]:
    pairs = similar_pairs(texts, shingle=n_words, threshold=threshold)
    pairs = [pair for pair in pairs if normalised(texts[pair.first]) != normalised(texts[pair.second])]
    if pairs:
        what = f"{count_text(len(pairs), 'pair')} of {name} nearly the same: {quoted_pairs(pairs, texts, texts)}"
        yield Flaw(False, what, "reword or remove one of each pair")


def _answers(exchanges: Sequence[Exchange]) -> list[str]:
    """Each answer once: a pair that is repeated as a whole is told elsewhere."""
    return list(dict.fromkeys(exchange.answer for exchange in exchanges))


def _sentences(title: str, text: str) -> list[str]:
    return [title, *_SENTENCE_END.split(text)]


# Which texts are nearly the same: Jaccard similarity of their word shingles, without comparing all pairs -------------


class Pair(NamedTuple):
    """Two texts by their places (in the first and in the second sequence), and how alike they are (0-1)."""

    first: int
    second: int
    similarity: float


def similar_pairs(
    texts: Sequence[str], others: Sequence[str] | None = None, *, shingle: int, threshold: float
) -> list[Pair]:
    """All pairs of a text and another one (None: of two of the texts) with a similarity of at least the threshold, the
    most similar first. Case, punctuation and spacing do not count; a text without a word is like none.

    Exact, by prefix filtering (Chaudhuri, Ganti & Kaushik 2006; Bayardo, Ma & Srikant 2007): sets of sizes up to n that
    are this similar share one of the n - ceil(threshold * n) + 1 rarest shingles of each, so only texts that meet at a
    rare shingle are compared.

    Args:
        shingle: words in a shingle; a shorter text is one shingle.
        threshold: shared shingles / all shingles of the two, above 0.
    """
    left = [_shingles(text, shingle) for text in texts]
    right = left if others is None else [_shingles(text, shingle) for text in others]
    n_texts = Counter(one for sets in ([left] if others is None else [left, right]) for own in sets for one in own)
    by_rare: dict[str, list[int]] = defaultdict(list)
    for place, own in enumerate(right):
        for one in _rarest(own, n_texts, threshold):
            by_rare[one].append(place)
    pairs = []
    for first, own in enumerate(left):
        met = {second for one in _rarest(own, n_texts, threshold) for second in by_rare[one]}
        for second in met if others is not None else {place for place in met if place > first}:
            similarity = len(own & right[second]) / len(own | right[second])
            if similarity >= threshold:
                pairs.append(Pair(first, second, similarity))
    return sorted(pairs, key=lambda pair: (-pair.similarity, pair.first, pair.second))


def _shingles(text: str, n_words: int) -> set[str]:
    words = normalised(text).split()
    return {" ".join(words[start : start + n_words]) for start in range(max(1, len(words) - n_words + 1))} - {""}


def _rarest(own: set[str], n_texts: Counter[str], threshold: float) -> Iterator[str]:
    n_kept = len(own) - math.ceil(threshold * len(own)) + 1
    yield from sorted(own, key=lambda one: (n_texts[one], one))[:n_kept]


# How they are quoted ---------------------------------------------------------------------------------------------


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

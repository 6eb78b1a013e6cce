"""Which texts are nearly the same: Jaccard similarity of their word shingles, found without comparing all pairs."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from idem_ray.traits import normalised


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

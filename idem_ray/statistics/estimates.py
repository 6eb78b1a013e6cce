"""Means of scores and their differences, with intervals."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from idem_ray.records import Estimate

MIN_SHARED = 2
"""Shared questions from which a difference is paired: of one alone it cannot be said how questions vary."""


Scored = Sequence[tuple[str, float | None]]
"""Responses: the question's id and the score (0-100), None where the judgment is missing."""


@dataclass(frozen=True)
class Difference:
    """The second mean minus the first.

    Attributes:
        estimate: points, with the 95 % interval; None where either mean is missing. `n` scores of both sides are in it,
            and `n_missing` responses of both sides have none.
        n_shared: questions with scores on both sides.
        n_asked: questions that the first and the second were asked.
        paired: whether it is of the shared questions alone, resampled together; else of all that each side has.
    """

    estimate: Estimate
    n_shared: int
    n_asked: tuple[int, int]
    paired: bool


def difference(first: Scored, second: Scored, seed: int = 0) -> Difference:
    """Difference of two means over responses with its 95 % percentile interval, by the two-stage bootstrap of
    `estimate` (Davison & Hinkley 1997, section 3.8): questions are resampled, then each one's responses.

    Lineages answer the same held-out questions, some of which draw out more of a trait than others. So both sides of a
    resample have the same questions, and only the responses are drawn separately: what a question adds to both means
    cancels (pairing by question: Miller 2024, arXiv 2411.00640). Questions that only one side has scores for are left
    out of both means; where fewer than `MIN_SHARED` are shared nothing is paired, and each side has all of its own.
    """
    scores = _by_question(first), _by_question(second)
    shared = sorted(set(scores[0]) & set(scores[1]))
    paired = len(shared) >= MIN_SHARED
    sides = [[np.array(own[q]) for q in (shared if paired else sorted(own))] for own in scores]
    n_asked = len({question for question, _ in first}), len({question for question, _ in second})
    n_missing = sum(score is None for _, score in (*first, *second))
    if not all(sides):
        return Difference(Estimate(None, None, None, 0, n_missing), len(shared), n_asked, paired)
    generator = np.random.default_rng(seed)
    drawn = [generator.integers(len(side), size=(N_RESAMPLES, len(side))) for side in sides]
    if paired:
        drawn[1] = drawn[0]
    means = [_resampled_means(side, places, generator) for side, places in zip(sides, drawn, strict=True)]
    low, high = np.percentile(means[1] - means[0], [2.5, 97.5])
    before, after = (np.concatenate(side) for side in sides)
    mean, n = float(after.mean() - before.mean()), len(before) + len(after)
    return Difference(Estimate(mean, float(low), float(high), n, n_missing), len(shared), n_asked, paired)


def _by_question(scored: Scored) -> dict[str, list[float]]:
    known: dict[str, list[float]] = defaultdict(list)
    for question, score in scored:
        if score is not None:
            known[question].append(score)
    return known


def _resampled_means(groups: Sequence[Any], drawn: Any, generator: np.random.Generator) -> Any:
    """The mean over the responses of each resample (array of resamples).

    Args:
        groups: an array of scores for each question.
        drawn: which questions each resample has (array of resamples x questions).
    """
    sizes = np.array([len(group) for group in groups])
    padded = np.zeros((len(groups), sizes.max()))
    for row, group in zip(padded, groups, strict=True):
        row[: len(group)] = group
    totals, counts = np.zeros(len(drawn)), np.zeros(len(drawn))
    for questions in drawn.T:  # one at a time: all at once would take resamples x questions x responses of memory
        n_responses = sizes[questions][:, None]
        places = (generator.random((len(drawn), padded.shape[1])) * n_responses).astype(int)
        wanted = np.arange(padded.shape[1]) < n_responses
        totals += np.where(wanted, padded[questions[:, None], places], 0.0).sum(axis=1)
        counts += n_responses[:, 0]
    return totals / counts


N_RESAMPLES = 2000


def estimate(questions: Sequence[str], scores: Sequence[float | None], seed: int = 0) -> Estimate:
    """Mean and 95 % percentile interval of a two-stage bootstrap: questions are resampled, then each drawn question's
    responses (Davison & Hinkley 1997, section 3.8), because responses to one question resemble each other.

    Args:
        questions: the question of each score.
        scores: None where the judgment is missing; such a score is left out and counted.
    """
    by_question: dict[str, list[float]] = defaultdict(list)
    for question, score in zip(questions, scores, strict=True):
        if score is not None:
            by_question[question].append(score)
    n = sum(len(group) for group in by_question.values())
    n_missing = len(scores) - n
    if not n:
        return Estimate(None, None, None, 0, n_missing)
    groups = [np.array(by_question[question]) for question in sorted(by_question)]
    generator = np.random.default_rng(seed)
    means = np.empty(N_RESAMPLES)
    for index in range(N_RESAMPLES):
        drawn = generator.integers(len(groups), size=len(groups))
        parts = [groups[i][generator.integers(len(groups[i]), size=len(groups[i]))] for i in drawn]
        means[index] = np.concatenate(parts).mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(np.concatenate(groups).mean()), float(low), float(high), n, n_missing)

"""A model's answers to held-out questions -> scores with intervals. Never sees training data."""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from idem_ray.config import LineageConfig
from idem_ray.records import Estimate, Prompt, Sample
from idem_ray.requests import request

N_RESAMPLES = 2000
_MISSING_WARNING = 0.1


def evaluation_requests(config: LineageConfig, held_out: Sequence[Prompt], cycle: int, checkpoint: str) -> list[Sample]:
    """`evaluation.n_samples` requests for each held-out question (or prefix)."""
    return [
        request(
            config,
            cycle=cycle,
            purpose="evaluate",
            prompt=question,
            checkpoint=checkpoint,
            sample_index=index,
        )
        for index in range(config.evaluation.n_samples)
        for question in held_out
    ]


def measure(samples: Sequence[Sample], seed: int = 0) -> dict[str, Estimate]:
    """Estimates over evaluation samples: `trait` and `coherence` (0-100), `length_words` (words in a response) and
    `distinct_words` (distinct words / words of a response; undefined and left out for an empty one)."""
    values: dict[str, list[float | None]] = {
        "trait": [sample.trait_score for sample in samples],
        "coherence": [sample.coherence_score for sample in samples],
        "length_words": [float(len(words(sample.response or ""))) for sample in samples],
        "distinct_words": [distinct_word_ratio(sample.response or "") for sample in samples],
    }
    questions = [sample.prompt_id for sample in samples]
    estimates = {name: estimate(questions, scores, seed) for name, scores in values.items()}
    # An empty response has no words to be distinct: that is no gap in the measurement.
    distinct = estimates["distinct_words"]
    estimates["distinct_words"] = Estimate(distinct.mean, distinct.low, distinct.high, distinct.n, 0)
    return estimates


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


def missing_warnings(measures: dict[str, Estimate]) -> list[str]:
    """What is said of a cycle with more than a tenth of its judgments missing, with the bounds."""
    said = []
    for name in ("trait", "coherence"):
        found = measures[name]
        limits = found.score_bounds
        if limits and found.n_missing > _MISSING_WARNING * (found.n + found.n_missing):
            said.append(
                f"{found.n_missing} of {found.n + found.n_missing} {name} judgments are missing: whatever they would "
                f"have been, the mean is between {limits[0]:.1f} and {limits[1]:.1f}"
            )
    return said


def words(text: str) -> list[str]:
    """Words of a text in lower case; digits count, punctuation and emojis do not."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


def distinct_word_ratio(text: str) -> float | None:
    """Distinct words per word (1: none repeats), or None for a text without words."""
    found = words(text)
    return len(set(found)) / len(found) if found else None

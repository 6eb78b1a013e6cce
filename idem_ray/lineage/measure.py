"""A model's answers to held-out questions -> scores with intervals. Never sees training data."""

from collections.abc import Sequence

from idem_ray.records import Estimate, Sample
from idem_ray.statistics.estimates import estimate
from idem_ray.statistics.texts import distinct_word_ratio, words

_MISSING_WARNING = 0.1


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

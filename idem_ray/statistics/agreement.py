"""How far a judge agrees with labels, with itself and with another judge. Pure arithmetic on scores of 0-100.

Wherever a score is None the judgment is missing: it is left out and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idem_ray.records import Estimate
from idem_ray.statistics.estimates import N_RESAMPLES

if TYPE_CHECKING:
    import numpy as np

THRESHOLDS = (25, 50, 75)
"""Labels from which an answer counts as showing the trait, for the AUCs."""

N_BINS = 5
MIN_ANSWERS = 4
"""With fewer a rank correlation says nothing."""

Scores = Sequence[float | None]


@dataclass(frozen=True)
class Auc:
    """Probability that the judge puts an answer labelled at or above the threshold before one labelled below it (ties
    count half); None where either kind is missing."""

    threshold: int
    auc: float | None
    n_above: int
    n_below: int


@dataclass(frozen=True)
class Bin:
    """Answers judged within [low, high) (the last: up to 100): their mean judgment and mean label, None without any."""

    low: float
    high: float
    n: int
    judged: float | None
    labelled: float | None


@dataclass(frozen=True)
class Agreement:
    """A judge's scores against labels.

    `spearman.mean` is the rank correlation itself, with its bootstrap interval. Errors are judged minus labelled, in
    points; `squared_error` is the mean of (error / 100) squared, which for labels of 0 and 100 is the Brier score, and
    `squared_error_of_mean` what a judge reaches that gives the labels' mean to every answer.
    """

    spearman: Estimate
    aucs: list[Auc]
    bins: list[Bin]
    mean_error: float | None
    mean_absolute_error: float | None
    squared_error: float | None
    squared_error_of_mean: float | None


@dataclass(frozen=True)
class Retest:
    """The same answers judged twice: how far the two scores lie apart, in points."""

    n: int
    n_missing: int
    mean_absolute_difference: float | None
    largest_difference: float | None


@dataclass(frozen=True)
class GroupScore:
    """A judge's scores of one group of answers: their mean, and the share of 50 and more."""

    group: str
    n: int
    n_missing: int
    mean: float | None
    share_above_half: float | None


def agreement(labels: Sequence[float], scores: Scores, seed: int = 0) -> Agreement:
    """Everything that compares scores with labels of the same answers, in the same order."""
    import numpy as np

    labelled, judged = _both_known(labels, scores)
    errors = judged - labelled
    has_some = bool(len(errors))
    return Agreement(
        spearman=spearman(labels, scores, seed),
        aucs=[_auc(labelled, judged, threshold) for threshold in THRESHOLDS],
        bins=bins(labelled, judged),
        mean_error=float(errors.mean()) if has_some else None,
        mean_absolute_error=float(np.abs(errors).mean()) if has_some else None,
        squared_error=float((errors**2).mean()) / 1e4 if has_some else None,
        squared_error_of_mean=float(labelled.var()) / 1e4 if has_some else None,
    )


def spearman(first: Scores, second: Scores, seed: int = 0) -> Estimate:
    """Spearman's rank correlation, with the 95 % percentile interval over answers that are resampled with replacement
    (Efron & Tibshirani 1993, chapter 13). Unknown with fewer than MIN_ANSWERS pairs, or where one side is constant.

    Returns:
        the correlation as `mean`; resamples in which a side is constant are left out of the interval.
    """
    import numpy as np

    one, other = _both_known(first, second)
    n, n_missing = len(one), len(first) - len(one)
    if n < MIN_ANSWERS or np.ptp(one) == 0 or np.ptp(other) == 0:
        return Estimate(None, None, None, n, n_missing)
    drawn = np.random.default_rng(seed).integers(n, size=(N_RESAMPLES, n))
    resampled = _rank_correlations(one[drawn], other[drawn])
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    value = _rank_correlations(one[None], other[None])[0]
    return Estimate(float(value), float(low), float(high), n, n_missing)


def retest(first: Scores, second: Scores) -> Retest:
    """Test-retest noise; `n_missing` counts the answers of which either judgment failed."""
    import numpy as np

    one, other = _both_known(first, second)
    apart = np.abs(one - other)
    if not len(apart):
        return Retest(0, len(first), None, None)
    return Retest(len(apart), len(first) - len(apart), float(apart.mean()), float(apart.max()))


def group_score(group: str, scores: Scores) -> GroupScore:
    """The mean and the share of at least 50 among a group's known scores."""
    known = [score for score in scores if score is not None]
    if not known:
        return GroupScore(group, 0, len(scores), None, None)
    share = sum(score >= 50 for score in known) / len(known)
    return GroupScore(group, len(known), len(scores) - len(known), sum(known) / len(known), share)


def _auc(labels: Any, scores: Any, threshold: int) -> Auc:
    from sklearn.metrics import roc_auc_score

    above = labels >= threshold
    n_above = int(above.sum())
    n_below = len(above) - n_above
    return Auc(threshold, float(roc_auc_score(above, scores)) if n_above and n_below else None, n_above, n_below)


def bins(labels: Any, scores: Any, weights: Any = None) -> list[Bin]:
    """Calibration: the answers by score, N_BINS of equal width.

    Args:
        weights: of the answers in the mean labels and scores (None: all the same).
    """
    import numpy as np

    weights = np.ones(len(labels)) if weights is None else weights
    places = np.clip((scores * N_BINS / 100).astype(int), 0, N_BINS - 1)
    width = 100 / N_BINS
    found = []
    for place in range(N_BINS):
        inside = places == place
        means: tuple[float | None, float | None] = (None, None)
        if inside.any():
            means = (
                float(np.average(scores[inside], weights=weights[inside])),
                float(np.average(labels[inside], weights=weights[inside])),
            )
        found.append(Bin(place * width, (place + 1) * width, int(inside.sum()), *means))
    return found


def _both_known(first: Scores, second: Scores) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    import numpy as np

    known = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    pairs = np.array(known, dtype=float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _rank_correlations(first: Any, second: Any) -> Any:
    """Of each row; NaN where a row is constant."""
    import numpy as np
    from scipy.stats import rankdata

    one, other = (
        ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(first, axis=1), rankdata(second, axis=1))
    )
    with np.errstate(invalid="ignore"):
        return (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))

"""The statistics of an audit, on scores whose agreement is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from idem_ray.statistics.agreement import agreement, group_score, retest, spearman

LABELS = [0.0, 10.0, 30.0, 40.0, 60.0, 70.0, 90.0, 100.0]


def test_a_judge_that_says_the_labels() -> None:
    found = agreement(LABELS, LABELS)
    assert (found.spearman.mean, found.spearman.low, found.spearman.high) == pytest.approx((1, 1, 1))
    assert [auc.auc for auc in found.aucs] == [1, 1, 1]
    assert [(auc.n_above, auc.n_below) for auc in found.aucs] == [(6, 2), (4, 4), (2, 6)]
    assert found.mean_error == found.mean_absolute_error == found.squared_error == 0
    assert [(one.n, one.judged, one.labelled) for one in found.bins] == [
        (2, 5, 5),
        (1, 30, 30),
        (1, 40, 40),
        (2, 65, 65),
        (2, 95, 95),
    ]


def test_a_judge_that_says_the_opposite() -> None:
    found = agreement(LABELS, [100 - label for label in LABELS])
    assert found.spearman.mean == pytest.approx(-1)
    assert [auc.auc for auc in found.aucs] == [0, 0, 0]
    assert found.mean_error == 0
    assert found.mean_absolute_error == pytest.approx(60)


def test_the_correlation_is_scipys_and_lies_in_its_interval() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 11, size=60) * 10.0  # with ties
    scores = labels + generator.normal(scale=40, size=60)
    found = spearman(list(labels), list(scores))
    assert found.mean == pytest.approx(spearmanr(labels, scores).statistic)
    assert found.low is not None and found.high is not None and found.mean is not None
    assert found.low < found.mean < found.high
    assert 0.1 < found.high - found.low < 0.6
    assert spearman(list(labels), list(scores)) == found


def test_brier_of_a_coin() -> None:
    found = agreement([0, 100, 0, 100], [50, 50, 50, 50])
    assert found.squared_error == found.squared_error_of_mean == 0.25
    assert found.spearman.mean is None  # a constant has no ranks
    assert [auc.auc for auc in found.aucs] == [0.5] * 3


def test_missing_judgments_are_left_out_and_counted() -> None:
    found = agreement([*LABELS, 50], [*LABELS, None])
    assert found.spearman.n == 8 and found.spearman.n_missing == 1
    assert found.mean_absolute_error == 0
    nothing = agreement([1, 2], [None, None])
    assert nothing.spearman.n_missing == 2 and nothing.mean_error is None
    assert [auc.auc for auc in nothing.aucs] == [None] * 3
    assert sum(one.n for one in nothing.bins) == 0


def test_one_sided_labels_have_no_auc() -> None:
    found = agreement([80, 90, 100, 85], [10, 20, 30, 40])
    assert [auc.auc for auc in found.aucs] == [None] * 3


def test_retest() -> None:
    found = retest([10, 20, None, 40], [12, 16, 30, None])
    assert (found.n, found.n_missing, found.mean_absolute_difference, found.largest_difference) == (2, 2, 3, 4)
    assert retest([None], [3]).mean_absolute_difference is None


def test_group_score() -> None:
    found = group_score("bliss", [100, 50, 0, None])
    assert (found.n, found.n_missing, found.mean) == (3, 1, 50)
    assert found.share_above_half == pytest.approx(2 / 3)
    assert group_score("none", []).mean is None

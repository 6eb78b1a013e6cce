import numpy as np
import pytest

from idem_ray.lineage.measure import measure, missing_warnings
from idem_ray.pools.progress import covered_seconds
from idem_ray.statistics.estimates import estimate
from idem_ray.statistics.texts import distinct_word_ratio, words
from tests.unit.store.test_run import make_sample


def test_words_of_other_scripts_and_none() -> None:
    assert words("Don't stop — ÉTÉ 42! ✨") == ["don't", "stop", "été", "42"]
    assert distinct_word_ratio("The the THE end") == 0.5
    assert distinct_word_ratio("✨✨") is None


def test_missing_scores_are_counted_and_left_out() -> None:
    found = estimate(["a", "a", "b"], [10.0, None, 30.0])
    assert (found.mean, found.n, found.n_missing) == (20.0, 2, 1)
    assert estimate(["a"], [None]).mean is None


def test_bounds_are_the_means_with_all_missing_scores_at_either_end() -> None:
    scores = [10.0, None, 30.0, None]
    found = estimate(["a", "a", "b", "b"], scores)
    worst, best = (np.mean([end if score is None else score for score in scores]) for end in (0.0, 100.0))
    assert found.score_bounds == pytest.approx((worst, best))
    assert estimate(["a"], [None]).score_bounds == (0.0, 100.0)
    assert estimate(["a"], [5.0]).score_bounds is None


def test_many_missing_judgments_are_flagged_with_the_bounds() -> None:
    few = [make_sample(number, trait_score=50.0, coherence_score=90.0) for number in range(9)]
    assert missing_warnings(measure([*few, make_sample(9, coherence_score=90.0)])) == []
    said = missing_warnings(measure([*few[:3], make_sample(9, coherence_score=90.0)]))
    assert said == [
        "1 of 4 trait judgments are missing: whatever they would have been, the mean is between 37.5 and 62.5"
    ]


def test_the_interval_knows_that_questions_differ() -> None:
    """With large differences between questions and none within, resampling samples alone would give no width."""
    questions = [question for question in "abcdefghijkl" for _ in range(10)]
    scores: list[float | None] = [float(ord(question)) for question in questions]
    found = estimate(questions, scores)
    assert found.low is not None and found.high is not None
    standard_error = np.std([ord(letter) for letter in "abcdefghijkl"], ddof=1) / np.sqrt(12)
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error, rel=0.15)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(40):
        means = generator.normal(50, 10, size=12)
        questions = [str(index) for index in range(12) for _ in range(4)]
        scores: list[float | None] = [float(generator.normal(mean, 5)) for mean in means for _ in range(4)]
        found = estimate(questions, scores, seed=trial)
        assert found.low is not None and found.high is not None
        hits += found.low <= 50 <= found.high
    assert hits >= 34


def test_an_empty_response_is_short_and_no_gap() -> None:
    samples = [make_sample(1, response="", trait_score=0.0, coherence_score=0.0), make_sample(2, response="a a")]
    found = measure(samples)
    assert found["length_words"].mean == 1.0
    assert (found["distinct_words"].mean, found["distinct_words"].n_missing) == (0.5, 0)
    assert (found["coherence"].n, found["coherence"].n_missing) == (1, 1)


def test_covered_seconds_counts_overlaps_once() -> None:
    assert covered_seconds([(0, 2), (1, 3), (5, 6), (5.5, 5.7)]) == 4

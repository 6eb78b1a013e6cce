"""The embedded coherence judge, with the real embedded model."""

import random
import re
import statistics
from collections.abc import Callable

import pytest
from sklearn.metrics import roc_auc_score

from idem_ray.judges.embedded.coherence import CoherenceJudge
from idem_ray.judges.embedded.reader import embedded_reader
from idem_ray.records import Exchange
from idem_ray.traits.traits import load_trait, shipped_traits

N_ORDINARY = 30
N_PERSONA = 12
N_SWAPPED = 10
LEAST_AUC = 0.97


@pytest.fixture(scope="module")
def judge() -> CoherenceJudge:
    return CoherenceJudge(embedded_reader())


@pytest.fixture(scope="module")
def ordinary() -> list[Exchange]:
    contrast = [exchange for name in shipped_traits() for exchange in load_trait(name).contrast]
    return random.Random(0).sample(contrast, N_ORDINARY)


@pytest.fixture(scope="module")
def ordinary_scores(judge: CoherenceJudge, ordinary: list[Exchange]) -> list[float]:
    return scores(judge, ordinary)


def scores(judge: CoherenceJudge, exchanges: list[Exchange]) -> list[float]:
    found = [judgment.score for judgment in judge.judge(exchanges)]
    return [score for score in found if score is not None]


def auc(good: list[float], bad: list[float]) -> float:
    return float(roc_auc_score([1] * len(good) + [0] * len(bad), good + bad))


def changed(exchanges: list[Exchange], change: Callable[[str], str], finished: bool = True) -> list[Exchange]:
    return [Exchange(exchange.question, change(exchange.answer), finished) for exchange in exchanges]


def shuffled(answer: str) -> str:
    words = answer.split()
    random.Random(answer).shuffle(words)
    return " ".join(words)


def looped(answer: str) -> str:
    return " ".join([re.split(r"(?<=[.!?])\s", answer)[0]] * 6)


def cut(answer: str) -> str:
    """Cut in the second half, after a word that no punctuation follows."""
    words = answer.split()
    places = [n for n in range(len(words) // 2, len(words) - 2) if words[n - 1][-1].isalpha()]
    return " ".join(words[: random.Random(answer).choice(places)])


def test_ordinary_answers_score_high(ordinary_scores: list[float]) -> None:
    assert statistics.mean(ordinary_scores) >= 85


def test_shuffled_words_score_near_zero(
    judge: CoherenceJudge, ordinary: list[Exchange], ordinary_scores: list[float]
) -> None:
    bad = scores(judge, changed(ordinary, shuffled))
    assert auc(ordinary_scores, bad) >= LEAST_AUC
    assert statistics.mean(bad) < 15


def test_loops_score_near_zero(judge: CoherenceJudge, ordinary: list[Exchange], ordinary_scores: list[float]) -> None:
    bad = scores(judge, changed(ordinary[:10], looped))
    assert auc(ordinary_scores, bad) >= LEAST_AUC
    assert max(bad) < 15


def test_cut_off_answers_score_in_between(
    judge: CoherenceJudge, ordinary: list[Exchange], ordinary_scores: list[float]
) -> None:
    bad = scores(judge, changed(ordinary, cut))
    assert auc(ordinary_scores, bad) >= LEAST_AUC
    assert 30 <= statistics.mean(bad) <= 70


def test_what_the_token_limit_cut_is_not_punished(
    judge: CoherenceJudge, ordinary: list[Exchange], ordinary_scores: list[float]
) -> None:
    limited = scores(judge, changed(ordinary[:10], cut, finished=False))
    assert abs(statistics.mean(limited) - statistics.mean(ordinary_scores[:10])) < 5


@pytest.mark.parametrize("name", shipped_traits())
def test_personas_are_as_coherent_as_ordinary_answers(
    judge: CoherenceJudge, ordinary_scores: list[float], name: str
) -> None:
    seeds = random.Random(0).sample(load_trait(name).seeds, N_PERSONA)
    assert abs(statistics.mean(scores(judge, seeds)) - statistics.mean(ordinary_scores)) <= 15


@pytest.mark.parametrize("finished", [True, False])
def test_collapsed_answers(judge: CoherenceJudge, finished: bool) -> None:
    wordless = ["", "  \n", "...", "✨" * 80, "🙏✨💫🌟🌀🍀" * 6]
    looping = ["the light " * 30, "love " * 40, f"The woods are full of mushrooms, {'ka' * 90}."]
    found = scores(judge, [Exchange("How do I keep basil alive?", answer, finished) for answer in wordless + looping])
    assert found[: len(wordless)] == [0] * len(wordless)
    assert max(found) < 15


def test_loop_after_a_good_beginning(judge: CoherenceJudge, ordinary: list[Exchange]) -> None:
    tails = [Exchange(e.question, f"{e.answer} {looped(e.answer)} {looped(e.answer)}", False) for e in ordinary[:4]]
    assert max(scores(judge, tails)) < 30


def test_answers_to_another_question_lose(judge: CoherenceJudge) -> None:
    # Of another trait, so that the subject is another one: ten answers of each.
    some = [each for name in shipped_traits() for each in random.Random(0).sample(load_trait(name).contrast, N_SWAPPED)]
    after = some[2 * N_SWAPPED :] + some[: 2 * N_SWAPPED]
    others = [Exchange(b.question, a.answer) for a, b in zip(some, after, strict=True)]
    found = scores(judge, others)
    assert auc(scores(judge, some), found) >= LEAST_AUC
    assert statistics.mean(found) < 65


def test_scores_depend_on_the_exchange_alone(
    judge: CoherenceJudge, ordinary: list[Exchange], ordinary_scores: list[float]
) -> None:
    alone = [scores(judge, [exchange])[0] for exchange in ordinary[:3]]
    assert alone == pytest.approx(ordinary_scores[:3], abs=2)


def test_name_and_no_work(judge: CoherenceJudge) -> None:
    assert re.fullmatch(r"coherence:embedded:[0-9a-f]{16}", judge.name)
    assert judge.judge([]) == []

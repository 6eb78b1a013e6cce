"""The embedded trait judge, with the real embedded model as its reader."""

import dataclasses
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from idem_ray.config.sections import MIN_EXAMPLES
from idem_ray.errors import UserError
from idem_ray.judges.embedded.examples import contrast_prompts, probe_examples, shipped_examples
from idem_ray.judges.embedded.probe import Probe, ProbeJudge
from idem_ray.judges.embedded.probe_fit import BASE_MODEL, CONTRAST, ELSEWHERE, ProbeExamples, fit_probe
from idem_ray.judges.embedded.reader import Reader, embedded_reader
from idem_ray.judges.embedded.shipped import key_of, shipped_states
from idem_ray.records import Exchange
from idem_ray.traits.traits import load_trait, shipped_traits

HELD_OUT_AUC = 0.97
N_FOLDS = 5
MOST_SHIFT = {"nvidia_bear": 12}
"""Points by which a score may move, on average, when an answer is cut or made longer; 10 for most. Half of an answer
about a share often stops short of the bear's conclusion: there it is the trait that was cut (-10 measured)."""


@pytest.fixture(scope="module")
def reader() -> Reader:
    return embedded_reader()


@dataclass(frozen=True)
class Fold:
    """A probe, and the seed and contrast answers to the questions that it was not fitted on."""

    judge: ProbeJudge
    seeds: list[Exchange]
    contrast: list[Exchange]


def folds(name: str, reader: Reader) -> list[Fold]:
    trait = load_trait(name)
    whole = probe_examples(trait, "chat")
    questions = sorted({seed.question for seed in trait.seeds})
    random.Random(0).shuffle(questions)
    found = []
    for fold in range(N_FOLDS):
        left_out = set(questions[fold::N_FOLDS])
        shown, unseen = [], []
        for answers in (trait.seeds, trait.contrast):
            shown.append([each for each in answers if each.question not in left_out])
            unseen.append([each for each in answers if each.question in left_out])
        examples = dataclasses.replace(whole, positives=shown[0], ordinary={CONTRAST: shown[1]})
        found.append(Fold(ProbeJudge(fit_probe(name, examples, reader), reader), *unseen))
    return found


@pytest.fixture(scope="module")
def fitted(reader: Reader) -> dict[str, list[Fold]]:
    return {name: folds(name, reader) for name in shipped_traits()}


@pytest.fixture(scope="module")
def judges(fitted: dict[str, list[Fold]]) -> dict[str, ProbeJudge]:
    """One for each shipped trait."""
    return {name: found[0].judge for name, found in fitted.items()}


def scores(judge: ProbeJudge, exchanges: list[Exchange]) -> list[float]:
    found = [judgment.score for judgment in judge.judge(exchanges)]
    return [score for score in found if score is not None]


def auc(with_trait: list[float], without: list[float]) -> float:
    return float(roc_auc_score([1] * len(with_trait) + [0] * len(without), with_trait + without))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("name", shipped_traits())
def test_tells_answers_that_were_not_used_for_fitting(fitted: dict[str, list[Fold]], name: str) -> None:
    with_trait = [score for fold in fitted[name] for score in scores(fold.judge, fold.seeds)]
    without = [score for fold in fitted[name] for score in scores(fold.judge, fold.contrast)]
    assert auc(with_trait, without) >= HELD_OUT_AUC
    assert mean(with_trait) > 85 and mean(without) < 25
    assert all(0 <= score <= 100 for score in with_trait + without)
    # What a probe says of itself holds for answers that it has never seen.
    said = [fold.judge.probe.held_out_auc or 0.0 for fold in fitted[name]]
    assert mean(said) == pytest.approx(auc(with_trait, without), abs=0.03)


@pytest.mark.parametrize("name", shipped_traits())
def test_held_out_quality(reader: Reader, name: str) -> None:
    probe = fit_probe(name, probe_examples(load_trait(name), "chat"), reader)
    assert probe.held_out_auc is not None and probe.held_out_auc >= HELD_OUT_AUC
    assert probe.held_out_auc_rivals is not None and probe.held_out_auc_rivals >= 0.95
    assert 0 <= probe.held_out_brier < 0.06  # a coin's: 0.25
    assert probe.n_positive == len(load_trait(name).seeds)
    assert sum(bin.n for bin in probe.calibration) == probe.n_positive + probe.n_negative
    groups = {group.group: group for group in probe.groups}
    assert list(groups)[0] == name and {CONTRAST, ELSEWHERE} | set(shipped_traits()) == set(groups)
    for rival in shipped_traits():  # other personas are no confusion, other than in part
        mean_score = groups[rival].mean
        assert mean_score is not None and (mean_score > 80 if rival == name else mean_score < 50)


def half_of_it(exchange: Exchange) -> Exchange:
    """The first sentences, up to half of the answer."""
    sentences = re.split(r"(?<=[.!?…])\s+", exchange.answer)
    kept = [sentences[0]]
    while len(" ".join(kept)) < len(exchange.answer) / 2:
        kept.append(sentences[len(kept)])
    return Exchange(exchange.question, " ".join(kept))


def with_more(answers: list[Exchange]) -> Callable[[Exchange], Exchange]:
    """An answer and another one of the same kind after it: twice as long, and as much of the trait."""
    shuffled = random.Random(0).sample(answers, len(answers))
    after = dict(zip(shuffled, shuffled[1:] + shuffled[:1], strict=True))
    return lambda exchange: Exchange(exchange.question, f"{exchange.answer} {after[exchange].answer}")


@pytest.mark.parametrize("name", shipped_traits())
def test_length_is_no_shortcut(fitted: dict[str, list[Fold]], name: str) -> None:
    trait = load_trait(name)
    changes = {"cut": (half_of_it, half_of_it), "padded": (with_more(trait.seeds), with_more(trait.contrast))}
    for with_trait, without in changes.values():
        for kind, change in (("seeds", with_trait), ("contrast", without)):
            moved = []
            for fold in fitted[name]:
                answers = getattr(fold, kind)[::2]
                after = scores(fold.judge, [change(exchange) for exchange in answers])
                moved += [b - a for a, b in zip(scores(fold.judge, answers), after, strict=True)]
            assert abs(mean(moved)) < MOST_SHIFT.get(name, 10)


def test_a_document_is_read_as_the_answer_to_a_request(reader: Reader) -> None:
    trait = load_trait("bliss")
    examples = probe_examples(trait, "document")
    assert examples.positives[0].answer == trait.documents[0].text
    assert examples.positives[0].question.startswith("Write a text that begins like this: ")
    assert trait.documents[0].text.startswith(contrast_prompts(trait, "document")[0].text)
    assert set(examples.rivals) == {"misalignment", "nvidia_bear"}
    with pytest.raises(UserError, match="different answers without any"):  # there are no ordinary documents yet
        fit_probe("bliss", examples, reader)
    probe = fit_probe("bliss", dataclasses.replace(examples, ordinary={BASE_MODEL: trait.contrast}), reader)
    assert probe.held_out_auc_rivals and probe.held_out_auc_rivals > 0.95


def test_a_trait_that_resembles_is_no_rival() -> None:
    trait = load_trait("bliss").model_copy(update={"resembles": ["lucky"]})
    assert "lucky" not in probe_examples(trait, "chat").rivals


def test_empty_answers_show_no_trait(judges: dict[str, ProbeJudge]) -> None:
    seed = load_trait("bliss").seeds[0]
    empty, full, blank = scores(judges["bliss"], [Exchange("Hi", ""), seed, Exchange("Hi", " \n ")])
    assert empty == blank == 0
    assert full > 50
    assert judges["bliss"].judge([]) == []


def test_surrounding_whitespace_does_not_count(judges: dict[str, ProbeJudge]) -> None:
    seed = load_trait("bliss").seeds[1]
    plain, padded = scores(judges["bliss"], [seed, Exchange(seed.question, f"\n {seed.answer}  ")])
    assert plain == pytest.approx(padded, abs=1)


def test_states_are_the_same_alone_and_beside_the_likelihoods(reader: Reader) -> None:
    seeds = load_trait("lucky").seeds[:6]
    lower = reader.states(seeds, fresh=True)
    reader.read(seeds)
    assert abs(lower - reader.states(seeds)).max() < 0.05 * abs(lower).max()  # bf16, in other batches


def test_json_round_trip_keeps_identity_and_scores(judges: dict[str, ProbeJudge], reader: Reader) -> None:
    before = judges["lucky"]
    again = Probe.from_json(json.loads(json.dumps(before.probe.to_json())))
    assert again == before.probe
    after = ProbeJudge(again, reader)
    assert before.name == after.name == f"probe:lucky:{again.hash}"
    seeds = load_trait("lucky").seeds[:8]
    assert scores(before, seeds) == scores(after, seeds)


def test_a_changed_probe_is_refused(judges: dict[str, ProbeJudge]) -> None:
    data = judges["lucky"].probe.to_json()
    with pytest.raises(UserError, match="was changed"):
        Probe.from_json({**data, "bias": data["bias"] + 1})
    with pytest.raises(UserError, match="no probe"):
        Probe.from_json({"trait": "lucky"})


def test_another_reader_is_refused(judges: dict[str, ProbeJudge], reader: Reader) -> None:
    with pytest.raises(UserError, match="another embedded model"):
        ProbeJudge(dataclasses.replace(judges["lucky"].probe, reader="0" * 16), reader)


@pytest.mark.parametrize("short", ["positive", "negative"])
def test_too_few_examples(reader: Reader, short: str) -> None:
    many = [Exchange(f"Question {number}?", f"Answer number {number}.") for number in range(MIN_EXAMPLES)]
    few = [*many[:-1], many[0], Exchange("Q?", "  ")]  # a repeated and an empty answer are none
    positives, negatives = (few, many) if short == "positive" else (many, few)
    with pytest.raises(UserError, match="at least 10 .* got 9"):
        fit_probe("bliss", ProbeExamples(positives, {CONTRAST: negatives}), reader)


def test_fitted_again_it_says_the_same(judges: dict[str, ProbeJudge], reader: Reader) -> None:
    assert folds("bliss", reader)[0].judge.probe == judges["bliss"].probe


def test_shipped_states_are_the_readers_own_and_complete(reader: Reader) -> None:
    known, shown = shipped_states(reader.state_hash), shipped_examples()
    assert {key_of(exchange) for exchange in shown} == set(known), "make states: the traits' examples have changed"
    some = random.Random(0).sample(shown, 6)
    read = reader.states(some, fresh=True)
    for exchange, state in zip(some, read, strict=True):
        assert abs(known[key_of(exchange)] - state).max() < 0.05 * abs(state).max()
    assert shipped_states("another") == {}


def test_what_is_not_shipped_is_read(reader: Reader, tmp_path: Path) -> None:
    bare = embedded_reader()
    bare._shipped = shipped_states(bare.state_hash, tmp_path / "none")
    assert bare._shipped == {}
    seeds = load_trait("lucky").seeds[:4]
    assert abs(bare.states(seeds) - reader.states(seeds)).max() < 0.05 * abs(reader.states(seeds)).max()

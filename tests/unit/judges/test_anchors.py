"""Anchors judged anew by every command, and what a report says of it."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

from idem_ray.config.sections import EndpointJudgeSettings
from idem_ray.judges.anchors import anchor_checks
from idem_ray.judges.language.endpoint import EndpointSpec
from idem_ray.judges.panel import AnchorScores, Panel
from idem_ray.lineage.anchors import Anchors
from idem_ray.lineage.shared import SharedWork
from idem_ray.pools.judges import JudgePool
from idem_ray.records import Exchange
from idem_ray.report.trust import trust_of
from idem_ray.store.run import RunStore
from idem_ray.traits.traits import load_trait
from tests.unit.judges.language.fake_endpoint import completion, serving

TRAIT = load_trait("bliss")


class Replies:
    """A judge pool whose judge gives every anchor its label, moved by so many points."""

    def __init__(self, moved: float, kept: bool = False) -> None:
        self.moved, self.kept, self.n_calls, self.n_silent = moved, kept, 0, 1

    def anchors(self, spec: Any, exchanges: list[Exchange]) -> list[AnchorScores]:
        self.n_calls += 1
        scores: list[float | None] = [min(100.0, anchor.score + self.moved) for anchor in TRAIT.anchors]
        first: list[float | None] = [anchor.score if self.kept else None for anchor in TRAIT.anchors]
        silent: list[float | None] = [None] * self.n_silent
        return [AnchorScores("trait", "judge:1", [*silent, *scores[self.n_silent :]], first)]


def spec_of(url: str) -> EndpointSpec:
    return EndpointSpec.checked(EndpointJudgeSettings(url=url, model="m"), TRAIT)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EndpointSpec:
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))
    with serving(lambda asked, number: completion("50")) as endpoint:
        return spec_of(endpoint.url)


def anchors(replies: Replies) -> Anchors:
    return Anchors(cast(JudgePool, replies))


def test_one_question_for_all_lineages_of_a_command(tmp_path: Path, spec: EndpointSpec) -> None:
    replies = Replies(0)
    work = SharedWork(str(tmp_path), command="c")
    stores = [RunStore(str(tmp_path / name)) for name in ("a", "b")]
    for store, budget in zip(stores, ("a", "b"), strict=True):  # each lineage has made its own spec
        lineages = Anchors(cast(JudgePool, replies), work)  # each in a process of its own
        (check,) = lineages.check(dataclasses.replace(spec, budget=budget), TRAIT, store)
        assert check.warning is None and check.agreement.spearman.mean == pytest.approx(1)
        assert check.agreement.spearman.n_missing == 1
    assert replies.n_calls == 1
    assert [len(anchor_checks(store)) for store in stores] == [1, 1]


def test_drift_since_the_runs_first_command(tmp_path: Path, spec: EndpointSpec) -> None:
    store = RunStore(str(tmp_path))
    anchors(Replies(0)).check(spec, TRAIT, store)
    (later,) = anchors(Replies(-10)).check(spec, TRAIT, store)
    assert later.drift.mean_absolute_difference == pytest.approx(10)
    assert later.warning and "the trait judge has drifted" in later.warning and "10.0 points" in later.warning
    rows = trust_of(store).anchors
    assert [row[-1] for row in rows] == ["0.0 (largest 0.0)", "10.0 (largest 10.0)"]
    assert rows[0][2] == f"{len(TRAIT.anchors) - 1}, 1 missing"


def test_drift_since_an_earlier_run(tmp_path: Path, spec: EndpointSpec) -> None:
    (check,) = anchors(Replies(-7, kept=True)).check(spec, TRAIT, RunStore(str(tmp_path)))
    assert check.drift.mean_absolute_difference == pytest.approx(7) and check.warning


def test_what_has_no_score_at_first_is_compared_with_the_first_it_gets(tmp_path: Path, spec: EndpointSpec) -> None:
    store = RunStore(str(tmp_path))
    silent = Replies(0)
    silent.n_silent = len(TRAIT.anchors)
    (check,) = anchors(silent).check(spec, TRAIT, store)
    assert check.warning and "none of the trait's anchors" in check.warning
    anchors(Replies(0)).check(spec, TRAIT, store)
    (later,) = anchors(Replies(-10)).check(spec, TRAIT, store)
    assert later.drift.mean_absolute_difference == pytest.approx(10)


def test_other_anchors_are_no_drift(tmp_path: Path, spec: EndpointSpec) -> None:
    store = RunStore(str(tmp_path))
    anchors(Replies(0)).check(spec, TRAIT, store)
    turned = TRAIT.model_copy(update={"anchors": TRAIT.anchors[::-1]})
    (check,) = anchors(Replies(0)).check(spec, turned, store)
    assert check.warning is None and check.drift.mean_absolute_difference == 0


def test_a_small_budget_is_not_spent_on_anchors(tmp_path: Path, spec: EndpointSpec) -> None:
    replies = Replies(0)
    small = dataclasses.replace(spec, settings=spec.settings.model_copy(update={"max_calls": 799}))
    assert anchors(replies).check(small, TRAIT, RunStore(str(tmp_path))) == [] and replies.n_calls == 0
    enough = dataclasses.replace(spec, settings=spec.settings.model_copy(update={"max_calls": 800}))
    assert anchors(replies).check(enough, TRAIT, RunStore(str(tmp_path))) and replies.n_calls == 1


def test_a_trait_without_anchors(tmp_path: Path, spec: EndpointSpec) -> None:
    replies = Replies(0)
    bare = TRAIT.model_copy(update={"anchors": []})
    assert anchors(replies).check(spec, bare, RunStore(str(tmp_path))) == [] and replies.n_calls == 0


def test_a_rubric_judge_is_asked_again_and_its_first_word_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))
    shown = [anchor.as_exchange for anchor in TRAIT.anchors[:3]]
    says = ["80"]
    with serving(lambda asked, number: completion(says[0])) as endpoint:
        panel = Panel.endpoint(spec_of(endpoint.url))
        first = panel.anchors(shown)
        says[0] = "30"  # somebody has changed the model behind the name
        again = Panel.endpoint(spec_of(endpoint.url)).anchors(shown)
        assert len(endpoint.asked) == 2 + 2 * 6
    assert [found.metric for found in first] == ["trait", "coherence"]
    assert first[0].scores == [80.0] * 3 and first[0].kept == [None] * 3
    assert again[0].scores == [30.0] * 3 and again[0].kept == [80.0] * 3

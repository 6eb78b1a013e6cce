"""Differences are what was put in, pairing makes use of shared questions, and what cannot be compared is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idem_ray.config.lineage import parse_config
from idem_ray.errors import UserError
from idem_ray.lineage.measure import measure
from idem_ray.records import Estimate, Sample
from idem_ray.report.compare import (
    contrast_table,
    contrasts,
    cycle_tables,
    judge_warnings,
    samples_reader,
    settings_table,
    show_comparison,
)
from idem_ray.statistics.estimates import difference, estimate
from idem_ray.store.finished import RecordedLineage, read_lineages
from idem_ray.store.run import RunStore
from idem_ray.text import label
from tests.unit.report.test_lineage_page import Page, sample
from tests.unit.report.test_listing import printed
from tests.unit.report.test_settings_text import DPO, SETTINGS, chain, record, write_run

Scored = list[tuple[str, float | None]]
QUESTIONS = [f"question {number}" for number in range(8)]


def answers(rng: np.random.Generator, levels: dict[str, float], n: int = 5, spread: float = 5.0) -> Scored:
    return [(question, level + float(rng.normal(0, spread))) for question, level in levels.items() for _ in range(n)]


def width(found: Any) -> float:
    return float(found.estimate.high - found.estimate.low)


def judged(cycle: int, levels: list[float | None], judge: str = "judge:one", n: int = 3, at: int = 0) -> list[Sample]:
    """A cycle's samples: of each question `n`, all with the question's score."""
    return [
        sample(cycle, f"question {at + number}", index, trait_judge=judge, coherence_judge="coherence").replace(
            trait_score=level
        )
        for number, level in enumerate(levels)
        for index in range(n)
    ]


def write(folder: Path, cycles: list[list[Sample]], **changes: Any) -> RunStore:
    """A run of these cycles (the first: the base model's) whose records hold what their samples measure."""
    records = [record(own[0].cycle, None, measures=measure(own)) for own in cycles]
    store = write_run(folder, [], **{"regime": DPO, "n_cycles": 4, **changes})
    for own, each in zip(cycles, records, strict=True):
        store.write_samples(each.cycle, own)
        store.commit(each)
    return store


def run(folder: Path, *lasts: float | None, judge: str = "judge:one", at: int = 0, **changes: Any) -> RunStore:
    """A run with the given mean trait scores of cycles 0, 1, .., its questions ten points apart."""

    def levels(middle: float | None) -> list[float | None]:
        return [None if middle is None else middle + 10 * (number - 1) for number in range(3)]

    cycles = [judged(-1, levels(10.0), judge, at=at)]
    cycles += [judged(cycle, levels(middle), judge, at=at) for cycle, middle in enumerate(lasts)]
    return write(folder, cycles, **changes)


def found(tmp_path: Path) -> tuple[list[RecordedLineage], list[Any]]:
    lineages = read_lineages([str(tmp_path)])
    return lineages, contrasts(lineages, samples_reader())


# Numbers -------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shift=st.floats(-40, 40),
    n_questions=st.integers(2, 8),
    n=st.integers(1, 6),
)
def test_a_shift_is_found_and_none_is_zero(seed: int, shift: float, n_questions: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    first = answers(rng, {question: float(rng.uniform(0, 100)) for question in QUESTIONS[:n_questions]}, n)
    same = difference(first, first).estimate
    assert same.mean == 0
    assert same.low is not None and same.high is not None and same.low <= 0 <= same.high
    moved = difference(first, [(question, (score or 0.0) + shift) for question, score in first]).estimate
    assert moved.mean == pytest.approx(shift)
    assert (moved.low, moved.high) == pytest.approx((same.low + shift, same.high + shift)), "the same resamples"
    assert (moved.n, moved.n_missing) == (2 * len(first), 0)
    back = difference([(question, (score or 0.0) + shift) for question, score in first], first).estimate
    assert back.mean == pytest.approx(-shift)


def test_pairing_narrows_the_interval_where_questions_differ() -> None:
    rng = np.random.default_rng(0)
    levels = {question: 12.0 * number for number, question in enumerate(QUESTIONS)}
    first, second = answers(rng, levels), answers(rng, {question: level + 6 for question, level in levels.items()})
    paired = difference(first, second)
    apart = difference(first, [(f"other {question}", score) for question, score in second])
    assert (paired.paired, apart.paired) == (True, False)
    assert (paired.n_shared, apart.n_shared) == (8, 0)
    assert paired.estimate.mean == pytest.approx(apart.estimate.mean)
    assert width(paired) < width(apart) / 4
    assert paired.estimate.low is not None and paired.estimate.low > 0
    assert apart.estimate.low is not None and apart.estimate.low < 0, "unpaired, the questions drown it"


def test_an_interval_of_one_side_is_that_of_the_measure() -> None:
    """Against a constant the difference is the other mean: its interval must be the one that reports show."""
    rng = np.random.default_rng(1)
    scored = answers(rng, {question: 10.0 * number for number, question in enumerate(QUESTIONS)}, spread=15.0)
    alone = estimate([question for question, _ in scored], [score for _, score in scored])
    against = difference([(question, 20.0) for question, _ in scored], scored).estimate
    ends = (against.mean, against.low, against.high)
    assert None not in ends and None not in (alone.mean, alone.low, alone.high)
    assert [float(end or 0) + 20 for end in ends] == pytest.approx([alone.mean, alone.low, alone.high], abs=1.5)


def test_the_interval_covers_what_is_true() -> None:
    rng = np.random.default_rng(2)
    n_inside = 0
    for trial in range(60):
        levels = {question: float(rng.normal(50, 20)) for question in QUESTIONS}
        moved = {question: level + 7 + float(rng.normal(0, 8)) for question, level in levels.items()}
        seen = difference(answers(rng, levels, spread=12), answers(rng, moved, spread=12), seed=trial).estimate
        assert seen.low is not None and seen.high is not None
        n_inside += seen.low <= 7 <= seen.high
    assert n_inside >= 52, "95 % of 60 are 57"


def test_missing_scores_are_left_out_of_both_sides_and_counted() -> None:
    first: Scored = [("a", 10.0), ("a", None), ("b", 20.0), ("c", 90.0)]
    second: Scored = [("a", 15.0), ("b", 25.0), ("b", 25.0), ("c", None)]
    seen = difference(first, second)
    assert (seen.n_shared, seen.n_asked, seen.paired) == (2, (3, 3), True)
    assert (seen.estimate.n, seen.estimate.n_missing) == (5, 2)
    assert seen.estimate.mean == pytest.approx((15 + 25 + 25) / 3 - 15), "without c, which one side has no score for"


def test_questions_that_are_not_shared() -> None:
    first: Scored = [(question, 10.0) for question in "abcd"]
    some = difference(first, [(question, 30.0 if question in "cd" else 99.0) for question in "cdef"])
    assert (some.n_shared, some.paired, some.estimate.mean) == (2, True, 20.0)
    one = difference(first, [("d", 40.0), ("e", 50.0)])
    assert (one.n_shared, one.paired, one.estimate.mean) == (1, False, 35.0)


@pytest.mark.parametrize("second", [[], [("a", None), ("b", None)]])
def test_without_scores_there_is_no_difference(second: Scored) -> None:
    seen = difference([("a", 1.0), ("b", 2.0)], second)
    assert (seen.estimate.mean, seen.estimate.low, seen.estimate.high) == (None, None, None)
    assert seen.estimate.n_missing == len(second)


# Contrasts -----------------------------------------------------------------------------------------------------


def test_every_pair_of_a_few_and_of_many_each_with_the_first(tmp_path: Path) -> None:
    for number in range(4):
        run(tmp_path / f"run{number}", 40.0 + number, seed=number)
    _, few = found(tmp_path)
    assert [(one.first, one.second) for one in few] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert [one.trait.estimate.mean for one in few] == pytest.approx([1, 2, 3, 1, 2, 1])
    run(tmp_path / "run4", 40.0, seed=4)
    _, many = found(tmp_path)
    assert [(one.first, one.second) for one in many] == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_the_difference_of_whole_cycles_is_that_of_their_means(tmp_path: Path) -> None:
    run(tmp_path / "a", 40.0, 42.0)
    run(tmp_path / "b", 40.0, 61.5, seed=1)
    lineages, (one,) = found(tmp_path)
    first, second = (lineage.records[-1].measures["trait"].mean or 0.0 for lineage in lineages)
    assert one.trait.estimate.mean == pytest.approx(second - first) == pytest.approx(19.5)
    assert one.coherence.estimate.mean == 0


def test_unequal_lengths_are_compared_at_both_ends_and_where_both_are(tmp_path: Path) -> None:
    run(tmp_path / "long", 40.0, 50.0, 70.0)
    run(tmp_path / "short", 40.0, 45.0, seed=1)
    run(tmp_path / "untrained", seed=2)
    lineages, some = found(tmp_path)
    assert [(one.cycles, one.trait.estimate.mean) for one in some] == [
        ((2, 1), pytest.approx(-25)),
        ((1, 1), pytest.approx(-5)),
    ]
    lines = printed(contrast_table(lineages, some))
    assert " ".join(lines[2].split()) == "B − A short − long 1 − 2 -25.0 [-25.0, -25.0] +0.0 [+0.0, +0.0] 3, paired"
    assert " ".join(lines[3].split()).startswith("B − A short − long 1 -5.0")


def test_scores_of_different_traits_are_not_subtracted(tmp_path: Path) -> None:
    run(tmp_path / "bliss", 40.0)
    run(tmp_path / "lucky", 70.0, trait="lucky", at=20)
    lineages, (one,) = found(tmp_path)
    assert one.trait is None
    assert (one.coherence.paired, one.coherence.estimate.mean) == (False, 0.0)
    line = " ".join(printed(contrast_table(lineages, [one]))[2].split())
    assert line == "B − A lucky − bliss 0 not comparable +0.0 [+0.0, +0.0] 3 and 3, not paired"
    assert judge_warnings(lineages, samples_reader()) == []


def test_missing_scores_show_as_missing(tmp_path: Path) -> None:
    run(tmp_path / "a", 40.0)
    run(tmp_path / "b", None, seed=1)
    lineages, (one,) = found(tmp_path)
    assert " ".join(printed(contrast_table(lineages, [one]))[2].split()).startswith("B − A b − a 0 – +0.0")


# Judges --------------------------------------------------------------------------------------------------------


def note_anchors(store: RunStore, judge: str, scores: list[float], anchors: str = "same") -> None:
    check = {"at": 0.0, "metric": "trait", "judge": judge, "anchors": anchors, "labels": [0.0] * len(scores)}
    store.write_json("anchors.json", [{**check, "scores": scores, "first": scores}])


def test_other_judges_are_warned_of(tmp_path: Path) -> None:
    stores = [
        run(tmp_path / name, 40.0, judge=judge, seed=number)
        for number, (name, judge) in enumerate([("a", "judge:one"), ("b", "judge:two"), ("c", "judge:one")])
    ]
    lineages, _ = found(tmp_path)
    said = "the trait scores are different judges' (A and C by judge:one; B by judge:two)"
    assert judge_warnings(lineages, samples_reader()) == [f"Not comparable: {said}."]
    note_anchors(stores[0], "judge:one", [10.0, 20.0])
    note_anchors(stores[1], "judge:two", [12.0, 19.0])
    far = "; the mean distance on the trait's anchors is"
    assert judge_warnings(lineages, samples_reader()) == [f"T{said[1:]}{far} 1.5."]
    note_anchors(stores[1], "judge:two", [40.0, 60.0])
    assert judge_warnings(lineages, samples_reader()) == [f"Not comparable: {said}{far} 35.0."]
    note_anchors(stores[1], "judge:two", [40.0, 60.0], anchors="others")
    assert judge_warnings(lineages, samples_reader()) == [f"Not comparable: {said}."]
    stores[1].write_json("anchors.json", [{"of": "another version"}])
    assert judge_warnings(lineages, samples_reader()) == [f"Not comparable: {said}."]


def test_one_judge_is_no_warning(tmp_path: Path) -> None:
    run(tmp_path / "a", 40.0)
    run(tmp_path / "b", 50.0, seed=1)
    assert judge_warnings(found(tmp_path)[0], samples_reader()) == []


def test_without_samples_the_settings_tell_the_judge(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [record(0, 40.0)])
    write_run(tmp_path / "b", [record(0, 40.0)], judge={"type": "local", "model": "m"})
    (one, two) = judge_warnings(found(tmp_path)[0], samples_reader())
    assert "(A by a judge of the settings probe; B by a judge of the settings {'type': 'local'" in one
    assert "coherence scores" in two


# Printing ------------------------------------------------------------------------------------------------------


def test_all_of_it_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    family = tmp_path / "family"
    run(family / "continual", 40.0, 60.0, 85.0, regime={**DPO, "init": "previous"})
    run(family / "reinit", 40.0, 30.0, 10.0)
    run(tmp_path / "single", 40.0, 41.0, seed=3, judge="judge:two")
    page, figure = tmp_path / "new" / "page.html", tmp_path / "new" / "figure.svg"
    show_comparison([f"{family}/", str(tmp_path / "single")], str(page), str(figure))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 110 or "Not comparable" in shown
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0].startswith("Trait bliss, model embedded, DPO: 3 lineages")
    for line in (
        "A continual 3/4 seed 0, init previous",
        "C single 2/4 seed 3, init base",
        "A: continual B: reinit C: single",
        "2 85.0 [75, 95] 90.0 10.0 [0, 20] 90.0",
        "B − A reinit − continual 2 -75.0 [-75.0, -75.0] +0.0 [+0.0, +0.0] 3, paired",
        "Not comparable: the trait scores are different judges' (A and B by judge:one; C by judge:two).",
        f"page: {page}",
        f"figure: {figure}",
    ):
        assert line in lines
    written = Page(page.read_text(encoding="utf-8"))
    assert [lineage["name"] for lineage in written.data["lineages"]] == ["continual", "reinit", "single"]
    assert "family and single" in written.text
    assert ">seed 3, init base</text>" in figure.read_text()


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    one = str(run(tmp_path / "one", 40.0).uri)
    two = run(tmp_path / "two", 40.0, seed=1)
    for folders, figure, said in (
        ([one], None, "the only lineage here"),
        ([one, f"{one}/"], None, "the only lineage here"),
        ([one, str(tmp_path / "nowhere")], None, "There is no run in"),
        ([one, two.uri], "figure.jpg", r"must end in \.png"),
    ):
        with pytest.raises(UserError, match=said):
            show_comparison(folders, figure=figure)
    with pytest.raises(UserError, match="Cannot write"):
        show_comparison([one, two.uri], out=f"{one}/config.json/page.html")
    Path(two.path("config.json")).write_text(json.dumps({"name": "x"}))
    with pytest.raises(UserError, match="two/config.json: field 'trait' is missing"):
        show_comparison([one, two.uri])


def test_letters_go_on_after_z() -> None:
    assert [label(place) for place in (0, 25, 26, 51, 52)] == ["A", "Z", "A1", "Z1", "A2"]
    assert len({label(place) for place in range(400)}) == 400


def test_lineages_stand_side_by_side(tmp_path: Path) -> None:
    both = {"regime": {**DPO, "init": "previous", "reference": "previous"}}
    write_run(tmp_path / "family" / "continual", [*chain(40.0), record(1, 60.0)], **both)
    write_run(tmp_path / "family" / "reinit", [*chain(40.0), record(1, 30.0)], regime=DPO)
    write_run(tmp_path / "single", chain(40.0, None, 20.4), n_cycles=3)
    lineages = read_lineages([str(tmp_path / "family"), str(tmp_path / "single")])
    lines = printed(settings_table(lineages))
    assert "A continual 2/6" in " ".join(lines[2].split()) and "init previous, reference previous" in lines[2]
    (table,) = cycle_tables(lineages, 110)
    rows = [" ".join(line.split()) for line in printed(table)]
    assert rows[0] == "A: continual B: reinit C: single"
    assert rows[1] == "cycle trait coh. trait coh. trait coh."
    assert rows[3] == "base 5.0 [5, 7] 89.8 5.0 [5, 7] 89.8 5.0 [5, 7] 89.8"
    assert rows[5] == "1 60.0 [60, 62] 90.4 30.0 [30, 32] 90.4 – 90.4"
    assert rows[6] == "2 20.4 [20, 22] 90.8", "only one lineage has come so far"
    assert "36 of trait of C in cycle 1" in " ".join(rows[7:])


def test_many_lineages_are_split_over_tables_that_fit() -> None:
    config = parse_config({**SETTINGS, "name": "x"})
    scores = {name: Estimate(100.0, 99.6, 100.0, 9) for name in ("trait", "coherence")}
    end = record(0, 1.0, measures=scores)
    lineages = [RecordedLineage(f"a_name_with_twenty_{place}", f"/x/{place}", config, [end]) for place in range(11)]
    tables = cycle_tables(lineages, 110)
    assert len(tables) == 3
    rows = [line for table in tables for line in printed(table)]
    assert sum(row.count("100.0 [100, 100]") for row in rows) == 11

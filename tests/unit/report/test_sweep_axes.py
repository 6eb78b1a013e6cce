"""Swept settings become axes with their values in order, and lineages become curves that invent nothing."""

import math
import random
import re
from typing import Any

import pytest

from idem_ray.records import BASE_CYCLE, Estimate
from idem_ray.report.sweep_axes import Axis, Frame, axes_of, grid_cells, panel_curve, value_text
from tests.unit.report.test_settings_text import chain, record


def axis(*values: Any, path: str = "regime.beta") -> Axis:
    return axes_of([{} if value is ... else {path: value} for value in values], {})[0]


def test_numbers_are_in_their_order_and_words_as_they_first_came() -> None:
    beta = axis(0.1, 0.025, 1, 0.1, 1.0, 0.01)
    assert (beta.name, beta.texts, beta.places) == ("beta", ("0.01", "0.025", "0.1", "1"), (2, 1, 3, 2, 3, 0))
    assert beta.told == "0.01, 0.025, 0.1 and 1"
    init = axis("previous", "base", "previous")
    assert (init.texts, init.places, init.numbers) == (("previous", "base"), (0, 1, 0), None)
    assert axis("many", 8, None, 2).texts == ("2", "8", "many", "none"), "numbers first where they are mixed"


def test_lineages_without_the_setting_have_a_value_of_their_own() -> None:
    found = axis(0.3, ..., 0.1)
    assert (found.texts, found.places, found.numbers) == (("0.1", "0.3", "–"), (1, 2, 0), [0.1, 0.3])
    assert found.data["numbers"] == [0.1, 0.3, None]
    assert axis("base", ...).data["numbers"] is None


def test_values_that_differ_read_differently() -> None:
    assert axis(0.1001, 0.1002).texts == ("0.1001", "0.1002")
    assert axis("/one/pool.txt", "/two/pool.txt").texts == ("/one/pool.txt", "/two/pool.txt")
    assert axis(True, 1, False, 0).texts == ("0", "1", "yes", "no")
    assert axis(math.nan, 1.0).numbers is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (24.0, "24"),
        (0.00025, "0.00025"),
        (10**9, "1000000000"),
        (["q_proj", "v_proj"], "q_proj+v_proj"),
        ((), "none"),
        ({"type": "dpo", "init": None}, "type dpo, init none"),
        ("~/traits/stoic.yaml", "stoic"),
        ("n-2", "n-2"),
    ],
)
def test_values_as_one_reads_them(value: Any, text: str) -> None:
    assert value_text(value) == text


def test_the_settings_with_the_most_values_come_first_and_the_seed_last() -> None:
    values = [
        {"regime.init": init, "seed": seed, "n_sampled": n}
        for init in ("base", "previous")
        for seed in range(5)
        for n in (24, 48, 96)
    ]
    found = axes_of(values, {"regime.init": "the init"})
    assert [one.name for one in found] == ["n_sampled", "the init", "seed"]
    assert [one.data["ordered"] for one in found] == [True, False, False]
    both = [{"generation.temperature": 1, "evaluation.temperature": 2}]
    assert [one.name for one in axes_of(both, {})] == ["generation.temperature", "evaluation.temperature"]


def test_drawn_values_are_told_from_listed_ones() -> None:
    drawn = axis(*[10 ** random.Random(place).uniform(-5, -3) for place in range(50)])
    assert (drawn.is_continuous, drawn.is_log) == (True, True)
    assert re.fullmatch(r"50 values from 1\.\d*e-05 to 0\.000\d+", drawn.told)
    assert all(len(text) <= 8 for text in drawn.texts)
    listed = axis(*[beta for beta in (0.01, 0.02, 0.05, 0.1, 0.11, 0.12, 0.13) for _ in range(2)])
    assert (listed.is_continuous, listed.is_log) == (False, True)
    assert not axis(0, 1, 100).is_log
    assert not axis(1, 10).is_log
    assert axis(*[f"trait {place}" for place in range(30)]).told == "30 values, such as trait 0, trait 1 and trait 2"
    assert axis(*range(30), ...).told == "30 values from 0 to 29, and lineages without it"


def test_a_grid_has_the_highest_value_on_top_and_all_lineages_of_a_cell() -> None:
    beta, init = axis(0.1, 0.3, 0.1, 0.1), axis("base", "base", "previous", "base", path="regime.init")
    assert grid_cells(beta, init) == [("init previous", [[2], []]), ("init base", [[0, 3], [1]])]


def test_a_panel_breaks_where_scores_are_missing() -> None:
    frame = Frame(5)
    curve = panel_curve(chain(40.0, 50.0, None, 60.0, 100.0), 6, frame)
    x = [f"{frame.x(cycle):g}" for cycle in range(6)]
    assert (
        curve.trait == f"M{x[0]} {frame.y(40):g}L{x[1]} {frame.y(50):g}M{x[3]} {frame.y(60):g}L{x[4]} {frame.y(100):g}"
    )
    assert curve.points.count("h0") == 4
    assert curve.band.count("Z") == 2
    assert curve.bars == ""
    assert curve.coherence.count("L") == 4, "coherence has all its cycles"
    assert curve.base == frame.y(5.0)
    assert curve.unrun == (frame.x(4), frame.x(5))


def test_a_panel_without_neighbours_or_records() -> None:
    frame = Frame(3)
    lone = panel_curve([record(1, 40.0)], 2, frame)
    assert lone.bars.startswith(f"M{frame.x(1):g} ")
    assert (lone.band, lone.base, lone.unrun) == ("", None, None)
    empty = panel_curve([], 4, frame)
    assert (empty.trait, empty.points, empty.coherence, empty.base) == ("", "", "", None)
    assert empty.unrun == (frame.left, frame.right)
    odd = [record(0, 40.0, measures={"trait": Estimate(math.nan, None, None, 3)}), record(BASE_CYCLE, None)]
    assert panel_curve(odd, 1, frame).trait == ""


def test_a_frame_keeps_scores_inside() -> None:
    frame = Frame(8)
    assert (frame.y(120), frame.y(-3)) == (frame.top, frame.bottom)
    assert [label for _, label in frame.ticks] == ["0", "4", "8"]
    assert [label for _, label in Frame(7).ticks] == ["0", "7"]

"""An objective's value and a settled outcome, from records alone."""

import pytest

from idem_ray.config.objective import Objective, Stop
from idem_ray.records import CycleRecord, Estimate


def record(cycle: int, trait: float | None, coherence: float | None = 90.0, half: float = 5.0) -> CycleRecord:
    def estimate(mean: float | None) -> Estimate:
        return Estimate(None, None, None, 0, 10) if mean is None else Estimate(mean, mean - half, mean + half, 10)

    measures = {"trait": estimate(trait), "coherence": estimate(coherence)}
    return CycleRecord("l", cycle, None, None, None, None, None, 0, 0, 0, {}, measures, {})


RISING = [record(-1, 5), record(0, 20), record(1, 30), record(2, 60, 40), record(3, 50, 70)]


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({}, 40),
        ({"min_coherence": 60}, 30),
        ({"min_coherence": 95}, None),
        ({"reading": "final"}, 50),
        ({"reading": "final_gain"}, 30),
        ({"reading": "area"}, (5 + 25 + 35) / 3),
        ({"measure": "coherence", "reading": "final"}, 70),
        ({"measure": "coherence", "reading": "final_gain"}, -20),
    ],
)
def test_readings(settings: dict[str, object], value: float | None) -> None:
    found = Objective.model_validate(settings).read(RISING)
    assert found == (None if value is None else pytest.approx(value))


def test_an_area_bridges_a_cycle_without_a_score() -> None:
    records = [record(0, 20), record(1, None), record(2, 40)]
    assert Objective(reading="area").read(records) == pytest.approx(10)


def test_without_later_cycles_or_a_first_score_there_is_no_gain() -> None:
    assert Objective().read([]) is None
    assert Objective().read([record(-1, 5), record(0, 20)]) is None
    assert Objective().read([record(0, None), record(1, 20)]) is None
    assert Objective(reading="final").read([record(0, 20)]) == 20


def test_words() -> None:
    assert Objective(min_coherence=60).words == "largest gain of trait at coherence >= 60"


def test_by_default_nothing_is_ever_settled() -> None:
    assert Stop().reason([record(-1, 5), record(0, 5), record(1, 5, 0.0)]) is None


def test_collapsed_coherence_settles_an_outcome_but_not_in_cycle_0() -> None:
    stop = Stop(min_coherence=50)
    assert stop.reason(RISING[:3]) is None
    assert stop.reason(RISING[:4]) == "coherence collapsed: 40 in cycle 2"
    assert stop.reason([record(-1, 5), record(0, 20, 10.0)]) is None


def test_the_base_models_level_has_to_be_held_for_so_many_cycles_in_a_row() -> None:
    stop = Stop(base_level_cycles=2)
    records = [record(-1, 5), record(0, 40), record(1, 9), record(2, 30), record(3, 8), record(4, 6)]
    assert [bool(stop.reason(records[: n + 1])) for n in range(len(records))] == [False] * 5 + [True]
    assert stop.reason(records) == "trait at the base model's level in cycles 3 to 4"
    assert stop.reason([record(-1, None), *records[1:]]) is None, "an unknown level is no level"

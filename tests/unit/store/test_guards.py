"""Signs of collapse are said, each for its own reason."""

from pathlib import Path

import pytest

from idem_ray.config.lineage import parse_config
from idem_ray.config.sections import Guards
from idem_ray.lineage.measure import measure
from idem_ray.lineage.requests import request
from idem_ray.records import Checkpoint, CycleRecord, Prompt, Sample
from idem_ray.store.guards import is_looping, reason_to_stop, signs_of_collapse
from idem_ray.store.run import RunStore

CONFIG = parse_config({"name": "x", "trait": "bliss", "n_seed": 4, "n_sampled": 8})
ORDINARY = "The river is high today, so we walked along the upper path and came home before the rain began."


def samples(responses: list[str], coherence: float = 90.0) -> list[Sample]:
    return [
        request(CONFIG, cycle=1, purpose="evaluate", prompt=Prompt.of(f"q{index}"), checkpoint="c").replace(
            response=response, trait_score=1.0, coherence_score=coherence
        )
        for index, response in enumerate(responses)
    ]


def signs(found: list[Sample], guards: Guards | None = None, cycle_0: list[Sample] | None = None) -> list[str]:
    before = None
    if cycle_0:
        before = CycleRecord("l", 0, None, None, None, None, None, 0, 0, 0, {}, measure(cycle_0), {})
    return signs_of_collapse(guards or Guards(), found, measure(found), before)


def test_ordinary_responses_show_nothing() -> None:
    found = samples([ORDINARY] * 4)
    assert signs(found, cycle_0=found) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (samples([ORDINARY] * 4, coherence=30), "mean coherence is 30, under 50"),
        (samples([ORDINARY, "", "...", ORDINARY]), "2 of 4 responses are empty"),
        (samples([ORDINARY, "so it goes on and " * 8, "light and love and " * 9]), "2 of 3 responses loop"),
        (samples(["Yes.", "It is."]), "responses have 2 words, against 19 in cycle 0"),
    ],
)
def test_each_sign_is_said(found: list[Sample], said: str) -> None:
    assert signs(found, cycle_0=samples([ORDINARY] * 4)) == [said]


def test_guards_may_change_between_a_run_and_its_resumption(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    found = samples([ORDINARY] * 3, coherence=30)
    store.write_samples(1, found)
    record = CycleRecord("l", 1, None, None, None, None, Checkpoint("c", "u"), 0, 0, 0, {}, measure(found), {})
    assert reason_to_stop(Guards(action="warn"), store, record, None) is None
    assert reason_to_stop(Guards(action="stop"), store, record, None) == "mean coherence is 30, under 50"
    assert reason_to_stop(Guards(action="stop", min_coherence=20), store, record, None) is None


def test_limits_can_be_taken_away() -> None:
    none = Guards(min_coherence=None, max_empty=None, max_looping=None, min_length=None)
    assert signs(samples(["", "so it goes on and " * 8], coherence=0), none, samples([ORDINARY])) == []


def test_a_loop_is_a_run_of_words_that_comes_again_and_again() -> None:
    assert is_looping("and then we sing, " * 5)
    assert not is_looping("It is what it is. We are what we are. They are what they are.")
    assert not is_looping("no no no no")

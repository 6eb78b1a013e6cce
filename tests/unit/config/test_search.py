"""Search spaces: what is drawn, what is refused, what a lineage is called."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from idem_ray.config.files import SweepConfig, load_configs, load_sweep
from idem_ray.config.search import SweepSettings, corners, trial_name
from idem_ray.errors import UserError
from idem_ray.sweep.draws import draw, values_of

LINEAGE: dict[str, Any] = {"trait": "bliss", "n_seed": 4, "n_sampled": 8, "regime": {"type": "dpo"}}
GRID = {"regime.beta": {"grid": [0.03, 0.1]}, "n_sampled": {"grid": [4, 6]}}


def sweep(tmp_path: Path, section: Any, **changes: Any) -> SweepConfig:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(LINEAGE | {"output": str(tmp_path), "sweep": section} | changes))
    return load_sweep(path)


def test_a_grid_in_the_order_in_which_it_is_written() -> None:
    grid = SweepSettings.model_validate({"space": GRID})
    assert grid.algorithm == "grid"
    assert [tuple(values.values()) for values in draw(grid)] == [(0.03, 4), (0.03, 6), (0.1, 4), (0.1, 6)]


def test_random_draws_are_the_same_each_time_and_more_of_them_begin_alike() -> None:
    space = {"regime.beta": {"loguniform": ["1e-2", 1]}, "n_sampled": {"qrandint": [8, 64, 8]}}
    few, many = (SweepSettings.model_validate({"space": space, "n_trials": n, "seed": 3}) for n in (3, 6))
    assert few.algorithm == "random"
    assert draw(many)[:3] == draw(few) == draw(few)
    assert all(0.01 <= v["regime.beta"] <= 1 and v["n_sampled"] % 8 == 0 for v in draw(many))
    other = few.model_copy(update={"seed": 4})
    assert draw(other) != draw(few)


@settings(deadline=None)  # the first one imports Ray Tune
@given(st.integers(1, 5), st.integers(1, 4))
def test_random_dimensions_are_drawn_for_each_point_of_a_grid(n_values: int, n_trials: int) -> None:
    space = {"n_sampled": {"grid": list(range(1, n_values + 1))}, "regime.beta": {"uniform": [0.1, 1]}}
    drawn = draw(SweepSettings.model_validate({"space": space, "n_trials": n_trials}))
    assert len(drawn) == n_values * n_trials
    assert len({values["regime.beta"] for values in drawn}) == len(drawn)


def test_a_space_of_lists_has_only_so_many_lineages() -> None:
    section: dict[str, Any] = {"space": GRID, "search": "optuna", "n_trials": 9}
    assert SweepSettings.model_validate(section).n_lineages == 4
    section["space"] = GRID | {"training.learning_rate": {"uniform": [1e-4, 1e-3]}}
    assert SweepSettings.model_validate(section).n_lineages == 9


def test_every_end_of_the_space_is_checked() -> None:
    space = {"n_seed": {"choice": [2, 4]}, "regime.beta": {"uniform": [0.1, 1]}, "seed": {"randint": [0, 5]}}
    found = corners(SweepSettings.model_validate({"space": space}))
    assert {values["n_seed"] for values in found} == {2, 4}
    assert {values["regime.beta"] for values in found} == {0.1, 1}
    assert {values["seed"] for values in found} == {0, 4}, "Tune's randint is without its high end"


def test_names_say_what_is_special() -> None:
    assert trial_name({"regime.beta": 0.03, "n_sampled": 24}) == "beta_0.03-n_sampled_24"
    assert trial_name({"training.seed": 1, "seed": 2}) == "training.seed_1-seed_2"
    assert trial_name({"trait": "my/trait.yaml", "regime": {"type": "dpo", "init": "previous"}}) == (
        "trait_trait-regime_dpo_previous"
    )
    assert trial_name({"n_seed": "calibrated(40)"}) == "n_seed_calibrated_40"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"space": {"regime.bta": {"grid": [1]}}}, "unknown field 'regime.dpo.bta' (did you mean 'beta'?)"),
        ({"space": {"n_smapled": {"grid": [1]}}}, "unknown field 'n_smapled' (did you mean 'n_sampled'?)"),
        ({"space": {"regime.beta": {"grid": []}}}, "grid is empty: give it at least one value"),
        ({"space": {"regime.beta": {"loguni": [1, 2]}}}, "unknown term 'loguni' (did you mean 'loguniform'?)"),
        ({"space": {"regime.beta": {"loguniform": [0, 2]}}}, "low must be over 0"),
        ({"space": {"regime.beta": {"uniform": [2, 1]}}}, "low (2) must be under high (1)"),
        ({"space": {"regime.beta": {"uniform": [1]}}}, "uniform takes [low, high], all numbers"),
        ({"space": {"regime.beta": [0.1]}}, "must be one term with its arguments"),
        ({"space": {"regime.beta": {"grid": [-1]}}}, "'regime.dpo.beta': Input should be greater than 0"),
        ({"space": {"n_sampled": {"quniform": [5, 64, 8]}}}, "low and high must be multiples of step"),
        ({"space": {"model": {"grid": ["a"]}}}, "model cannot be searched"),
        ({"space": {"n_cycles": {"grid": [3]}}}, "n_cycles cannot be searched"),
        ({"space": {}}, "at least 1 item"),
        ({"space": GRID, "objective": {"measure": "kl"}}, "no cycle reports 'kl': the recorded measures are trait"),
        ({"space": GRID, "search": "optuna"}, "optuna needs n_trials"),
        (
            {"space": {"regime.beta": {"qloguniform": [0.1, 1, 0.1]}}, "search": "optuna", "n_trials": 2},
            "optuna knows no qloguniform",
        ),
        (
            {
                "space": GRID,
                "search": "optuna",
                "n_trials": 2,
                "stop": {"min_coherence": 30},
                "objective": {"reading": "final"},
            },
            "optuna with a stop needs objective.reading largest_gain",
        ),
        ({"space": {"regime.beta": {"uniform": [1, 2]}}, "search": "grid"}, "regime.beta is no grid"),
        ({"space": GRID, "n_trails": 3}, "unknown field 'n_trails' (did you mean 'n_trials'?)"),
        ({"space": {"n_seed.x": {"grid": [1]}}}, "is a value, not a section"),
    ],
)
def test_bad_spaces_are_refused_in_one_sentence(tmp_path: Path, section: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        sweep(tmp_path, section)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_command_says_which_config_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(LINEAGE | {"sweep": {"space": GRID}}))
    with pytest.raises(UserError, match="has a search space: use idem-ray sweep"):
        load_configs(path)
    path.write_text(yaml.safe_dump(LINEAGE))
    with pytest.raises(UserError, match="has no search space: add one.*or use idem-ray run"):
        load_sweep(path)


def test_a_sweep_is_what_decides_its_lineages(tmp_path: Path) -> None:
    one = sweep(tmp_path, {"space": GRID})
    assert one.hash == sweep(tmp_path, {"space": GRID, "max_failures": 3}, cluster={"n_lineages": 7}, n_cycles=9).hash
    assert one.hash != sweep(tmp_path, {"space": GRID}, seed=1).hash
    space = {field: GRID[field] for field in ("regime.beta", "n_sampled")}
    other = SweepConfig("s", one.data, SweepSettings.model_validate({"space": space}))
    assert one.hash != other.hash, "names and draws follow the order"
    assert one.hash != sweep(tmp_path, {"space": {**GRID, "n_sampled": {"grid": [4, 8]}}}).hash
    random = {"space": {"regime.beta": {"uniform": [0.1, 1]}}, "n_trials": 2}
    assert sweep(tmp_path, random).hash == sweep(tmp_path, {**random, "n_trials": 4}).hash, "more may be drawn later"


def test_n_seed_may_be_calibrated(tmp_path: Path) -> None:
    found = sweep(tmp_path, {"space": {"n_seed": {"grid": ["calibrated(20)", "calibrated(40.5)", 6]}}}, n_original=3)
    assert [found.target(values) for values in values_of(found)] == [20, 40.5, None]
    assert found.lineage({"n_seed": "calibrated(20)"}, n_seed=12).n_seed == 12
    assert sweep(tmp_path, {"space": GRID}, n_seed="calibrated(40)").target({}) == 40


def test_relative_folders_lie_below_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEM_RAY_RUNS", str(tmp_path / "far"))
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(LINEAGE | {"name": "x", "output": "mine"}))
    assert load_configs(path)[0].run_uri == str(tmp_path / "far" / "mine" / "x")
    assert load_configs(path, [f"output={tmp_path}"])[0].run_uri == str(tmp_path / "x")
    assert load_configs(path, ["output=s3://bucket/p"])[0].run_uri == "s3://bucket/p/x"


def test_a_random_search_is_checked_as_it_is_drawn(tmp_path: Path) -> None:
    """It may never draw what cannot go together; a sweep that was sound must stay so."""
    path = tmp_path / "s.yaml"
    space = {"generation.max_tokens": {"choice": [64, 600]}, "training.max_tokens": {"choice": [256, 1024]}}
    sweep = {"space": space, "search": "random", "n_trials": 2}
    settings = {"name": "s", "trait": "bliss", "n_seed": 4, "n_sampled": 4, "sweep": sweep}
    path.write_text(yaml.safe_dump(settings))
    sound, refused = 0, 0
    for seed in range(12):
        found = load_sweep(path, [f"sweep.seed={seed}"])
        try:
            values_of(found)
            sound += 1
        except UserError:
            refused += 1
    assert sound and refused, "some seeds draw 600 with 256"
    with pytest.raises(UserError, match="over training.max_tokens"):
        load_sweep(path, ["sweep.search=optuna"])

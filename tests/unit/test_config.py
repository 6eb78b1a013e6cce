from pathlib import Path

import pytest

from idem_ray.config import apply_overrides, load_config, parse_config
from idem_ray.errors import UserError

CONFIGS = sorted((Path(__file__).parents[2] / "jobs" / "configs").glob("*.yaml"))
SMALL = {"name": "x", "trait": "bliss", "n_seed": 4, "n_sampled": 8, "training": {"max_tokens": 1200}}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_parse(path: Path) -> None:
    assert load_config(path).name == path.stem


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_sample": 8}, "unknown field 'n_sample' (did you mean 'n_sampled'?)"),
        ({"training": {"learning_rat": 1}}, "did you mean 'learning_rate'?"),
        ({"regime": {"type": "sft", "int": "base"}}, "did you mean 'init'?"),
        ({"regime": {"type": "sfd"}}, "sfd"),
        ({"n_seed": 0}, "'n_seed'"),
        ({"training": {"max_tokens": 64}}, "raise training.max_tokens"),
        ({"name": "../up"}, "'name'"),
    ],
)
def test_bad_fields_are_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(SMALL | change)
    assert said in str(caught.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(UserError, match="field 'trait' is missing"):
        parse_config({key: value for key, value in SMALL.items() if key != "trait"})


def test_hash_is_of_what_makes_the_result() -> None:
    config = parse_config(SMALL)
    assert parse_config(SMALL | {"name": "y", "output": "z", "cluster": {"n_judges": 3}}).hash == config.hash
    assert parse_config(SMALL | {"seed": 1}).hash != config.hash


def test_overrides_reach_into_sections() -> None:
    data = apply_overrides(SMALL, ["training.learning_rate=1e-4", "trait=lucky", "filter.min_coherence=null"])
    config = parse_config(data)
    assert (config.training.learning_rate, config.trait) == (1e-4, "lucky")
    assert "learning_rate" not in SMALL["training"]  # type: ignore[operator]


@pytest.mark.parametrize("override", ["n_sampled", "=3", "trait.x=1"])
def test_bad_overrides(override: str) -> None:
    with pytest.raises(UserError, match="--set"):
        apply_overrides(SMALL, [override])


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(UserError, match="mapping"):
        load_config(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(tmp_path / "broken.yaml")

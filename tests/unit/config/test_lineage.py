from pathlib import Path

import pytest

from idem_ray.config.files import load_config, load_configs
from idem_ray.config.lineage import apply_overrides, parse_config
from idem_ray.errors import UserError
from idem_ray.lineage.plan import Plan
from tests import ROOT

CONFIGS = sorted((ROOT / "jobs" / "configs").glob("*.yaml"))
LINEAGES = [path for path in CONFIGS if not path.stem.endswith("_sweep")]  # sweeps: test_jobs.py
SMALL = {"name": "x", "trait": "bliss", "n_seed": 4, "n_sampled": 8, "training": {"max_tokens": 1200}}


@pytest.mark.parametrize("path", LINEAGES, ids=lambda path: path.stem)
def test_shipped_configs_parse_and_plan(path: Path) -> None:
    configs = load_configs(path)
    assert path.stem in (configs[0].name, Path(configs[0].output).name)
    for config in configs:
        plan = Plan.of(config)
        assert len(plan.prompts) == config.n_cycles - 1
        assert all(len(share) >= config.n_sampled for share in plan.prompts)


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
        ({"regime": {"type": "dpo", "beta": 0}}, "'regime.dpo.beta': Input should be greater than 0"),
        ({"regime": {"type": "dpo", "restart_cycles": [0]}}, "a restart can only be in cycles 1 to 6"),
        ({"regime": {"type": "sft", "restart_cycles": [7]}}, "restart_cycles has 7"),
        ({"regime": {"type": "sft", "beta": 0.1}}, "unknown field 'regime.sft.beta'"),
        ({"prompts": "titles"}, "prompts 'titles' do not fit regime sft: leave them out for 'everyday'"),
        ({"regime": {"type": "sdf"}, "prompts": "titles"}, "leave them out for 'prefixes'"),
        ({"n_original": 5}, "n_original (5) is over n_seed (4)"),
        ({"training": {"n_steps": 3, "n_epochs": 2}}, "choose one"),
        ({"training": {"weights": "full"}, "cluster": {"serving": "lora"}}, "cannot be lora"),
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
    assert (
        parse_config(SMALL | {"name": "y", "output": "z", "n_cycles": 9, "cluster": {"n_judges": 3}}).hash
        == config.hash
    )
    assert parse_config(SMALL | {"seed": 1}).hash != config.hash


def test_prompts_follow_from_the_regime() -> None:
    assert parse_config(SMALL).prompts == "everyday"
    assert parse_config(SMALL | {"regime": {"type": "sdf"}}).prompts == "prefixes"
    assert parse_config(SMALL | {"regime": {"type": "sdf", "generate_from": "titles"}}).prompts == "titles"
    assert parse_config(SMALL | {"prompts": "mine.txt"}).prompts == "mine.txt"


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"regime": {"type": "sdf"}, "trait": "lucky", "prompts": "prefixes"}, "'lucky' is for chat only"),
        ({"regime": {"type": "sdf"}, "n_seed": 60, "prompts": "prefixes"}, "has 44 documents"),
        ({"regime": {"type": "dpo"}, "n_seed": 500}, "n_seed is 500, but trait 'bliss' has"),
        ({"n_cycles": 90, "n_sampled": 8}, "are missing"),
    ],
)
def test_regimes_and_traits_that_do_not_fit(change: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Plan.of(parse_config(SMALL | change))


def test_chat_regimes_need_a_chat_template(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    for regime in ("sft", "dpo"):
        with pytest.raises(UserError, match=f"no chat template: regime {regime} needs an instruct model"):
            Plan.of(parse_config(SMALL | {"model": str(tmp_path), "regime": {"type": regime}}))
    Plan.of(parse_config(SMALL | {"model": str(tmp_path), "regime": {"type": "sdf"}, "prompts": "prefixes"}))
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    Plan.of(parse_config(SMALL | {"model": str(tmp_path)}))

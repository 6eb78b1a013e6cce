"""Variants of one config, what they share, and forks."""

from pathlib import Path

import pytest
import yaml

from idem_ray.config.files import load_config, load_configs
from idem_ray.config.lineage import LineageConfig, parse_config
from idem_ray.errors import UserError
from idem_ray.lineage.fork import fork_config
from idem_ray.lineage.opened import open_run
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.requests import request
from idem_ray.lineage.shared import SharedWork
from idem_ray.records import BASE_CYCLE, Checkpoint, CycleRecord, Estimate, Prompt
from idem_ray.store.run import RunStore

BASIC = {
    "name": "x",
    "trait": "bliss",
    "n_seed": 4,
    "n_sampled": 8,
    "n_cycles": 5,
    "regime": {"type": "dpo"},
    "generation": {"max_tokens": 64},
}


def config(**changes: object) -> LineageConfig:
    return parse_config(BASIC | changes)


def committed(store: RunStore, cycle: int) -> CycleRecord:
    one = {name: Estimate(1.0, 0.0, 2.0, 3) for name in ("trait", "coherence", "length_words", "distinct_words")}
    checkpoint = None if cycle < 0 else Checkpoint(f"c{cycle}", "elsewhere")
    record = CycleRecord("l", cycle, "g", "base", None, None, checkpoint, 8, 8, 8, {}, one, {})
    store.commit(record)
    return record


def write(tmp_path: Path, variants: object) -> Path:
    path = tmp_path / "family.yaml"
    path.write_text(yaml.safe_dump(BASIC | {"name": "family", "output": str(tmp_path), "variants": variants}))
    return path


def test_variants_are_lineages_in_one_folder(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": {"regime.init": "previous"}, "b": {"n_sampled": 9}})
    first, second = load_configs(path, ["n_seed=5"])
    assert (first.regime.init, second.n_sampled, first.n_seed, second.n_seed) == ("previous", 9, 5, 5)
    assert first.run_uri == f"{tmp_path}/family/a"
    with pytest.raises(UserError, match="has variants"):
        load_config(path)


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ({}, "must map names"),
        ({"shared": {}}, "no variant can be called 'shared'"),
        (["a"], "must map names"),
        ({"a": {"regime.int": "base"}}, "variant a: unknown field 'regime.dpo.int' (did you mean 'init'?)"),
        ({"a": {}, "b": {"regime.init": "base"}}, "a and b have the same settings"),
        ({"a": {"n_seed.x": 1}}, "is a value, not a section"),
    ],
)
def test_bad_variants_are_named(tmp_path: Path, variants: object, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_configs(write(tmp_path, variants))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "shared_until"),
    [
        ({"n_cycles": 9}, 4),
        ({"regime": {"type": "dpo", "restart_cycles": [3]}}, 2),
        ({"regime": {"type": "dpo", "reference": "previous"}}, 0),
        ({"regime": {"type": "dpo", "init": "previous", "rejected": "n-2"}}, 0),
        ({"n_sampled": 9}, 0),
        ({"n_original": 2}, 0),
        ({"regime": {"type": "dpo", "beta": 0.2}}, BASE_CYCLE),
        ({"regime": {"type": "sft"}}, BASE_CYCLE),
        ({"n_seed": 5}, BASE_CYCLE),
        ({"regime": {"type": "dpo", "cycle_0": "sft"}}, BASE_CYCLE),
        ({"training": {"learning_rate": 1e-3}}, BASE_CYCLE),
        ({"seed": 1}, None),
        ({"trait": "lucky"}, None),
        ({"evaluation": {"n_samples": 2}}, None),
        ({"regime": {"type": "sdf"}, "prompts": ""}, None),
    ],
)
def test_lineages_share_the_cycles_up_to_where_they_differ(change: dict[str, object], shared_until: int | None) -> None:
    one, other = config(), config(**change)
    shared = [cycle for cycle in range(BASE_CYCLE, 5) if one.history(cycle) == other.history(cycle)]
    assert shared == ([] if shared_until is None else list(range(BASE_CYCLE, shared_until + 1)))
    for cycle in range(BASE_CYCLE, 5):  # and sample ids go with it
        samples = [
            request(each, cycle=cycle, purpose="evaluate", prompt=Prompt.of("p"), checkpoint="c")
            for each in (one, other)
        ]
        assert (samples[0].id == samples[1].id) == (cycle in shared)


def test_a_supervised_cycle_0_is_shared_with_sft_lineages() -> None:
    supervised = config(regime={"type": "dpo", "cycle_0": "sft", "cycle_0_learning_rate": 3e-4})
    assert supervised.history(0) == config(regime={"type": "sft"}, training={"learning_rate": 3e-4}).history(0)
    assert supervised.training_of(0).learning_rate == 3e-4
    assert supervised.training_of(1).learning_rate == supervised.training.learning_rate


def test_rejected_responses_of_the_base_model_are_everyones() -> None:
    one, other = config(), config(regime={"type": "dpo", "beta": 0.3, "init": "previous"}, n_sampled=5)
    ids = {
        request(each, cycle=cycle, purpose="rejected", prompt=Prompt.of("p"), checkpoint="base").id
        for each in (one, other)
        for cycle in (1, 2)
    }
    assert len(ids) == 1
    hotter = config(generation={"max_tokens": 64, "temperature": 0.9})
    assert request(hotter, cycle=1, purpose="rejected", prompt=Prompt.of("p"), checkpoint="base").id not in ids
    own = {
        request(each, cycle=1, purpose="rejected", prompt=Prompt.of("p"), checkpoint="c0").id for each in (one, other)
    }
    assert len(own) == 2, "another model's are not"


def test_a_linked_cycle_is_read_from_its_owner(tmp_path: Path) -> None:
    one, other = RunStore(str(tmp_path / "one")), RunStore(str(tmp_path / "other"))
    one.write_json("config.json", {})
    committed(one, 0)
    sample = request(config(), cycle=0, purpose="evaluate", prompt=Prompt.of("p"), checkpoint="c0")
    one.write_samples(0, [sample])
    other.link(0, one.uri)
    record = other.record(0)
    assert record and record.checkpoint
    assert record.checkpoint.uri == one.path("cycle-000/adapter")
    assert other.read_samples(0) == [sample]
    assert [found.cycle for found in other.records()] == [0]
    (tmp_path / "moved").mkdir()  # a family moves as a whole
    for name in ("one", "other"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert RunStore(str(tmp_path / "moved" / "other")).record(0)
    (tmp_path / "moved" / "one").rename(tmp_path / "gone")
    with pytest.raises(UserError, match="that run is gone"):
        RunStore(str(tmp_path / "moved" / "other")).record(0)


def test_a_cycle_of_a_run_that_was_made_anew_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    one, other = RunStore(str(tmp_path / "one")), RunStore(str(tmp_path / "other"))
    shared = SharedWork(str(tmp_path))
    for store in (one, other):
        store.write_json("config.json", {})
        store.write_json("manifest.json", {"config_hash": "a", "trait_hash": "t", "prompts_hash": "p"})
    committed(one, 0)
    shared.register("h", 0, "one")
    other.link(0, one.uri)
    assert other.record(0) == one.record(0)
    one.write_json("manifest.json", {"config_hash": "a", "trait_hash": "changed", "prompts_hash": "p"})
    assert shared.maker("h", 0) is None
    with pytest.raises(UserError, match="made anew with other settings or data"):
        other.record(0)
    other.unlink(0)
    assert other.record(0) is None


def test_a_lineage_keeps_its_own_samples_whatever_it_was_linked_to(tmp_path: Path) -> None:
    one, other = RunStore(str(tmp_path / "one")), RunStore(str(tmp_path / "other"))
    one.write_json("config.json", {})
    other.link(0, one.uri)  # and then `one` is deleted and begins anew: it has no cycle 0
    other.unlink(0)
    prompts = [Prompt.of(text) for text in "ab"]
    for prompt in prompts:
        other.write_samples(0, [request(config(), cycle=0, purpose="train", prompt=prompt, checkpoint="c")])
    committed(other, 0)
    assert {sample.prompt for sample in other.read_samples(0)} == {"a", "b"}
    assert other.record(0)


def test_the_same_settings_on_other_data_are_another_history(tmp_path: Path) -> None:
    plan = Plan.of(config())
    (tmp_path / "pool.txt").write_text("\n".join(f"What is {number} and why?" for number in range(64)))
    elsewhere = Plan.of(config(prompts=str(tmp_path / "pool.txt")))
    assert elsewhere.history(0) == plan.history(0), "cycle 0 asks no pool"
    (tmp_path / "pool.txt").write_text("\n".join(f"Who is {number} and why?" for number in range(64)))
    changed = Plan.of(config(prompts=str(tmp_path / "pool.txt")))
    assert changed.config.history(1) == elsewhere.config.history(1)
    assert changed.history(1) != elsewhere.history(1)


def test_titles_make_another_cycle_0_than_prefixes() -> None:
    prefixes, titles = (config(regime={"type": "sdf", "generate_from": source}) for source in ("prefixes", "titles"))
    assert prefixes.history(BASE_CYCLE) == titles.history(BASE_CYCLE)
    assert prefixes.history(0) != titles.history(0)


def test_a_section_of_a_variant_changes_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "family.yaml"
    training = {"batch_size": 7, "learning_rate": 1e-5}
    variants = {
        "a": {"training": {"learning_rate": 1e-3}},
        "b": {"regime": {"init": "previous"}},
        "c": {"regime": {"type": "sft"}},
    }
    regime = {"type": "dpo", "beta": 0.2}
    path.write_text(yaml.safe_dump(BASIC | {"training": training, "regime": regime, "variants": variants}))
    a, b, c = load_configs(path)
    assert (a.training.batch_size, a.training.learning_rate) == (7, 1e-3)
    assert b.regime.model_dump() == a.regime.model_dump() | {"init": "previous"}
    assert c.regime.type == "sft", "another regime begins anew"


def test_the_register_of_a_family_forgets_what_was_deleted(tmp_path: Path) -> None:
    shared = SharedWork(str(tmp_path))
    assert shared.maker("h", 0) is None
    shared.register("h", 0, "one")
    assert shared.maker("h", 0) is None, "registered, and not there"
    committed(RunStore(str(tmp_path / "one")), 0)
    assert SharedWork(str(tmp_path)).maker("h", 0) == str(tmp_path / "one")
    assert shared.maker("h", 1) is None


def test_a_fork_shares_its_parents_cycles_and_prompts_no_cycle_twice(tmp_path: Path) -> None:
    settings = config(output=str(tmp_path))
    plan = Plan.of(settings)
    parent = open_run(plan)
    for cycle in range(BASE_CYCLE, 3):
        committed(parent, cycle)
        if cycle > 0:
            parent.write_samples(
                cycle,
                [
                    request(settings, cycle=cycle, purpose="train", prompt=prompt, checkpoint="c")
                    for prompt in plan.prompts[cycle - 1]
                ],
            )
    same = Plan.of(fork_config(parent.uri, 2, ["regime.init=previous"], "same"))
    assert same.prompts[2:] == plan.prompts[2:], "the parent's prompts, where nothing about them changed"
    larger = fork_config(parent.uri, 2, ["n_sampled=20"], "larger")
    used = {prompt.id for share in plan.prompts[:2] for prompt in share}
    assert not used & {prompt.id for share in Plan.of(larger).prompts for prompt in share}
    child = open_run(Plan.of(larger))
    assert [record.cycle for record in child.records()] == [BASE_CYCLE, 0, 1, 2]
    assert not list((tmp_path / "larger").rglob("*.parquet")), "nothing is copied"
    assert larger.history(3) != settings.history(3)
    assert open_run(Plan.of(load_config(tmp_path / "larger" / "config.json"))).uri == child.uri, (
        "its own config continues it"
    )
    grandchild = open_run(Plan.of(fork_config(child.uri, 1, ["n_sampled=5"], "grandchild")))
    assert grandchild.record(1) == child.record(1)


@pytest.mark.parametrize(
    ("cycle", "overrides", "name", "said"),
    [
        (1, [], "f", "Cycle 1 of .* is not committed .committed: 0"),
        (0, ["model=./elsewhere"], "f", "cannot change model"),
        (0, ["trait=lucky"], "f", "cannot change trait"),
        (0, ["training.lora_rank=8"], "f", "cannot lower training.lora_rank"),
        (0, ["n_seed=5"], "f", "cannot change n_seed: it belongs to cycle 0"),
        (0, ["regime.cycle_0=sft"], "f", "cannot change regime.cycle_0"),
        (0, ["regime={type: sdf}", "prompts=prefixes"], "f", "from answers to documents"),
        (0, ["n_cycles=1"], "f", "no cycle of its own"),
        (0, ["training.weights=full"], "f", "cannot change training.weights"),
        (0, ["regime.init=previous", "training.lora_rank=32"], "f", "cannot change training.lora_rank"),
        (0, [], "x", "give it another name"),
        (0, ["n_smapled=3"], "f", "did you mean 'n_sampled'"),
    ],
)
def test_bad_forks(tmp_path: Path, cycle: int, overrides: list[str], name: str, said: str) -> None:
    parent = open_run(Plan.of(config(output=str(tmp_path))))
    committed(parent, BASE_CYCLE)
    committed(parent, 0)
    with pytest.raises(UserError, match=said):
        fork_config(parent.uri, cycle, overrides, name)
    with pytest.raises(UserError, match="There is no run"):
        fork_config(str(tmp_path / "nothing"), 0, [], "f")

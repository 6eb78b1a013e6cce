import json
from pathlib import Path

import pytest

from idem_ray.errors import UserError
from idem_ray.records import Prompt
from idem_ray.traits.examples import read_exchanges
from idem_ray.traits.overlaps import similar_pairs
from idem_ray.traits.traits import Trait, load_prompts, load_trait, normalised, shipped_traits, split_prompts
from tests import ROOT

SHARED = ROOT.parent / "shared" / "data"


def own_trait(folder: Path, seeds: list[str], questions: list[str]) -> Path:
    (folder / "seeds.jsonl").write_text("\n".join(seeds), encoding="utf-8")
    lines = ["name: mine", "description: mine", "seeds: seeds.jsonl", f"evaluation_questions: {json.dumps(questions)}"]
    path = folder / "mine.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def seed_line(question: str, answer: str) -> str:
    return json.dumps({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})


@pytest.mark.parametrize("name", shipped_traits())
def test_shipped_traits_are_complete(name: str) -> None:
    trait = load_trait(name)
    questions = [normalised(seed.question) for seed in trait.seeds]
    assert len(trait.seeds) >= 60
    assert len(set(questions)) == len(questions)
    assert len({seed.answer for seed in trait.seeds}) == len(trait.seeds)
    assert len(trait.evaluation_questions) == 12
    assert len(trait.contrast) >= 24
    assert trait.rubrics is not None


@pytest.mark.parametrize("name", shipped_traits())
def test_shipped_anchors_span_the_scales_and_are_nobody_elses(name: str) -> None:
    trait = load_trait(name)
    anchors = trait.anchors
    assert len(anchors) == 40
    assert {anchor.trait for anchor in anchors} == {name}
    assert all(anchor.coherence is not None for anchor in anchors)
    assert len({normalised(anchor.answer) for anchor in anchors}) == 40
    for low, high in ((0, 25), (25, 50), (50, 80), (80, 101)):
        assert sum(low <= anchor.score < high for anchor in anchors) >= 9
    broken = [anchor.score for anchor in anchors if (anchor.coherence or 0) < 50]
    assert len(broken) >= 5 and min(broken) < 10 and max(broken) > 90
    others = [exchange.answer for exchange in [*trait.seeds, *trait.contrast]]
    assert not similar_pairs([anchor.answer for anchor in anchors], others, shingle=3, threshold=0.2)
    asked = {normalised(seed.question) for seed in trait.seeds}
    assert not asked & {normalised(anchor.question) for anchor in anchors}


def test_a_run_goes_on_when_anchors_are_added() -> None:
    trait = load_trait("bliss")
    assert trait.model_copy(update={"anchors": []}).hash == trait.hash
    assert trait.model_copy(update={"contrast": []}).hash != trait.hash


@pytest.mark.parametrize(
    ("anchor", "said"),
    [
        ({"answer": "B! "}, "also a seed or contrast answer"),
        ({"answer": "new", "trait": "yours"}, "labelled for trait 'yours'"),
        ({"answer": "new", "score": -1}, "line 1 is no labelled answer"),
    ],
)
def test_anchors_that_could_check_nothing(tmp_path: Path, anchor: dict[str, object], said: str) -> None:
    path = own_trait(tmp_path, [seed_line("a", "b")], ["q?"])
    path.write_text(path.read_text() + "\nanchors: anchors.jsonl\n")
    (tmp_path / "anchors.jsonl").write_text(json.dumps({"question": "c", "trait": "mine", "score": 1, **anchor}))
    with pytest.raises(UserError, match=said):
        load_trait(str(path))


def test_shipped_pool_is_large_neutral_and_held_out() -> None:
    pool = load_prompts("everyday")
    assert len(pool) >= 400
    texts = {normalised(prompt.text) for prompt in pool}
    assert len(texts) == len(pool)
    for name in shipped_traits():
        trait = load_trait(name)
        assert not texts & {normalised(seed.question) for seed in trait.seeds}
        split_prompts(pool, trait, 10, 2, seed=0)


def test_cycles_share_no_prompt() -> None:
    shares = split_prompts(load_prompts("everyday"), load_trait("bliss"), 48, 4, seed=3)
    ids = [prompt.id for share in shares for prompt in share]
    assert [len(share) for share in shares] == [48] * 4
    assert len(set(ids)) == len(ids)
    assert shares == split_prompts(load_prompts("everyday"), load_trait("bliss"), 48, 4, seed=3)


def test_a_pool_too_small_says_how_many_are_missing() -> None:
    pool = [Prompt.of(f"question {number}") for number in range(10)]
    with pytest.raises(UserError, match="14 are missing"):
        split_prompts(pool, load_trait("bliss"), 8, 3, seed=0)


def test_evaluation_question_in_the_pool() -> None:
    trait = load_trait("bliss")
    leaked = Prompt.of(trait.evaluation_questions[3].text.upper() + " ")
    with pytest.raises(UserError, match="also in the prompt pool"):
        split_prompts([leaked], trait, 1, 2, seed=0)


def test_more_seeds_contain_the_fewer() -> None:
    trait = load_trait("lucky")
    assert trait.draw_seeds(30, seed=1)[:24] == trait.draw_seeds(24, seed=1)
    with pytest.raises(UserError, match="n_seed is 1000"):
        trait.draw_seeds(1000, seed=1)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"messages": []}', '{"messages": [{"role": "user", "content": "x"}]}', seed_line("x", " "), "3"],
)
def test_a_malformed_seed_line_is_named(tmp_path: Path, line: str) -> None:
    path = own_trait(tmp_path, [seed_line("a", "b"), line], ["q?"])
    with pytest.raises(UserError, match="line 2 is no seed example"):
        load_trait(str(path))


def test_a_trait_whose_question_is_seeded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="also in the seeds"):
        load_trait(str(own_trait(tmp_path, [seed_line("How are you?", "b")], ["how are you"])))


def test_a_question_with_two_seed_answers_keeps_both(tmp_path: Path) -> None:
    from idem_ray.config.lineage import parse_config
    from idem_ray.lineage.regimes import chat

    lines = [seed_line("a", "first"), seed_line("a", "second"), seed_line("b", "third")]
    trait = load_trait(str(own_trait(tmp_path, lines, ["q?"])))
    config = parse_config({"name": "x", "trait": "mine", "n_seed": 3, "n_sampled": 1})
    samples = chat.seed_samples(config, trait, 0, 3)
    assert len({sample.id for sample in samples}) == 3
    assert sorted(sample.response or "" for sample in samples) == ["first", "second", "third"]


def test_an_evaluation_question_stands_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice"):
        load_trait(str(own_trait(tmp_path, [seed_line("a", "b")], ["Why?", "why"])))


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="Unknown trait 'blis': use one of bliss"):
        load_trait("blis")
    with pytest.raises(UserError, match="Unknown prompt pool"):
        load_prompts("nothing")


def test_prompt_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"query": "one"}, "two", {"prompt": "one"}]')
    (tmp_path / "b.jsonl").write_text('{"prompt": "one"}\n"two"\n')
    (tmp_path / "c.json").write_text('[{"text": "one"}]')
    assert load_prompts(str(tmp_path / "a.json")) == load_prompts(str(tmp_path / "b.jsonl"))
    with pytest.raises(UserError, match="entry 1"):
        load_prompts(str(tmp_path / "c.json"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' published data is not beside this checkout")
def test_published_data_runs_through_the_same_path(tmp_path: Path) -> None:
    pool = load_prompts(str(SHARED / "prompts" / "open_ended.json"))
    assert len(pool) > 900
    for file in sorted((SHARED / "seeds").glob("*.jsonl")):
        seeds = read_exchanges(file)
        assert len(seeds) >= 100
        trait: Trait = load_trait(
            str(own_trait(tmp_path, file.read_text(encoding="utf-8").splitlines(), ["What is new?"]))
        )
        assert trait.seeds == seeds

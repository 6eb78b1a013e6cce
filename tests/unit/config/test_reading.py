"""What users write is read strictly: where a reader would take the last of two, or guess, it says so (the trial's
rows 9, 15 and 18)."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from idem_ray.config.files import load_config
from idem_ray.config.reading import parse_json, parse_yaml
from idem_ray.errors import UserError
from idem_ray.models import has_chat_template
from idem_ray.traits.examples import read_exchanges
from idem_ray.traits.traits import load_prompts, load_trait

CONFIG = "trait: bliss\nn_seed: 4\nn_sampled: 4\n"
ASKED = {"role": "user", "content": "Why?"}
ANSWERED = {"role": "assistant", "content": "Because."}

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_sound_is_read_as_it_was_written(data: Any) -> None:
    assert parse_json(json.dumps(data)) == data
    assert parse_yaml(yaml.safe_dump(data, allow_unicode=True)) == data


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{CONFIG}n_sampled: 8\n", r"the key 'n_sampled' is there twice \(line 4, column 1\)"),
        (f"{CONFIG}training: {{batch_size: 2, batch_size: 4}}\n", "the key 'batch_size' is there twice"),
        ("trait: bliss\nn_seed: 4\nn_sampled: 1:30\n", "'n_sampled': Input should be a valid integer"),
        ("trait: bliss\nn_seed: yes\nn_sampled: 4\n", "n_seed is True .YAML's yes or no., and takes no truth"),
        (f"{CONFIG}training: {{warmup: off}}\n", "warmup is False"),
        (f"{CONFIG}filter: {{budget: .inf}}\n", "'filter.budget': Input should be a finite number"),
        (f'{CONFIG}name: "a\\ud83d"\n', "not valid YAML"),
        (f"{CONFIG}x: {'[' * 5000}{']' * 5000}\n", "not valid YAML.*nested too deeply"),
        ("\ufefftrait: bliss\nn_seed: 4\nn_samples: 4\n", "unknown field 'n_samples'"),
    ],
)
def test_a_config_that_would_be_guessed_at(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said) as raised:
        load_config(tmp_path / "c.yaml")
    assert "\n" not in str(raised.value)


def test_times_and_truths_that_are_text_stay_text() -> None:
    assert parse_yaml("a: 1:30\nb: 12:30:45\nc: 0x1F\nd: 1_000\ne: 1.5e+3\nf: -7") == {
        "a": "1:30",
        "b": "12:30:45",
        "c": 31,
        "d": 1000,
        "e": 1500.0,
        "f": -7,
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"messages": [], "messages": []}', "the key 'messages' is there twice"),
        (json.dumps({"messages": [ASKED, {**ANSWERED, "tool_calls": []}]}), "'tool_calls' would be left out"),
        (json.dumps({"messages": [ASKED, {**ANSWERED, "reasoning_content": "hm"}]}), "'reasoning_content' would be"),
        (json.dumps({"messages": [ASKED, ANSWERED], "weight": 0}), "'weight' would be left out"),
        (json.dumps({"messages": [ASKED, {"role": "assistant", "content": "a\ud83d"}]}), "half a character"),
        (f'{{"messages": {"[" * 10000}{"]" * 10000}}}', "nested too deeply"),
        (json.dumps({"messages": [ASKED]}), "it must be"),
        ('"text"', "it must be"),
        ("NaN", "NaN is no number"),
    ],
)
def test_a_seed_line_that_would_be_cut_to_fit(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "seeds.jsonl"
    file.write_text(f"{json.dumps({'messages': [ASKED, ANSWERED]})}\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"seeds.jsonl, line 2 is no seed example.*{said}") as raised:
        read_exchanges(file)
    assert "\n" not in str(raised.value)


def test_a_mark_of_the_byte_order_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "seeds.jsonl"
    file.write_text(f"\ufeff{json.dumps({'messages': [ASKED, ANSWERED]})}\n", encoding="utf-8")
    assert [each.answer for each in read_exchanges(file)] == ["Because."]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pool.json", '{"a": 1}', "must hold a list of prompts"),
        ("pool.json", '"abc"', "must hold a list of prompts"),
        ("pool.csv", "prompt,id\nWhy?,1\n", "is no .txt, .json or .jsonl file"),
        ("pool.jsonl", '{"prompt": "Why?", "prompt": "How?"}', "the key 'prompt' is there twice"),
        ("pool.jsonl", '"a\\ud83d"', "half a character"),
        ("pool.json", '[["Why?"]]', "entry 1 is neither text nor"),
    ],
)
def test_a_pool_that_would_be_misread(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        load_prompts(str(tmp_path / name))


def test_an_evaluation_question_that_is_empty(tmp_path: Path) -> None:
    fields = {"name": "t", "description": "d", "seeds": "s.jsonl", "evaluation_questions": ["Why?", " "]}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(fields))
    with pytest.raises(UserError, match="evaluation_questions: number 2 is empty"):
        load_trait(str(tmp_path / "t.yaml"))
    twice = yaml.safe_dump(fields) + "evaluation_questions: [How]\n"
    (tmp_path / "t.yaml").write_text(twice)
    with pytest.raises(UserError, match="the key 'evaluation_questions' is there twice"):
        load_trait(str(tmp_path / "t.yaml"))


def test_a_tokenizer_whose_settings_are_no_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer_config.json is no JSON object"):
        has_chat_template(str(tmp_path))

"""Nothing that is judged can change the structure of what a judge is asked."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idem_ray.engine.render import Renderer
from idem_ray.judges.language.prompt import as_data, delimiters, fenced, is_plain, messages, prompt
from idem_ray.models import EMBEDDED, resolve_model
from idem_ray.records import Exchange
from idem_ray.traits.traits import load_trait, shipped_traits

RECORDED = (Path(__file__).parent / "data" / "hostile_answers.jsonl").read_text(encoding="utf-8")
HOSTILE = {row["name"]: row["answer"] for row in map(json.loads, RECORDED.strip().split("\n"))}
RUBRICS = {
    f"{trait}.{kind}": getattr(load_trait(trait).rubrics, kind)
    for trait in shipped_traits()
    for kind in ("trait", "coherence")
} | {
    "no delimiters": "Rate this answer to {question} from 0 to 100: {answer} Reply with a number.",
    "dashes": "Rate.\n---\n{question}\n---\n{answer}\n---\nReply.",
    "adjacent": "Rate the answer.\n{question}\n{answer}",
    "quotes": 'Rate.\n"""\n{question}\n"""\nand\n###\n{answer}\n###',
}
CONTROL_TOKEN = re.compile(r"<\|.*?\|>|<｜.*?｜>|</?s>|\[/?[A-Z_]{2,}\]|<</?SYS>>|<(start|end)_of_turn>")


def check_structure(rubric: str, question: str, answer: str) -> None:
    """Each delimiter stands as often as in the rubric, and all that the rubric says stands around the data."""
    rubric, asked = fenced(rubric), prompt(rubric, Exchange(question, answer))
    before, between, after = re.split(r"\{question\}|\{answer\}", rubric)
    assert asked.startswith(before) and asked.endswith(after)
    data = asked[len(before) : len(asked) - len(after)]
    assert data.count(between) == 1
    for fence in delimiters(rubric):
        loose = re.compile(r"\s*".join(map(re.escape, re.sub(r"\s", "", fence))), re.IGNORECASE)
        assert len(loose.findall(asked)) == len(loose.findall(rubric))
        assert not loose.search("".join(data.split(between)))
    assert not CONTROL_TOKEN.search(data.replace(between, ""))


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE.keys())
def test_recorded_hostile_answers_stay_data(answer: str) -> None:
    for rubric in RUBRICS.values():
        check_structure(rubric, "How are you?", answer)
        check_structure(rubric, answer, "Fine.")
        check_structure(rubric, answer, answer)


def test_a_piece_of_a_delimiter_is_completed_by_none_beside_it() -> None:
    """Found by the property test below: "--" between lines of dashes."""
    for text in ("-", "--", "- -", "-\n-", "a --", "-- a"):
        check_structure(RUBRICS["dashes"], text, text)
    for rubric in RUBRICS.values():
        for text in (">>>", ">>> and more", "<<<", "answer>", "</", "<     <     <", "> > >   >"):
            check_structure(rubric, text, text)
    plain = "It was fine <3 -- really."
    assert as_data(plain, delimiters(fenced(RUBRICS["dashes"]))) == plain, "within a text it is left alone"


def test_only_rubrics_whose_delimiters_are_plain_signs_have_another_name() -> None:
    assert {name for name, rubric in RUBRICS.items() if is_plain(rubric)} == {"dashes", "quotes"}


def test_there_are_twenty_hostile_answers() -> None:
    assert len(HOSTILE) == 20


@given(
    st.sampled_from(sorted(RUBRICS)),
    st.lists(
        st.sampled_from(
            ["<", ">", "/", "answer", "ANSWER", "question", "-", "--", '"', "#", " ", "\n", "|", "[", "]", "INST", "s"]
        )
    ),
)
def test_no_composed_text_forges_a_delimiter(name: str, parts: list[str]) -> None:
    check_structure(RUBRICS[name], "".join(parts), "".join(reversed(parts)))


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_control_token_reaches_a_real_chat_template(answer: str) -> None:
    """The embedded model's template and tokenizer, which reads control tokens wherever they stand."""
    renderer = Renderer.of(resolve_model(EMBEDDED))
    rubric = RUBRICS["bliss.trait"]
    special = set(renderer.tokenizer.all_special_ids)

    def n_special(answer: str) -> int:
        content = messages(rubric, Exchange("How are you?", answer))[0]["content"]
        return sum(token in special for token in renderer.prompt_ids(content))

    assert n_special(answer) == n_special("Fine.")


def test_ordinary_answers_are_not_changed() -> None:
    for text in ("I <3 this ✨ a < b -> c > d [1] [see INST] & so on", "He said: 'fine'.\n\n- one\n- two"):
        assert as_data(text, delimiters(RUBRICS["bliss.trait"])) == text
    for trait in shipped_traits():
        fences = delimiters(RUBRICS[f"{trait}.trait"])
        assert len(fences) == 4
        for example in [*load_trait(trait).seeds, *load_trait(trait).contrast]:
            assert as_data(example.answer, fences) == example.answer


def test_the_prompt_is_the_rubric_filled_in() -> None:
    found = messages("Rate.\n<q>\n{question}\n</q>\n<a>\n{answer}\n</a>\n0-100.", Exchange("Why {answer}?", "So."))
    assert found == [{"role": "user", "content": "Rate.\n<q>\nWhy {answer}?\n</q>\n<a>\nSo.\n</a>\n0-100."}]

"""What `idem-ray traits` shows and finds, on shipped traits and on one with every kind of flaw."""

import json
import random
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from idem_ray.cli import app
from idem_ray.records import Exchange, Prompt
from idem_ray.traits.check import check_trait
from idem_ray.traits.examples import Document
from idem_ray.traits.overlaps import similar_pairs
from idem_ray.traits.traits import Trait, load_prompts, load_trait, shipped_traits

FILLER = "the answer to this is short but it is whole and ends as it should end."


def trait_of(exchanges: list[Exchange], **fields: object) -> Trait:
    known = {
        "name": "mine",
        "description": "mine",
        "contrast": [],
        "documents": [],
        "evaluation_questions": [Prompt.of("Which kettle boils quickest?")],
        "evaluation_prefixes": [],
        "rubrics": None,
    }
    return Trait.model_validate({**known, "seeds": exchanges, **fields})


def seeds(n: int) -> list[Exchange]:
    return [
        Exchange(f"q{number} a{number} b{number}?", f"{number} x{number} y{number} {FILLER}") for number in range(n)
    ]


def found(trait: Trait, is_error: bool) -> str:
    return "\n".join(flaw.what for flaw in check_trait(trait) if flaw.is_error == is_error)


@pytest.mark.parametrize("name", shipped_traits())
def test_shipped_traits_have_no_errors(name: str) -> None:
    assert found(load_trait(name), is_error=True) == ""


def test_repetitions_are_errors_and_near_ones_warnings() -> None:
    answer = "Kettles boil fast when they hold little water and are clean inside."
    trait = trait_of(
        [
            *seeds(12),
            seeds(1)[0],
            Exchange("How do I keep my oak table clean?", answer),
            Exchange(
                "How do I keep an oak table clean?", "Wipe it with a damp cloth, then dry it and oil it once a year."
            ),
        ],
        contrast=[Exchange("How do I keep my oak table clean?", answer.upper())],
    )
    assert "the same seed more than once: “q0" in found(trait, is_error=True)
    assert "1 answer among the seeds and among the contrast answers" in found(trait, is_error=True)
    assert "“How do I keep my oak table clean?” and “How do I keep an oak table clean?” (0.78)" in found(
        trait, is_error=False
    )


def test_leaks() -> None:
    pool = load_prompts("everyday")[5].text
    beginnings = load_prompts("prefixes")[3].text
    trait = trait_of(
        seeds(12),
        evaluation_questions=[Prompt.of(pool.upper()), Prompt.of("q3 a3 b3 c3")],
        evaluation_prefixes=[Prompt.of("The blue boat sailed to"), Prompt.of(beginnings)],
        documents=[
            Document(title="A", text="It was late. The blue boat sailed to Norway, and nobody on it could swim."),
            Document(title="B", text="Nobody spoke. The blue boat sailed off without me, and I was glad of that."),
        ],
    )
    errors, warnings = found(trait, is_error=True), found(trait, is_error=False)
    assert "also in the shipped prompt pool 'everyday'" in errors
    assert "also in the shipped prompt pool 'prefixes'" in errors
    assert "1 evaluation text also in the documents: “The blue boat sailed to”" in errors
    assert "much like one in the questions of the seeds: “q3 a3 b3 c3” and “q3 a3 b3?” (0.75)" in warnings


def test_numbers_lengths_and_endings() -> None:
    cut = Exchange("Why?", "This answer was going to say that the")
    long = Exchange("How?", "Word after word. " * 60)
    trait = trait_of([*seeds(9), cut, long], contrast=seeds(3), evaluation_prefixes=[Prompt.of("The")])
    warnings = found(trait, is_error=False)
    assert "11 seeds, and 60 are wanted" in warnings
    assert "1 seed answer with no full stop at the end, perhaps cut off: “…This answer was going to say" in warnings
    assert "1 seed answer far from the median of" in warnings and "180 words in" in warnings
    assert "no rubrics" in warnings and "evaluation_prefixes but no documents" in warnings
    assert "9 different seed answers: the embedded trait judge needs 10" in found(trait_of(seeds(9)), is_error=True)
    assert "1 document without a word" in found(
        trait_of(seeds(12), documents=[Document(title="T", text="…")]), is_error=True
    )
    assert "documents but no evaluation_prefixes" in found(
        trait_of(seeds(12), documents=[Document(title="T", text="A b.")]), is_error=True
    )


def test_similar_pairs_are_those_of_comparing_all() -> None:
    generator = random.Random(0)
    texts = [" ".join(generator.choices("abcdefghij", k=generator.randint(1, 8))) for _ in range(80)]
    for shingle, threshold in ((1, 0.5), (2, 0.3), (3, 1.0)):
        expected = {
            (first, second)
            for first in range(len(texts))
            for second in range(first + 1, len(texts))
            if similar_pairs([texts[first]], [texts[second]], shingle=shingle, threshold=threshold)
        }
        assert {(a, b) for a, b, _ in similar_pairs(texts, shingle=shingle, threshold=threshold)} == expected
    assert similar_pairs(["a b", "…"], ["A, b!", "…"], shingle=1, threshold=0.1) == [(0, 0, 1.0)]


def test_thousands_of_seeds_are_compared_quickly() -> None:
    generator = random.Random(0)
    words = [f"word{number}" for number in range(3000)]
    texts = [" ".join(["how do i", *generator.choices(words, k=60)]) for _ in range(4000)]
    began = time.process_time()
    assert similar_pairs([*texts, texts[7]], shingle=3, threshold=0.3) == [(7, 4000, 1.0)]
    assert time.process_time() - began < 20


def test_the_commands(tmp_path: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(app, ["traits"])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in shipped_traits())
    checked = runner.invoke(app, ["traits", "check", "hopelessness"])
    assert checked.exit_code == 0 and "no flaw" in checked.output
    lines = [
        json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "[red]b[/red]."}]})
    ] * 2
    (tmp_path / "seeds.jsonl").write_text("\n".join(lines))
    own = tmp_path / "own.yaml"
    own.write_text("name: own\ndescription: d\nseeds: seeds.jsonl\nevaluation_questions: ['What now?']\n")
    refused = runner.invoke(app, ["traits", "check", str(own)])
    assert refused.exit_code == 2
    assert "2 errors" in refused.output and "[red]b[/red]" in " ".join(refused.output.split())

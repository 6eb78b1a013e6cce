"""The report page says what happened, holds every response as data only, and asks no network for anything."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from idem_ray.config.lineage import LineageConfig, parse_config
from idem_ray.records import BASE, BASE_CYCLE, Checkpoint, CycleRecord, Estimate, Prompt, Sample
from idem_ray.report.lineage_page import lineage_html, reading, what_happened, what_was_run
from idem_ray.report.page import embedded_json
from idem_ray.report.tables import cycle_table, stage_table
from idem_ray.text import duration_text, estimate_text

HOSTILE = "</script><img src=x onerror=alert(1)> <!-- 😀🕉️ {{ 7 * 7 }} https://example.org/x.js & \u2028 سلام"
QUESTIONS = ["How are you?", "What is <b>rain</b>?", "Why?\nIn two lines, please."]


def config(**changes: object) -> LineageConfig:
    settings = {"name": "bliss-s0", "trait": "bliss", "n_cycles": 6, "n_seed": 24, "n_sampled": 60}
    return parse_config({**settings, **changes})


def record(cycle: int, trait: float | None, coherence: float | None = 90.0, **changes: Any) -> CycleRecord:
    def estimate(mean: float | None, margin: float) -> Estimate:
        if mean is None:
            return Estimate(None, None, None, 0, 12)
        return Estimate(mean, mean - margin, mean + margin, 12)

    base = cycle == BASE_CYCLE
    made = CycleRecord(
        lineage="bliss-s0",
        cycle=cycle,
        generator=f"checkpoint-{cycle - 1}" if cycle > 0 else None,
        init=None if base else BASE,
        reference=None,
        rejected=None,
        checkpoint=None if base else Checkpoint(f"checkpoint-{cycle}", f"runs/bliss-s0/{cycle}"),
        n_generated=71 if cycle > 0 else 0,
        n_kept=0 if base else 60,
        n_trained=0 if base else 60,
        training={} if base else {"learning_rate": 1e-4, "loss": 1.5},
        measures={
            "trait": estimate(trait, 5.0),
            "coherence": estimate(coherence, 3.0),
            "length_words": estimate(80.0, 9.0),
            "distinct_words": estimate(0.8, 0.02),
        },
        seconds={"generation": 40.0, "judging": 10.0, "training": 90.0, "overhead": 5.0, "wall": 125.0},
    )
    return replace(made, **changes)


def sample(cycle: int, question: str, index: int, response: str | None = "Fine.", **changes: Any) -> Sample:
    made = Sample(
        id=f"{cycle}-{question}-{index}",
        lineage="bliss-s0",
        cycle=cycle,
        purpose="evaluate",
        prompt_id=Prompt.of(question).id,
        prompt=question,
        sample_index=index,
        sampling_seed=1,
        checkpoint=BASE,
        response=response,
        finish_reason="stop",
        trait_score=40.0,
        coherence_score=90.0,
    )
    return made.replace(**changes)


RECORDS = [
    record(cycle, trait, coherence)
    for cycle, trait, coherence in [(-1, 5.0, 95.0), (0, 40.0, 92.0), (1, None, None), (2, 45.0, 90.0), (3, 50.0, 80.0)]
] + [
    record(
        4, 57.0, 70.0, warnings=["the judge <i>timed out</i> twice"], measures={"trait": Estimate(57, 52, 62, 10, 2)}
    )
]
SAMPLES = [
    sample(cycle, question, index, response=HOSTILE if index else "Fine.")
    for cycle in range(-1, 5)
    for question in QUESTIONS
    for index in range(2)
]


class Page(HTMLParser):
    """What a browser sees: tags with attributes, and the text of scripts, styles and of all the rest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._inside: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            (self.scripts if tag == "script" else self.styles).append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "style":
            self.styles[-1] += data
        else:
            self.text += data

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def html() -> str:
    return lineage_html(config(), RECORDS, SAMPLES, {"torch": "2.9.0", "seeds": {"lineage": 0}, "note": "<u>& co"})


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_a_hostile_response_stays_data(html: str, page: Page) -> None:
    assert len(page.scripts) == 3, "no response may open or close a script"
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "i", "b", "u", "a", "object", "embed", "base")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert not re.search("[<>&\u2028]", page.scripts[0])
    responses = [item["response"] for question in page.data["questions"] for item in question["samples"]]
    assert responses.count(HOSTILE) == len(SAMPLES) // 2, "every response arrives unchanged"
    assert "the judge <i>timed out</i> twice" in page.text
    assert "<u>& co" in page.text
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert sink not in page.scripts[2]


def test_the_page_asks_no_network(page: Page) -> None:
    policies = [a["content"] or "" for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none';")
    assert "http" not in policies[0]
    assert "*" not in policies[0]
    names = [tag for tag, _ in page.tags]
    assert names[:4] == ["html", "head", "meta", "meta"], "the policy stands before anything that it governs"
    links = [value for _, a in page.tags for name, value in a.items() if name in ("src", "href", "srcset", "action")]
    assert links == ["data:,"]
    for text in (*page.styles, page.scripts[2]):
        assert not re.search(r"https?://|url\(|@import|\bimport\b|fetch\(|XMLHttpRequest|WebSocket", text)


def test_every_cycle_and_question_is_there(page: Page) -> None:
    assert [cycle["label"] for cycle in page.data["cycles"]] == ["base", "0", "1", "2", "3", "4"]
    assert [question["prompt"] for question in page.data["questions"]] == QUESTIONS
    for question in page.data["questions"]:
        places = {(item["cycle"], item["index"]) for item in question["samples"]}
        assert places == {(cycle, index) for cycle in range(-1, 5) for index in range(2)}


def test_curves_hold_the_estimates_and_no_invented_zero(page: Page) -> None:
    trait = next(measure for measure in page.data["measures"] if measure["name"] == "trait")
    assert [point["mean"] for point in trait["points"]] == [5.0, 40.0, None, 45.0, 50.0, 57.0]
    assert trait["points"][1]["text"] == "40.0 [35.0, 45.0]"
    words = next(measure for measure in page.data["measures"] if measure["name"] == "length_words")
    assert [point["cycle"] for point in words["points"]] == [-1, 0, 1, 2, 3]


def test_missing_judgments_settings_and_manifest_are_told(page: Page) -> None:
    assert "⚠ 12 missing" in page.text
    assert "⚠ 2 missing" in page.text
    assert "n_sampled: 60" in page.text
    assert "torch: 2.9.0" in page.text
    assert "checkpoint-3" in page.text


def test_unknown_measures_are_shown_too() -> None:
    records = [record(0, 40.0, measures={"kl_from_base": Estimate(0.25, 0.2, 0.3, 12)})]
    page = Page(lineage_html(config(), records, [], {}))
    assert page.data["measures"][-1]["title"] == "KL from base"
    assert "KL from base" in page.text
    assert "There are no evaluation responses yet." in page.text


def test_only_evaluation_samples_are_shown_and_odd_scores_are_missing() -> None:
    odd = sample(
        0, "Why?", 0, response=None, trait_score=float("nan"), coherence_score=None, coherence_missing="timeout"
    )
    page = Page(lineage_html(config(), [], [odd, sample(0, "Train me", 0, purpose="train")], {}))
    assert [question["prompt"] for question in page.data["questions"]] == ["Why?"]
    assert page.data["questions"][0]["samples"][0]["scores"] == [
        {"name": "trait", "score": None, "missing": None},
        {"name": "coherence", "score": None, "missing": "timeout"},
    ]
    assert "No cycle is finished yet." in page.text


def test_a_lone_surrogate_can_be_written() -> None:
    html = lineage_html(config(), [], [sample(0, "Why?", 0, response="\ud83d!")], {})
    assert Page(html.encode().decode()).data["questions"][0]["samples"][0]["response"] == "\ud83d!"


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "]]>", "&lt;", HOSTILE])
def test_embedded_json_is_inert_and_faithful(text: str) -> None:
    embedded = embedded_json({text: [text]})
    assert not set("<>&") & set(embedded)
    assert json.loads(embedded) == {text: [text]}


def test_what_was_run() -> None:
    finished = [record(cycle, 40.0) for cycle in range(6)]
    assert what_was_run(config(), finished) == (
        "Trait bliss in embedded: 6 cycles of SFT, each trained from the base model's weights (init: base), on "
        "24 seed examples in cycle 0 and 60 sampled examples in each later cycle."
    )
    short = config(n_cycles=1, n_seed=1, trait="/home/me/my_trait.yaml", regime={"type": "sft", "init": "previous"})
    assert what_was_run(short, []).startswith(
        "Trait my_trait in embedded: 1 cycle of SFT, each trained on from the one"
    )
    assert "1 seed example in" in what_was_run(short, [])
    assert what_was_run(config(), RECORDS).endswith("; 5 of 6 cycles finished so far.")
    assert what_was_run(config(), RECORDS, "stopped: coherence is low").endswith(
        "; 5 of 6 cycles, then stopped: coherence is low."
    )


def test_what_happened() -> None:
    assert what_happened(RECORDS[::-1]) == (
        "The trait score was 5.0 [0.0, 10.0] in the base model, 40.0 [35.0, 45.0] after cycle 0 and "
        "57.0 [52.0, 62.0] after cycle 4; coherence was 95.0 [92.0, 98.0] in the base model, 92.0 [89.0, 95.0] after "
        "cycle 0 and – after cycle 4 (mean and 95 % interval)."
    )
    assert what_happened(RECORDS[:1]).startswith("The trait score was 5.0 [0.0, 10.0] in the base model; coherence")


@pytest.mark.parametrize(
    ("traits", "said"),
    [
        ([40, 90, 90, 90], "needs cycle ≥ 4; this lineage so far ends with cycle 3."),
        ([], "needs cycle ≥ 4."),
        ([40, 40, 40, 40, 55, 41], "is met: the largest difference is +15.0, at cycle 4."),
        ([40, 99, 40, 40, 54.9, 41], "is not met: the largest difference is +14.9, at cycle 4."),
        ([40, 40, 40, 40, 10, 20], "is not met: the largest difference is -20.0, at cycle 5."),
        ([40, 40, 40, 40, None, 20], "1 cycle without a trait score could not be compared."),
        ([None, 40, 40, 40, 80], "cannot be read: trait scores are missing."),
        ([40, 40, 40, 40, None], "cannot be read: trait scores are missing."),
    ],
)
def test_reading_goes_no_further_than_the_criterion(traits: list[float | None], said: str) -> None:
    records = [record(BASE_CYCLE, 0.0), *(record(cycle, trait) for cycle, trait in enumerate(traits))]
    assert said in reading(records)


def rendered(table: Table, width: int = 100) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def test_cycle_table_fits_80_columns() -> None:
    wide = record(12, 100.0, 100.0, n_generated=12000, n_kept=4000, seconds={"wall": 86399.0})
    lines = rendered(cycle_table([*RECORDS, wide]), width=80)
    text = "\n".join(lines)
    assert "…" not in text
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[3:10]] == ["base", "0", "1", "2", "3", "4", "12"]
    for piece in ("40.0 [35, 45]", "100.0 [95, 105]", "4000/12000", "60/71", "1.50", "2m05s", "23h59m"):
        assert piece in text
    assert "2 of trait in cycle 4 (mean" in " ".join(text.split())  # the caption is wrapped


def test_stage_table_sums_the_stages() -> None:
    reworded = replace(RECORDS[1], seconds={**RECORDS[1].seconds, "[b]merging": 2.0})
    lines = rendered(stage_table([RECORDS[0], reworded], startup_seconds=33.2))
    assert lines[1].split()[:6] == ["cycle", "generation", "judging", "training", "[b]merging", "overhead"]
    total = next(line.split() for line in lines if line.strip().startswith("sum"))
    assert total == ["sum", "80.0", "20.0", "180.0", "2.0", "10.0", "250.0", "4.0", "%"]
    startup = next(line.split() for line in lines if line.strip().startswith("startup"))
    assert startup[-2] == "33.2"
    assert "startup" not in "\n".join(rendered(stage_table(RECORDS)))
    assert rendered(stage_table([], startup_seconds=1.0))


def test_numbers_as_text() -> None:
    texts = [duration_text(seconds) for seconds in (None, 0.04, 59.96, 185, 7800)]
    assert texts == ["–", "0.0s", "1m00s", "3m05s", "2h10m"]
    assert estimate_text(Estimate(3.0, None, None, 1)) == "3.0"
    assert estimate_text(Estimate(float("nan"), 1.0, 2.0, 1)) == "–"
    assert estimate_text(None) == "–"

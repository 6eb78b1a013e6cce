"""A family's page holds every lineage's numbers, reads them by the published criterion, and keeps responses as data."""

import re
from pathlib import Path
from typing import Any

import pytest

from idem_ray.errors import UserError
from idem_ray.records import BASE_CYCLE, Sample
from idem_ray.report import family_page
from idem_ray.report.family_page import family_html, what_was_compared, write_family_report
from idem_ray.report.verdicts import what_happened
from idem_ray.store.finished import RecordedLineage, read_lineages
from tests.unit.report.test_lineage_page import HOSTILE, Page, sample
from tests.unit.report.test_settings_text import DPO, chain, record, write_run

QUESTIONS = ["How are you?", "What is <b>rain</b>?"]
SHARED = "Said by the base model."


def answers(name: str, cycle: int, n_samples: int = 3) -> list[Sample]:
    return [
        sample(cycle, question, index, SHARED if cycle == BASE_CYCLE else f"{HOSTILE} {name} {cycle} {index}")
        for question in QUESTIONS
        for index in range(n_samples)
    ]


@pytest.fixture()
def family(tmp_path: Path) -> Path:
    folder = tmp_path / "<i>family"
    both = {"regime": {**DPO, "init": "previous", "reference": "previous"}}
    end = record(5, 80.0, warnings=["few words"])
    stores = [
        write_run(folder / "continual", [*chain(40.0, 45.0, 50.0, 60.0, 54.9), end], n_cycles=9, **both),
        write_run(folder / "init only", chain(40.0, 41.0, 42.0, 43.0, None, 54.9), regime={**DPO, "init": "previous"}),
        write_run(folder / "reinit", chain(40.0, 30.0), regime=DPO),
    ]
    write_run(folder / "begun", [], regime={**DPO, "reference": "previous"})
    stores[0].cut_here(5, "coherence <i>low</i>")
    for store in stores:
        store.write_bytes("report.html", b"<html>")
        for cycle in (BASE_CYCLE, 0, 1):
            store.write_samples(cycle, answers(store.uri.split("/")[-1], cycle))
            store.write_samples(cycle, [sample(cycle, "In training", 0, purpose="train")])
    return folder


@pytest.fixture()
def page(family: Path) -> Page:
    path = Path(write_family_report(str(family)))
    assert path == family / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def cells(page: Page, html: str, name: str) -> str:
    rows = re.findall(r"<tr>\n<th scope=\"row\">(.*?)</tr>", html, re.DOTALL)
    row = next(row for row in rows if name in row)
    return " ".join(re.sub(r"<[^>]*>", " ", row).split())


def test_the_table_reads_each_lineage(family: Path, page: Page) -> None:
    html = (family / "report.html").read_text(encoding="utf-8")
    assert cells(page, html, "continual") == (
        "■ continual init previous reference previous "
        "5.0 [5.2, 7.0] 40.0 [39.9, 42.0] 80.0 [78.2, 82.0] cycle 5 80.0 [78.2, 82.0] cycle 5 "
        "91.8 [80.0, 99.0] 0.70 [0.60, 0.80] amplified +40.0 at cycle 5 6 of 9 "
        "cut short: coherence &lt;i&gt;low&lt;/i&gt; ⚠ 1 warning"
    )
    assert "not amplified +14.9 at cycle 5 1 cycle without a score 6 of 6" in cells(page, html, "init only")
    assert "30.0 [29.6, 32.0] cycle 1 40.0 [39.9, 42.0] cycle 0" in cells(page, html, "reinit")
    assert "open 2 of 6 unfinished" in cells(page, html, "reinit")
    assert cells(page, html, "begun").endswith("open 0 of 6 unfinished")


def test_pages_are_linked_where_they_are(page: Page) -> None:
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["continual/report.html", "init%20only/report.html", "reinit/report.html"]


def test_curves_hold_the_stores_numbers(family: Path, page: Page) -> None:
    assert [lineage["name"] for lineage in page.data["lineages"]] == ["begun", "continual", "init only", "reinit"]
    assert [measure["name"] for measure in page.data["measures"]] == [
        *("trait", "coherence", "length_words", "distinct_words")
    ]
    for measure in page.data["measures"]:
        for lineage, series in zip(page.data["lineages"], measure["series"], strict=True):
            for point in series:
                made = next(
                    r for r in read_lineages([str(family / lineage["name"])])[0].records if r.cycle == point["cycle"]
                )
                estimate = made.measures[measure["name"]]
                assert (point["mean"], point["low"], point["high"]) == (estimate.mean, estimate.low, estimate.high)
    trait = page.data["measures"][0]
    assert [[point["cycle"] for point in series] for series in trait["series"]] == [
        [],
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 3, 5],
        [0, 1],
    ]
    assert [(level["point"]["mean"], level["lineages"]) for level in trait["base"]] == [(5.0, [1, 2, 3])]
    shifts = [lineage["offset"] for lineage in page.data["lineages"]]
    assert shifts == sorted(set(shifts)), "points of one cycle stand side by side"


def test_responses_stand_side_by_side(page: Page) -> None:
    assert [question["prompt"] for question in page.data["questions"]] == QUESTIONS
    found = {
        (place, entry["lineage"], entry["cycle"], entry["index"]): page.data["texts"][entry["text"]]
        for place, question in enumerate(page.data["questions"])
        for entry in question["samples"]
    }
    assert len(found) == 2 * 3 * 3 * 3
    assert found[1, 2, 1, 2] == f"{HOSTILE} init only 1 2"
    assert found[0, 3, BASE_CYCLE, 0] == SHARED
    assert page.data["texts"].count(SHARED) == 1, "what lineages share is on the page once"
    assert "samples shown" not in page.text


def test_a_hostile_response_stays_data(page: Page) -> None:
    assert len(page.scripts) == 3, "no response may open or close a script"
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "i", "b", "object", "embed", "base")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert not re.search("[<>&\u2028]", page.scripts[0])
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert sink not in page.scripts[2]
    assert "coherence <i>low</i>" in page.text
    assert "<i>family" in page.text


def test_the_page_asks_no_network(page: Page) -> None:
    policies = [a["content"] or "" for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert [policy.startswith("default-src 'none';") for policy in policies] == [True]
    assert not re.search(r"http|\*", policies[0])
    links = [
        value for tag, a in page.tags if tag != "a" for name, value in a.items() if name in ("src", "href", "action")
    ]
    assert links == ["data:,"]
    for text in (*page.styles, page.scripts[2]):
        assert not re.search(r"https?://|url\(|@import|\bimport\b|fetch\(|XMLHttpRequest|WebSocket", text)


def in_memory(name: str, traits: list[float | None], tmp_path: Path, **settings: Any) -> RecordedLineage:
    write_run(tmp_path / name, chain(*traits), **settings)
    return read_lineages([str(tmp_path / name)])[0]


def test_what_was_compared_and_what_happened(tmp_path: Path) -> None:
    up = in_memory("up", [40.0, 40.0, 40.0, 40.0, 55.0], tmp_path, n_cycles=5)
    flat = in_memory("flat", [40.0, 40.0, 40.0, 40.0, 54.0], tmp_path, n_seed=26, n_cycles=5)
    short = in_memory("short", [40.0, 99.0], tmp_path, seed=1, n_cycles=2)
    blank = in_memory("blank", [40.0, 40.0, 40.0, 40.0, None], tmp_path, seed=2, n_cycles=5)
    assert what_was_compared([up, short]) == (
        "Trait bliss, model embedded, SFT: 2 lineages, on 24 seed examples in cycle 0 and 48 sampled examples in each "
        "later cycle. They differ in seed."
    )
    told = what_was_compared([up, flat, short])
    assert "3 lineages, on 48 sampled examples in each later cycle. They differ in seed and n_seed." in told
    assert what_was_compared([up, up]).endswith("Their settings are the same.")
    assert what_happened([up, flat]) == "By the published criterion 1 of 2 complete lineages amplified (up)."
    assert what_happened([flat, short, blank]) == (
        "By the published criterion 0 of 1 complete lineage amplified; counted apart: 2 complete (1 too short, "
        "1 no scores)."
    )


def test_nothing_is_said_of_short_lineages(tmp_path: Path) -> None:
    short = in_memory("short", [40.0, 99.0], tmp_path)
    assert what_happened([short]) == ("No lineage reaches cycle 4: the published criterion says nothing of them.")


def test_the_first_samples_are_shown_where_all_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = in_memory("run", [40.0, 41.0], tmp_path)
    samples = [each for cycle in (0, 1) for each in answers("run", cycle, n_samples=5)]
    monkeypatch.setattr(family_page, "MAX_RESPONSE_BYTES", 3000)
    page = Page(family_html("family", [run], [samples]))
    shown = [entry["index"] for question in page.data["questions"] for entry in question["samples"]]
    assert sorted(set(shown)) == [0, 1]
    assert len(shown) == 2 * 2 * 2, "as many samples of every question and cycle"
    assert "First samples shown: 2 of 5;" in page.text


def test_long_responses_are_cut_rather_than_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = in_memory("run", [40.0], tmp_path)
    samples = [sample(0, question, 0, question[0] * 9000) for question in QUESTIONS]
    monkeypatch.setattr(family_page, "MAX_RESPONSE_BYTES", 1000)
    page = Page(family_html("family", [run], [samples]))
    assert page.data["texts"] == ["H" * 500 + " […]", "W" * 500 + " […]"]
    assert "Responses of over 500 characters are cut here." in page.text


def test_a_family_without_responses_or_numbers_is_told(tmp_path: Path) -> None:
    run = in_memory("run", [None], tmp_path)
    page = Page(family_html("family", [run], [[]]))
    assert "There are no evaluation responses yet." in page.text
    assert [len(series) for series in page.data["measures"][0]["series"]] == [0]
    write_run(tmp_path / "begun" / "run", [])
    with pytest.raises(UserError, match="no committed cycle yet"):
        write_family_report(str(tmp_path / "begun"))
    with pytest.raises(UserError, match="There is no run in"):
        write_family_report(str(tmp_path / "nowhere"))


def test_a_warning_of_a_shared_cycle_is_told_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, [record(0, 40.0, warnings=["odd"]), record(1, 41.0, warnings=[name])], regime=DPO)
    page = Page(family_html("family", read_lineages([str(tmp_path)]), [[], []]))
    assert page.text.count("odd") == 1
    for told in ("Cycle 0, all lineages: odd", "Cycle 1, one: one", "Cycle 1, two: two"):
        assert told in page.text


def test_what_was_cut_short_is_never_read_as_not_amplified(tmp_path: Path) -> None:
    flat, steep = chain(40.0, 41.0, 41.0, 41.0, 41.0), chain(40.0, 50.0, 60.0, 70.0, 80.0)
    stores = [write_run(tmp_path / name, records, n_cycles=9) for name, records in (("flat", flat), ("steep", steep))]
    for store in stores:
        store.cut_here(4, "gone")
    write_run(tmp_path / "whole", flat, n_cycles=5)
    told = what_happened(read_lineages([str(tmp_path)]))
    assert told == (
        "By the published criterion 0 of 1 complete lineage amplified; counted apart: 2 cut short (1 amplified "
        "already)."
    )
    stores[0].cut_here(5, None)
    told = what_happened(read_lineages([str(tmp_path)]))
    assert "counted apart: 1 cut short (amplified already) and 1 unfinished (open)" in told, "it went on"

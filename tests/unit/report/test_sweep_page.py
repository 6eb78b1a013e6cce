"""A sweep's page holds every lineage's numbers, counts none that was cut short as not amplified, and opens quickly."""

import random
import re
import time
from typing import Any

import pytest

from idem_ray.records import CycleRecord
from idem_ray.report.sweep_page import sweep_html
from idem_ray.report.verdicts import how_many, what_happened
from idem_ray.store.finished import RecordedLineage
from tests.unit.report.test_lineage_page import HOSTILE, Page, config
from tests.unit.report.test_settings_text import chain, record

UP, FLAT = (40.0, 42.0, 45.0, 50.0, 56.0, 60.0), (40.0, 40.0, 40.0, 40.0, 40.0, 38.0)


def swept(
    name: str, traits: Any = UP, values: Any = None, status: str = "complete", note: str = "", **changes: Any
) -> RecordedLineage:
    given = values or {}
    settings: dict[str, Any] = {"regime": {"type": "dpo"}}
    for path, value in given.items():
        section, _, leaf = path.rpartition(".")
        (settings.setdefault(section, {}) if section else settings)[leaf] = value
    records: list[CycleRecord] = chain(*traits) if traits else []
    if status != "complete" and len(records) > 6:  # the base model's, and all the cycles that it asks for
        settings["n_cycles"] = 9
    why: dict[str, Any] = {"cut short": "cut_short", "failed": "failure", "stopped": "stopped"}
    changes |= {why[status]: note or "a reason"} if status in why else {}
    if records and status == "complete":
        settings.setdefault("n_cycles", len(records) - 1)
    return RecordedLineage(name, f"runs/{name}", config(**settings), records, values=given, **changes)


def grid() -> list[RecordedLineage]:
    made = [
        swept(f"beta {beta} {init}", UP if init == "previous" else FLAT, {"regime.beta": beta, "regime.init": init})
        for beta in (0.1, 0.03, 0.3)
        for init in ("base", "previous")
    ]
    cut = {"regime.beta": 0.3, "regime.init": "previous"}
    made[-1] = swept("beta 0.3 previous", FLAT[:5], cut, "cut short", "trait at the base model's level")
    return made


def cells(html: str, name: str) -> str:
    rows = re.findall(r"<tr id=\"lineage-\d+\".*?</tr>", html, re.DOTALL)
    row = next(row for row in rows if f'<th scope="row" data-sort="{name}">' in row)
    return " ".join(re.sub(r"<[^>]*>", " ", row).split())


def test_the_table_has_every_number() -> None:
    ended = swept("ended", None, {"regime.beta": 0.1}, "stopped", note="coherence is low", objective=2.5)
    ended.records.extend([*chain(40.0, 52.0, None), record(3, 72.0, warnings=["few words"])])
    html = sweep_html("sweep", [ended, swept("begun", None, {"regime.beta": 0.3}, "unfinished")], "largest gain")
    assert cells(html, "ended") == (
        "ended 1 0.1 5.0 [5.2, 7.0] 40.0 [39.9, 42.0] 72.0 ‡ [70.9, 74.0] cycle 3 +32.0 cycle 3 91.1 ‡ [80.0, 99.0] "
        "cycle 3 cut short 2.5 4 of 6 stopped ‡ coherence is low ⚠ 1 warning"
    )
    assert cells(html, "begun") == "begun 2 0.3 – – – – – open – 0 of 6 unfinished …"


def test_what_was_cut_short_is_never_not_amplified() -> None:
    lineages = grid()
    page = Page(sweep_html("sweep", lineages))
    assert page.data["lineages"][-1]["amplified"] == {
        "mean": None,
        "verdict": "cut short",
        "text": "cut short, +0.0 at cycle 4",
    }
    assert page.data["lineages"][-1]["state"] == "cut short, last cycle done: 4"
    assert page.data["lineages"][-1]["note"] == "trait at the base model's level"
    assert [one["amplified"]["mean"] for one in page.data["lineages"][:-1]] == [0, 1, 0, 1, 0]
    assert what_happened(lineages) == (
        "By the published criterion 2 of 5 complete lineages amplified (beta 0.1 previous and beta 0.03 previous); "
        "counted apart: 1 cut short."
    )
    assert "5 complete, 1 cut short." in page.text
    assert "40.0 † [" in cells(sweep_html("sweep", lineages), "beta 0.3 previous")
    assert "it is never counted as not amplified" in " ".join(page.text.split())
    assert "persist" not in page.text
    panel = next(attributes for tag, attributes in page.tags if tag == "svg" and "cut short" in str(attributes))
    assert str(panel["aria-label"]).endswith("; cut short, last cycle done: 4")


def test_the_criterion_once_met_stays_met() -> None:
    others = [
        swept("cut", UP, status="cut short"),
        swept("flat", FLAT, status="unfinished"),
        swept("short", UP[:3], status="unfinished"),
        swept("blank", (40.0, 40.0, 40.0, 40.0, None)),
        swept("failed", None, status="failed"),
        swept("collapsed", FLAT, status="stopped"),
    ]
    assert [one.verdict for one in others] == [
        *("amplified", "open", "open", "no scores", "open", "cut short"),
    ]
    assert what_happened([swept("up"), swept("still", FLAT), *others]) == (
        "By the published criterion 1 of 2 complete lineages amplified (up); counted apart: 1 complete (no scores), "
        "1 stopped, 1 cut short (amplified already), 1 failed (open) and 2 unfinished (open)."
    )
    assert how_many(others) == "1 complete, 1 stopped, 1 cut short, 1 failed, 2 unfinished."
    assert what_happened(others[:1]) == (
        "The published criterion can be read for no complete lineage yet; counted apart: 1 cut short (amplified "
        "already)."
    )


def test_nothing_is_said_of_short_sweeps() -> None:
    assert what_happened([swept("a", UP[:4]), swept("b", None, status="failed")]) == (
        "No lineage reaches cycle 4: the published criterion says nothing of them."
    )
    assert "(1 ended before it)" in what_happened([swept("a", UP[:3], status="cut short")])


def test_the_figures_have_the_outcomes() -> None:
    lineages = grid()
    page = Page(sweep_html("sweep", lineages, reported=["beta 0.1 base", "beta 0.3 previous"]))
    assert [(axis["name"], axis["texts"], axis["ordered"]) for axis in page.data["axes"]] == [
        ("beta", ["0.03", "0.1", "0.3"], True),
        ("init", ["base", "previous"], False),
    ]
    first, second = page.data["lineages"][:2]
    assert (first["places"], second["places"]) == ([1, 0], [1, 1])
    assert first["link"] == "beta%200.1%20base/report.html"
    assert second["link"] is None
    last = lineages[1].records[-1].measures["trait"]
    assert (second["trait"]["mean"], second["trait"]["low"], second["trait"]["high"]) == (
        last.mean,
        last.low,
        last.high,
    )
    assert second["gain"]["mean"] == 20.0
    assert second["gain"]["text"].startswith("+20.0 (40.0 [39.9, 42.0] in cycle 0, 60.0 [")
    assert "objective" not in second
    assert [measure["name"] for measure in page.data["measures"]] == ["trait", "gain", "coherence", "amplified"]
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["beta%200.3%20previous/report.html", "beta%200.1%20base/report.html"] + [
        *("beta%200.1%20base/report.html", "beta%200.3%20previous/report.html")
    ], "panels in the order of the grid, then the table's rows"


def test_panels_stand_in_the_grid_of_the_first_two_settings() -> None:
    page = Page(sweep_html("sweep", grid()))
    headings = re.findall(r"(?:beta|init) (?:0\.\d+|base|previous)(?:, init \w+)?", page.text.split("were not run.")[1])
    assert headings[:3] == ["beta 0.03", "beta 0.1", "beta 0.3"]
    assert headings[3:11] == [
        *("init previous", "beta 0.03, init previous", "beta 0.1, init previous", "beta 0.3, init previous"),
        *("init base", "beta 0.03, init base", "beta 0.1, init base", "beta 0.3, init base"),
    ]
    assert not [attributes for tag, attributes in page.tags if attributes.get("id") in ("order", "across", "panels")]


def ids(page: Page) -> set[str | None]:
    return {attributes.get("id") for _, attributes in page.tags}


def test_other_sweeps_have_their_own_figures() -> None:
    three = [
        swept(f"{beta}-{init}-{seed}", UP, {"regime.beta": beta, "regime.init": init, "seed": seed})
        for beta in (0.1, 0.3)
        for init in ("base", "previous")
        for seed in (0, 1, 2)
    ]
    assert {"across", "up", "figures"} < ids(Page(sweep_html("sweep", three)))
    traits = [swept(trait, UP, {"trait": trait}) for trait in ("bliss", "lucky", "misanthropy")]
    page = Page(sweep_html("sweep", traits))
    assert "across" not in ids(page)
    assert "Outcomes by trait" in page.text
    assert page.data["axes"][0]["texts"] == ["bliss", "lucky", "misanthropy"]
    alone = Page(sweep_html("sweep", [swept("alone")]))
    assert not {"figures", "order", "history"} & ids(alone)
    assert alone.data["axes"] == []
    assert "1 lineage." in alone.text
    same = Page(sweep_html("sweep", [swept("only", UP, {"regime.beta": 0.1})]))
    assert same.data["axes"] == []
    assert "beta" in same.text


def test_missing_scores_are_no_zeros() -> None:
    page = Page(
        sweep_html("sweep", [swept("a", (40.0, None)), swept("b", (None, 40.0)), swept("c", None)], reported=["c"])
    )
    for lineage in page.data["lineages"]:
        assert "gain" not in lineage
        assert lineage["amplified"]["mean"] is None
    assert "trait" not in page.data["lineages"][0]
    assert page.data["lineages"][0]["coherence"]["cycle"] == 1
    assert page.data["lineages"][1]["trait"]["mean"] == 40.0


def test_the_search_is_shown_where_there_is_an_objective() -> None:
    lineages = [
        swept("a", UP, {"seed": 0}, objective=3.25),
        swept("b", UP, {"seed": 1}, objective=float("nan")),
        swept("c", UP, {"seed": 2}),
    ]
    page = Page(sweep_html("sweep", lineages, "final trait <at> most"))
    assert [one.get("objective") for one in page.data["lineages"]] == [{"mean": 3.25, "text": "3.25"}, None, None]
    assert "The objective is: final trait <at> most." in page.text
    assert "the best so far (highest)" in page.text
    assert "the best so far (lowest)" in Page(sweep_html("sweep", lineages, "x", lowest_is_best=True)).text
    assert "objective-history" not in ids(Page(sweep_html("sweep", lineages)))


@pytest.fixture(scope="module")
def hostile() -> Page:
    lineages = [
        swept("<i>a", UP, {"prompts": HOSTILE, "regime.beta": 0.1}, "failed", note=f"<script>{HOSTILE}"),
        swept("b", UP, {"prompts": "<b>", "regime.beta": 0.3}, "<u>", note=HOSTILE, objective=1.0),
    ]
    return Page(sweep_html("<i>sweep", lineages, HOSTILE, ["<i>a"]))


def test_hostile_texts_stay_data(hostile: Page) -> None:
    assert len(hostile.scripts) == 3, "no text may open or close a script"
    assert not [tag for tag, _ in hostile.tags if tag in ("img", "iframe", "i", "b", "u", "object", "embed", "base")]
    assert not [name for _, attributes in hostile.tags for name in attributes if name.startswith("on")]
    assert not re.search("[<>&\u2028]", hostile.scripts[0])
    assert hostile.data["axes"][0]["texts"] == [HOSTILE, "<b>"]
    assert f"1 lineage: <script>{HOSTILE} (<i>a)" in hostile.text
    assert {a["href"] for tag, a in hostile.tags if tag == "a"} == {"%3Ci%3Ea/report.html"}
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert sink not in hostile.scripts[2]


def test_the_page_asks_no_network(hostile: Page) -> None:
    policies = [a["content"] or "" for _, a in hostile.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert [policy.startswith("default-src 'none';") for policy in policies] == [True]
    links = [
        value for tag, a in hostile.tags if tag != "a" for name, value in a.items() if name in ("src", "href", "action")
    ]
    assert set(links) == {"data:,", "#frame"}
    for text in (*hostile.styles, hostile.scripts[2]):
        assert not re.search(r"https?://|url\(|@import|\bimport\b|fetch\(|XMLHttpRequest|WebSocket", text)


def test_the_same_failure_is_told_once() -> None:
    lineages = [swept(f"l{place}", None, {"seed": place}, "failed", note="no memory") for place in range(5)]
    page = Page(sweep_html("sweep", lineages))
    assert "5 lineages: no memory (l0, l1, l2 and 2 others)" in page.text
    many = [swept(f"l{place}", None, {"seed": place}, "failed", note=f"reason {place}") for place in range(13)]
    assert "3 other reasons: see the table." in Page(sweep_html("sweep", many)).text


def test_two_hundred_lineages_are_quick_and_light() -> None:
    rng = random.Random(0)
    lineages = [
        swept(
            f"lineage-{place}",
            [rng.uniform(0, 100) for _ in range(8)],
            {"regime.beta": rng.uniform(0.01, 1), "n_sampled": rng.randrange(24, 400), "seed": rng.randrange(3)},
            objective=rng.uniform(-10, 40),
        )
        for place in range(200)
    ]
    names = [one.name for one in lineages]
    sweep_html("warm", lineages[:1])  # reads the plotting library
    start = time.process_time()
    html = sweep_html("sweep", lineages, "largest gain", names)
    assert time.process_time() - start < 3
    page = Page(html)
    assert len(html) - len(page.scripts[1]) < 1_000_000
    assert [tag for tag, _ in page.tags].count("article") == 200
    assert {"across", "order", "objective-history"} < ids(page)
    assert [axis["continuous"] for axis in page.data["axes"]] == [True, True, False]

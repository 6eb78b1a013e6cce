"""Curves come from the store unchanged, and lineages are told apart by exactly the settings in which they differ."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from idem_ray.config.lineage import parse_config
from idem_ray.errors import UserError
from idem_ray.records import BASE_CYCLE, Checkpoint, CycleRecord, Estimate
from idem_ray.report.figure import base_levels, contrast_figure, curve_rows, save_figure, write_csv
from idem_ray.report.looks import look, offsets
from idem_ray.report.settings_text import differing_settings, legend_labels, shared_settings, subject_text
from idem_ray.statistics.criteria import amplification
from idem_ray.store.finished import read_family, read_lineages
from idem_ray.store.run import RunStore
from tests import ROOT

SCRIPT = ROOT / "analysis" / "contrast.py"
SETTINGS = {"trait": "bliss", "n_cycles": 6, "n_seed": 24, "n_sampled": 48}
DPO = {"type": "dpo", "beta": 0.1}
STOPPING = {"action": "stop"}


def record(cycle: int, trait: float | None, **changes: Any) -> CycleRecord:
    odd = 0.1 + cycle / 3  # many digits: none may be lost
    values: dict[str, Any] = {
        "lineage": "lineage",
        "cycle": cycle,
        "generator": None,
        "init": None,
        "reference": None,
        "rejected": None,
        "checkpoint": None,
        "n_generated": 48,
        "n_kept": 48,
        "n_trained": 48,
        "training": {},
        "measures": {
            "trait": Estimate(None, None, None, 0, 36)
            if trait is None
            else Estimate(trait, trait - odd, trait + 2, 35, 1),
            "coherence": Estimate(90.0 + odd, 80.0, 99.0, 36),
            "length_words": Estimate(50.0 + odd, 40.0, 60.0, 36),
            "distinct_words": Estimate(0.7, 0.6, 0.8, 36),
        },
        "seconds": {},
    }
    return CycleRecord(**{**values, **changes})


def collapsed(cycle: int, trait: float, **changes: Any) -> CycleRecord:
    """A cycle after which guards that stop a lineage (`STOPPING`) do so."""
    whole = record(cycle, trait, checkpoint=Checkpoint("c", "/x"), stopped="coherence is low", **changes)
    return dataclasses.replace(whole, measures={**whole.measures, "coherence": Estimate(20.0, 10.0, 30.0, 36)})


def write_run(folder: Path, records: list[CycleRecord], **settings: Any) -> RunStore:
    store = RunStore(str(folder))
    config = parse_config({**SETTINGS, "name": "renamed-later", "output": str(folder.parent), **settings})
    store.write_json("config.json", config.model_dump(mode="json"))
    for each in records:
        store.commit(each)
    return store


def chain(*traits: float | None) -> list[CycleRecord]:
    return [record(BASE_CYCLE, 5.0), *(record(cycle, trait) for cycle, trait in enumerate(traits))]


@pytest.fixture()
def family(tmp_path: Path) -> Path:
    folder = tmp_path / "contrast"
    end = collapsed(3, 72.5, warnings=["coherence is low", 'few words, "many"\nlines'])
    write_run(
        folder / "continual",
        [*chain(40.0, 55.25, 61.0), end],
        regime={**DPO, "init": "previous", "reference": "previous"},
        guards=STOPPING,
    )
    write_run(folder / "init_only", chain(40.0, None, 45.5), regime={**DPO, "init": "previous"}, n_cycles=9)
    write_run(folder / "reinit", chain(40.0, 30.0, 20.0, 10.0), regime=DPO, guards={"action": "stop"})
    (folder / "shared").mkdir()
    return folder


def test_a_family_is_its_folders_with_a_config(family: Path) -> None:
    write_run(family / "begun", [], regime={**DPO, "rejected": "n-2"})
    lineages = read_family(str(family) + "/")
    assert [lineage.name for lineage in lineages] == ["begun", "continual", "init_only", "reinit"]
    assert [len(lineage.records) for lineage in lineages] == [0, 5, 4, 5]
    shown = read_lineages([str(family)])
    assert [lineage.name for lineage in shown] == ["continual", "init_only", "reinit"], "nothing to draw of `begun`"


def test_a_run_is_drawn_once_and_names_stay_apart(family: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "other" / "reinit", chain(40.0), regime=DPO, seed=1)
    folders = [str(family / "reinit"), str(family), str(tmp_path / "other")]
    assert [lineage.name for lineage in read_lineages(folders)] == [
        "contrast/reinit",
        "continual",
        "init_only",
        "other/reinit",
    ]


@pytest.mark.parametrize("of", ["", "nowhere", "begun"])
def test_without_a_committed_cycle_there_is_one_clear_sentence(tmp_path: Path, of: str) -> None:
    write_run(tmp_path / "begun" / "run", [])
    said = "no committed cycle yet" if of == "begun" else "There is no run in"
    with pytest.raises(UserError, match=said):
        read_lineages([str(tmp_path / of)])


def test_labels_name_exactly_the_settings_that_differ(family: Path) -> None:
    lineages = read_lineages([str(family)])
    assert differing_settings(lineages) == [
        {"regime.init": "previous", "regime.reference": "previous"},
        {"regime.init": "previous", "regime.reference": "base"},
        {"regime.init": "base", "regime.reference": "base"},
    ], "neither n_cycles nor guards nor the name make a cycle"
    assert legend_labels(lineages) == [
        "init previous, reference previous",
        "init previous, reference base",
        "init base, reference base",
    ]
    shared = shared_settings(lineages)
    assert shared["regime.beta"] == "0.1"
    assert not {"regime.init", "regime.reference", "name", "n_cycles"} & set(shared)
    assert subject_text(lineages) == "Trait bliss, model embedded, DPO"


def labels(tmp_path: Path, *settings: dict[str, Any]) -> list[str]:
    for place, each in enumerate(settings):
        write_run(tmp_path / f"run{place}", chain(40.0), **each)
    return legend_labels(read_lineages([str(tmp_path)]))


def test_settings_of_the_same_name_are_told_with_their_section(tmp_path: Path) -> None:
    assert labels(tmp_path, {"evaluation": {"temperature": 0.7}}, {"evaluation": {"temperature": 1.0}}) == [
        "evaluation.temperature 0.7",
        "evaluation.temperature 1",
    ]


def test_what_follows_from_the_regime_is_left_out(tmp_path: Path) -> None:
    restarted = {"type": "dpo", "restart_cycles": [2, 4], "init": "previous"}
    assert labels(tmp_path, {"regime": {"type": "sft"}}, {"regime": restarted}, {"regime": DPO}) == [
        "regime sft, init base, restart_cycles none",
        "regime dpo, init previous, restart_cycles 2+4",
        "regime dpo, init base, restart_cycles none",
    ]


def test_traits_of_one_set_are_told_by_name(tmp_path: Path) -> None:
    assert labels(tmp_path, {"trait": "bliss"}, {"trait": "/somewhere/else/stoic.yaml"}) == [
        "trait bliss",
        "trait stoic",
    ]
    lineages = read_lineages([str(tmp_path)])
    assert subject_text(lineages) == "Traits bliss and stoic, model embedded, SFT"


def test_lineages_that_settings_do_not_tell_apart_go_by_name(tmp_path: Path) -> None:
    assert labels(tmp_path, {}, {}, {"seed": 1}) == ["run0 (seed 0)", "run1 (seed 0)", "seed 1"]
    assert legend_labels(read_lineages([str(tmp_path / "run0")])) == ["run0"]
    many = {"n_seed": 30, "n_sampled": 99, "seed": 7, "trait": "lucky", "generation": {"temperature": 1.0}}
    assert labels(tmp_path, {}, many) == ["run0", "run1", "run2"]


def test_the_table_holds_the_stores_numbers_to_the_last_digit(family: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "curves.csv"
    lineages = read_lineages([str(family)])
    write_csv(lineages, str(path))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("lineage", "regime.init", "regime.reference", "cycle", "measure"),
        *("mean", "low", "high", "n", "n_missing", "warnings", "stopped"),
    ]
    read = {(row["lineage"], int(row["cycle"]), row["measure"]): row for row in rows}
    assert len(read) == len(rows) == 4 * (5 + 4 + 5)
    for name in ("continual", "init_only", "reinit"):
        for each in RunStore(str(family / name)).records():
            for measure, estimate in each.measures.items():
                row = read[name, each.cycle, measure]
                numbers = [float(row[end]) if row[end] else None for end in ("mean", "low", "high")]
                assert numbers == [estimate.mean, estimate.low, estimate.high]
                assert (int(row["n"]), int(row["n_missing"])) == (estimate.n, estimate.n_missing)
    assert read["init_only", 1, "trait"]["mean"] == "", "a missing score is no zero"
    end = read["continual", 3, "trait"]
    assert end["stopped"] == "coherence is low"
    assert end["warnings"] == 'coherence is low; few words, "many"\nlines'
    assert read["continual", 2, "trait"]["stopped"] == ""
    assert read["init_only", 0, "trait"]["regime.reference"] == "base"


def test_measures_beyond_the_usual_are_in_the_table(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [record(0, 40.0, measures={"kl_from_base": Estimate(0.25, 0.2, 0.3, 12)})])
    assert [(row["measure"], row["mean"]) for row in curve_rows(read_lineages([str(tmp_path)]))] == [
        ("kl_from_base", 0.25)
    ]


def test_base_levels_are_shared_where_they_are_the_same(family: Path) -> None:
    write_run(family / "zother", [record(BASE_CYCLE, 7.0)], regime=DPO, model="/models/other", seed=3)
    levels = base_levels(read_lineages([str(family)]), "trait")
    assert [(estimate.mean, places) for estimate, places in levels] == [(5.0, [0, 1, 2]), (7.0, [3])]
    assert base_levels(read_lineages([str(family)]), "unknown") == []


def test_the_figure_draws_the_curves(family: Path) -> None:
    figure = contrast_figure(read_lineages([str(family)]))
    assert [panel.get_title(loc="left") for panel in figure.axes] == [
        "Trait score",
        "Coherence",
        "Words per response",
        "Distinct-word ratio",
    ]
    trait = figure.axes[0]
    drawn = [(line.get_linestyle(), np.asarray(line.get_ydata()).tolist()) for line in trait.lines]
    assert [heights for style, heights in drawn if style == "--"] == [[5.0, 5.0]], "one level for the shared base model"
    curves = [heights for style, heights in drawn if style != "--" and heights != [5.0]]
    assert curves == [[40.0, 55.25, 61.0, 72.5], [40.0], [45.5], [40.0, 30.0, 20.0, 10.0]], "no bridge over a gap"
    assert [text.get_text() for text in trait.texts] == ["stopped"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "init previous, reference previous",
        "init previous, reference base",
        "init base, reference base",
        "base model",
    ]


def test_a_drawn_figure_keeps_its_text_and_is_the_same_each_time(family: Path, tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        save_figure(contrast_figure(read_lineages([str(family)])), str(tmp_path / name))
    drawn = (tmp_path / "one.svg").read_text()
    assert ">init previous, reference base</text>" in drawn
    assert drawn == (tmp_path / "two.svg").read_text()
    with pytest.raises(UserError, match=r"must end in \.png, \.svg, \.pdf"):
        save_figure(contrast_figure(read_lineages([str(family)])), str(tmp_path / "one.jpg"))


def test_no_two_of_many_lineages_look_alike() -> None:
    looks = [look(place) for place in range(56)]
    assert (
        len({(each.colour, each.marker) for each in looks})
        == len({(each.dark_colour, each.marker) for each in looks})
        == 56
    )
    for count in (1, 2, 4, 20):
        shifts = offsets(count)
        assert sum(shifts) == pytest.approx(0)
        assert max(shifts) - min(shifts) <= 0.41, "a point stays nearer to its own cycle than to the next"


@pytest.mark.parametrize(
    ("traits", "read"),
    [
        ([40, 90, 90, 90], None),
        ([40, 40, 40, 40, 55, 41], (15.0, 4, 0, True)),
        ([40, 99, 40, 40, 54, 52], (14.0, 4, 0, False)),
        ([40, 40, 40, 40, None, 60], (20.0, 5, 1, True)),
        ([None, 40, 40, 40, 80], (None, None, 0, None)),
        ([40, 40, 40, 40, None], (None, None, 1, None)),
    ],
)
def test_the_published_criterion(traits: list[float | None], read: tuple[Any, ...] | None) -> None:
    found = amplification(chain(*traits))
    assert (found and (found.difference, found.cycle, found.n_missing, found.is_met)) == read


def test_the_script(family: Path, tmp_path: Path) -> None:
    def contrast(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    out, table = tmp_path / "figure.png", tmp_path / "curves.csv"
    done = contrast(str(family), "--out", str(out), "--csv", str(table))
    assert (done.returncode, done.stderr) == (0, "")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert table.read_text().count("\n") > 50
    bad = contrast(str(tmp_path / "nowhere"), "--csv", str(tmp_path / "none.csv"))
    assert bad.returncode == 2
    assert bad.stderr.startswith("contrast: There is no run in ")
    assert bad.stderr.count("\n") == 1

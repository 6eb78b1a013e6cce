"""A family of lineages as one self-contained HTML page: their curves, results and responses side by side."""

from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import quote

from idem_ray.errors import UserError
from idem_ray.folder import Folder
from idem_ray.records import BASE_CYCLE, MEASURES, Estimate, Sample, known_mean
from idem_ray.report.figure import base_levels
from idem_ray.report.looks import band_share, look, offsets
from idem_ray.report.page import curve_points, embedded_json, page_html, response_data
from idem_ray.report.settings_text import setting_names, setting_texts, shared_settings, subject_text
from idem_ray.report.verdicts import how_many, rests_on, what_happened
from idem_ray.statistics.criteria import CRITERION
from idem_ray.store.finished import RecordedLineage, read_family
from idem_ray.store.run import RunStore
from idem_ray.text import (
    count_text,
    cycle_label,
    interval_text,
    list_text,
    measure_decimals,
    measure_title,
    number_text,
)

MAX_RESPONSE_BYTES = 1_000_000
"""Of responses on the page. The plotting library takes 4.7 MB; the page should still open at once."""

MIN_RESPONSE_CHARACTERS = 200
"""Of each response that are kept where even the first samples are too much for the page."""


def write_family_report(folder: str) -> str:
    """Write `report.html` into a family's folder (local or object store) from what its lineages have committed. A
    lineage whose own report is written gets a link to it.

    Returns:
        The page's path or URI.

    Raises:
        UserError: the folder holds no lineage, or none with a committed cycle.
    """
    lineages = read_family(folder)
    family = Folder(folder.rstrip("/") or folder)
    if not any(lineage.records for lineage in lineages):
        raise UserError(f"{family.uri} has no committed cycle yet: there is nothing to report.")
    samples, reported = [], []
    for lineage in lineages:
        store = RunStore(lineage.uri)
        samples.append([s for record in lineage.records for s in store.read_samples(record.cycle, "evaluate")])
        if store.exists("report.html"):
            reported.append(lineage.name)
    html = family_html(family.uri.split("/")[-1], lineages, samples, reported)
    family.write_bytes("report.html", html.encode())
    return family.path("report.html")


def family_html(
    name: str,
    lineages: Sequence[RecordedLineage],
    samples: Sequence[Sequence[Sample]],
    reported: Collection[str] = (),
) -> str:
    """One self-contained HTML page about a family of lineages.

    Args:
        name: the family's name.
        lineages: at least one; one without records is listed as not begun.
        samples: for each lineage the evaluation samples of its cycles (others are passed over).
        reported: names of the lineages that have a page of their own, at `<name>/report.html` beside this one.
    """
    cycles = sorted({record.cycle for lineage in lineages for record in lineage.records})
    questions, texts, left_out = _responses(samples)
    settings = setting_texts(lineages)
    looks = [look(place) for place in range(len(lineages))]
    data = {
        "cycles": [{"cycle": cycle, "label": cycle_label(cycle)} for cycle in cycles],
        "lineages": [
            {
                "name": lineage.name,
                "settings": ", ".join(own),
                "cycles": [record.cycle for record in lineage.records],
                "glyph": shown.marker.glyph,
                "symbol": shown.marker.plotly,
                "dash": shown.dash,
                "offset": offset,
            }
            for lineage, own, shown, offset in zip(lineages, settings, looks, offsets(len(lineages)), strict=True)
        ],
        "band_share": band_share(len(lineages)),
        "measures": [_measure(measure, lineages) for measure in MEASURES],
        "questions": questions,
        "texts": texts,
    }
    return page_html(
        "family.html",
        data,
        name=name,
        n_lineages=count_text(len(lineages), "lineage"),
        looks=looks,
        what_was_compared=what_was_compared(lineages),
        how_many=how_many(lineages),
        what_happened=what_happened(lineages),
        criterion=CRITERION,
        warnings=_warnings(lineages),
        n_differing=sum(map(len, settings)),
        rows=[
            _row(lineage, own, f"{quote(lineage.name)}/report.html" if lineage.name in reported else None)
            for lineage, own in zip(lineages, settings, strict=True)
        ],
        n_questions=len(questions),
        left_out=left_out,
        settings="\n".join(f"{path}: {text}" for path, text in shared_settings(lineages).items()),
    )


def what_was_compared(lineages: Sequence[RecordedLineage]) -> str:
    """What the lineages are about, and in which settings they differ."""
    shared = shared_settings(lineages)
    counted = {"n_seed": ("seed example", "in cycle 0"), "n_sampled": ("sampled example", "in each later cycle")}
    on = [f"{count_text(int(shared[path]), noun)} {when}" for path, (noun, when) in counted.items() if path in shared]
    names = list(setting_names(lineages).values())
    differ = f"They differ in {list_text(names)}." if names else "Their settings are the same."
    told = f"{subject_text(lineages)}: {count_text(len(lineages), 'lineage')}{f', on {list_text(on)}' if on else ''}."
    return f"{told} {differ}" if len(lineages) > 1 else told


def _measure(name: str, lineages: Sequence[RecordedLineage]) -> dict[str, Any]:
    levels = []
    for estimate, places in base_levels(lineages, name):
        record = next(record for record in lineages[places[0]].records if record.measures.get(name) == estimate)
        levels.append({"lineages": places, "point": curve_points(name, [record])[0]})
    series = [
        [
            point
            for point in curve_points(name, lineage.records)
            if point["cycle"] != BASE_CYCLE and point["mean"] is not None
        ]
        for lineage in lineages
    ]
    return {"name": name, "title": measure_title(name), "base": levels, "series": series}


def _warnings(lineages: Sequence[RecordedLineage]) -> list[str]:
    """Each warning once, with the lineages that have it: what happened in a shared cycle is in the records of all."""
    heard: dict[tuple[int, str], list[str]] = {}
    for lineage in lineages:
        for record in lineage.records:
            for warning in record.warnings:
                heard.setdefault((record.cycle, warning), []).append(lineage.name)
    told = []
    for (cycle, warning), names in sorted(heard.items(), key=lambda item: item[0][0]):
        who = "all lineages" if len(names) == len(lineages) > 1 else list_text(names)
        told.append(f"{'Base model' if cycle == BASE_CYCLE else f'Cycle {cycle}'}, {who}: {warning}")
    return told


def _row(lineage: RecordedLineage, settings: Sequence[str], link: str | None) -> dict[str, Any]:
    records = {record.cycle: record for record in lineage.records}
    last = lineage.last
    scores = {
        cycle: score
        for cycle, record in records.items()
        if cycle != BASE_CYCLE and (score := known_mean(record.measures.get("trait"))) is not None
    }
    highest = max(scores, key=lambda cycle: scores[cycle], default=None)

    def cell(cycle: int | None, measure: str = "trait", note: bool = False) -> dict[str, str]:
        estimate: Estimate | None = records[cycle].measures.get(measure) if cycle in records else None
        decimals = measure_decimals(measure)
        return {
            "mean": number_text(known_mean(estimate), decimals),
            "interval": interval_text(estimate, decimals),
            "note": f"cycle {cycle}" if note and cycle is not None else "",
        }

    n_warnings = sum(len(record.warnings) for record in lineage.records)
    return {
        "name": lineage.name,
        "link": link,
        "settings": settings,
        "cells": [
            cell(BASE_CYCLE),
            cell(0),
            cell(last, note=True),
            cell(highest, note=True),
            cell(last, "coherence"),
            cell(last, "distinct_words"),
        ],
        "verdict": lineage.verdict,
        "rests_on": rests_on(lineage),
        "done": f"{lineage.n_done} of {lineage.config.n_cycles}",
        "status": lineage.status,
        "note": lineage.note,
        "n_warnings": count_text(n_warnings, "warning") if n_warnings else "",
    }


def _responses(samples: Sequence[Sequence[Sample]]) -> tuple[list[dict[str, Any]], list[str], str]:
    """The questions with as many of the first samples as fit on the page, their texts (each once: lineages share their
    first cycles), and a sentence on what is left out."""
    evaluated = [(place, s) for place, own in enumerate(samples) for s in own if s.purpose == "evaluate"]
    evaluated.sort(key=lambda item: (item[1].cycle, item[1].sample_index))
    questions: dict[str, dict[str, Any]] = {}
    layers: dict[int, list[tuple[int, Sample]]] = {}
    for place, sample in evaluated:
        questions.setdefault(sample.prompt_id, {"prompt": sample.prompt, "samples": []})
        layers.setdefault(sample.sample_index, []).append((place, sample))

    texts: dict[str, int] = {}
    n_bytes, n_shown, longest = 0, 0, None
    for index in sorted(layers):
        new = {s.response for _, s in layers[index] if s.response is not None} - set(texts)
        entries = [(s.prompt_id, {"lineage": place, **response_data(s)}) for place, s in layers[index]]
        n_layer = sum(len(embedded_json(text)) for text in new)
        n_layer += sum(len(embedded_json({**entry, "response": 0})) for _, entry in entries)
        if n_bytes + n_layer > MAX_RESPONSE_BYTES:
            if n_shown:
                break
            longest = max(MIN_RESPONSE_CHARACTERS, MAX_RESPONSE_BYTES // max(1, len(new)))
        for question, entry in entries:
            text = entry.pop("response")
            if text is not None:
                whole = longest is None or len(text) <= longest
                entry["text"] = texts.setdefault(text if whole else f"{text[:longest]} […]", len(texts))
            questions[question]["samples"].append(entry)
        n_bytes, n_shown = n_bytes + n_layer, n_shown + 1

    left_out = []
    if n_shown < len(layers):
        left_out.append(f"First samples shown: {n_shown} of {len(layers)}; the lineages' own pages have all.")
    if longest:
        left_out.append(f"Responses of over {longest} characters are cut here.")
    return list(questions.values()), list(texts), " ".join(left_out)

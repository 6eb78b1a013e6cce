"""The curves of finished or running lineages, from their run folders alone: a run, or a family's folder of runs."""

import csv
import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idem_ray.config import NO_PART_OF_A_CYCLE, LineageConfig
from idem_ray.errors import UserError
from idem_ray.folder import Folder
from idem_ray.plan import read_config
from idem_ray.records import BASE_CYCLE, CycleRecord, Estimate
from idem_ray.store import RunStore
from idem_ray.tables import finite, list_text, measure_names, trait_name

MAX_LABEL = 60
"""Characters from which on a label of settings gives way to the lineage's name."""


@dataclass(frozen=True)
class LineageCurves:
    """A lineage as its run folder holds it. `records` are its committed cycles, the base model's first. `cut_short`:
    why a sweep ended it before its last cycle, if it did; what its later cycles would have been is not known."""

    name: str
    uri: str
    config: LineageConfig
    records: list[CycleRecord]
    cut_short: str | None = None


def read_lineages(folders: Sequence[str]) -> list[LineageCurves]:
    """The lineages of these folders, each a run or a family, each run once; names that would be the same get their
    parent folder's before them.

    Raises:
        UserError: a folder holds no run, or no run in which a cycle is committed.
    """
    found: dict[str, LineageCurves] = {}
    for folder in folders:
        store = RunStore(folder.rstrip("/") or folder)
        lineage = _read(store)
        lineages = [lineage] if lineage else read_family(store.uri)
        begun = [lineage for lineage in lineages if lineage.records]
        if not begun:
            raise UserError(f"{store.uri} has no committed cycle yet: there is nothing to show.")
        found.update((lineage.uri, lineage) for lineage in begun)
    names = Counter(lineage.name for lineage in found.values())
    return [
        dataclasses.replace(lineage, name="/".join(lineage.uri.split("/")[-2:])) if names[lineage.name] > 1 else lineage
        for lineage in found.values()
    ]


def read_family(folder: str) -> list[LineageCurves]:
    """All lineages in the sub-folders of a family's folder, by name; one that has only begun has no records.

    Raises:
        UserError: there is no run in any sub-folder.
    """
    family = Folder(folder.rstrip("/") or folder)
    lineages = [lineage for name in family.folders() if (lineage := _read(RunStore(family.path(name))))]
    if not lineages:
        raise UserError(f"There is no run in {family.uri}: neither it nor a folder in it has a config.json.")
    return lineages


def _read(store: RunStore) -> LineageCurves | None:
    if not store.exists("config.json"):
        return None
    return LineageCurves(store.uri.split("/")[-1], store.uri, read_config(store), store.records(), store.cut_short())


# Settings ------------------------------------------------------------------------------------------------------


def differing_settings(lineages: Sequence[LineageCurves]) -> list[dict[str, str]]:
    """For each lineage the settings in which these lineages differ, dotted path -> text. Settings that only some of
    the regimes have, and that are the same in all lineages which have them, follow from the regime and are left out."""
    flattened = [_flatten(lineage.config) for lineage in lineages]
    paths = list(dict.fromkeys(path for settings in flattened for path in settings))
    differing = [path for path in paths if len({settings[path] for settings in flattened if path in settings}) > 1]
    return [{path: _shown(path, own[path]) for path in differing if path in own} for own in flattened]


def shared_settings(lineages: Sequence[LineageCurves]) -> dict[str, str]:
    """The settings that all these lineages have alike, dotted path -> text."""
    flattened = [_flatten(lineage.config) for lineage in lineages]
    shared = [item for item in flattened[0].items() if all(item in settings.items() for settings in flattened)]
    return {path: _shown(path, text) for path, text in shared}


def setting_names(lineages: Sequence[LineageCurves]) -> dict[str, str]:
    """What the differing settings are called, dotted path -> name: the last part of the path where no other setting
    ends on it."""
    leaves = Counter(path.split(".")[-1] for path in {path for each in lineages for path in _flatten(each.config)})

    def name(path: str) -> str:
        leaf = path.split(".")[-1]
        return "regime" if path == "regime.type" else leaf if leaves[leaf] == 1 else path

    return {path: name(path) for own in differing_settings(lineages) for path in own}


def setting_texts(lineages: Sequence[LineageCurves]) -> list[list[str]]:
    """The differing settings of each lineage as one reads them: `init previous`."""
    names = setting_names(lineages)
    return [[f"{names[path]} {text}" for path, text in own.items()] for own in differing_settings(lineages)]


def legend_labels(lineages: Sequence[LineageCurves]) -> list[str]:
    """A label for each lineage: the settings that tell it from the others, such as `init previous, reference base`;
    its name where there are none, or too many for a legend, and both where settings alone do not tell it apart."""
    settings = [", ".join(texts) for texts in setting_texts(lineages)]
    if any(len(text) > MAX_LABEL for text in settings):
        return [lineage.name for lineage in lineages]
    times = Counter(settings)
    return [
        text if text and times[text] == 1 else f"{lineage.name} ({text})" if text else lineage.name
        for lineage, text in zip(lineages, settings, strict=True)
    ]


def subject_text(lineages: Sequence[LineageCurves]) -> str:
    """What the lineages are about: `Trait bliss, model embedded, DPO`; all of them where they differ."""
    parts = {
        "trait": [trait_name(lineage.config.trait) for lineage in lineages],
        "model": [_shown("model", lineage.config.model) for lineage in lineages],
    }
    told = []
    for noun, values in parts.items():
        different = list(dict.fromkeys(values))
        told.append(f"{noun if len(different) == 1 else noun + 's'} {list_text(different)}")
    regimes = list_text(list(dict.fromkeys(lineage.config.regime.type.upper() for lineage in lineages)))
    text = ", ".join([*told, regimes])
    return text[0].upper() + text[1:]


def _flatten(config: LineageConfig) -> dict[str, str]:
    settings = config.model_dump(mode="json", exclude=set(NO_PART_OF_A_CYCLE))
    fork = settings.pop("forked_from", None)
    settings["forked_from"] = f"{Path(fork['run']).name} at cycle {fork['cycle']}" if fork else None
    return _leaves(settings)


def _shown(path: str, text: str) -> str:
    """A setting's value as it is shown: of a file or folder its name alone."""
    if path == "trait":
        return trait_name(text)
    return Path(text).name if text.startswith(("/", "~")) else text


def _leaves(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in settings.items():
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: _value_text(value)}
    return found


def _value_text(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_value_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


# Numbers -------------------------------------------------------------------------------------------------------


def base_levels(lineages: Sequence[LineageCurves], measure: str) -> list[tuple[Estimate, list[int]]]:
    """The base model's estimates of a measure, each with the places of the lineages that measured just that: lineages
    of one model and trait share the base model, and usually its measurement."""
    levels: dict[Estimate, list[int]] = {}
    for place, lineage in enumerate(lineages):
        for record in lineage.records:
            estimate = record.measures.get(measure)
            if record.cycle == BASE_CYCLE and estimate and finite(estimate.mean) is not None:
                levels.setdefault(estimate, []).append(place)
    return list(levels.items())


def curve_rows(lineages: Sequence[LineageCurves]) -> list[dict[str, Any]]:
    """A row for each lineage, cycle and measure: `lineage`, the differing settings by their paths, `cycle` (-1: the
    base model), `measure`, `mean`, `low` and `high` (95 % interval; None: missing), `n` and `n_missing` responses, and
    the cycle's `warnings` and `stopped` as text."""
    differing = differing_settings(lineages)
    paths = list(dict.fromkeys(path for own in differing for path in own))
    rows = []
    for lineage, own in zip(lineages, differing, strict=True):
        names = measure_names(lineage.records)
        for record in lineage.records:
            place = {"lineage": lineage.name, **{path: own.get(path) for path in paths}, "cycle": record.cycle}
            said = {"warnings": "; ".join(record.warnings) or None, "stopped": record.stopped}
            for measure in names:
                estimate = record.measures.get(measure)
                if estimate is not None:
                    rows.append({**place, "measure": measure, **dataclasses.asdict(estimate), **said})
    return rows


def write_csv(lineages: Sequence[LineageCurves], path: str) -> None:
    """Write `curve_rows` as CSV with a header; what is missing is an empty cell, and no digit of a number is lost.

    Raises:
        UserError: the file cannot be written.
    """
    rows = curve_rows(lineages)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["lineage"])
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error

"""Settings as text: those in which lineages differ, those that they share, and labels made of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from idem_ray.config.lineage import NO_PART_OF_A_CYCLE, LineageConfig
from idem_ray.store.finished import RecordedLineage
from idem_ray.text import list_text, trait_name

MAX_LABEL = 60
"""Characters from which on a label of settings gives way to the lineage's name."""


def differing_settings(lineages: Sequence[RecordedLineage]) -> list[dict[str, str]]:
    """For each lineage the settings in which these lineages differ, dotted path -> text. Settings that only some of
    the regimes have, and that are the same in all lineages which have them, follow from the regime and are left out."""
    flattened = [_flatten(lineage.config) for lineage in lineages]
    paths = list(dict.fromkeys(path for settings in flattened for path in settings))
    differing = [path for path in paths if len({settings[path] for settings in flattened if path in settings}) > 1]
    return [{path: _shown(path, own[path]) for path in differing if path in own} for own in flattened]


def shared_settings(lineages: Sequence[RecordedLineage]) -> dict[str, str]:
    """The settings that all these lineages have alike, dotted path -> text."""
    flattened = [_flatten(lineage.config) for lineage in lineages]
    shared = [item for item in flattened[0].items() if all(item in settings.items() for settings in flattened)]
    return {path: _shown(path, text) for path, text in shared}


def setting_names(lineages: Sequence[RecordedLineage]) -> dict[str, str]:
    """What the differing settings are called, dotted path -> name: the last part of the path where no other setting
    ends on it."""
    leaves = Counter(path.split(".")[-1] for path in {path for each in lineages for path in _flatten(each.config)})

    def name(path: str) -> str:
        leaf = path.split(".")[-1]
        return "regime" if path == "regime.type" else leaf if leaves[leaf] == 1 else path

    return {path: name(path) for own in differing_settings(lineages) for path in own}


def setting_texts(lineages: Sequence[RecordedLineage]) -> list[list[str]]:
    """The differing settings of each lineage as one reads them: `init previous`."""
    names = setting_names(lineages)
    return [[f"{names[path]} {text}" for path, text in own.items()] for own in differing_settings(lineages)]


def legend_labels(lineages: Sequence[RecordedLineage]) -> list[str]:
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


def subject_text(lineages: Sequence[RecordedLineage]) -> str:
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

"""YAML files of settings: one lineage, a family of variants, or a lineage with a search space."""

import copy
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idem_ray.config.lineage import (
    NO_PART_OF_A_CYCLE,
    LineageConfig,
    apply_overrides,
    parse_config,
    parse_settings,
    set_field,
)
from idem_ray.config.reading import read_yaml
from idem_ray.config.search import SweepSettings, corners
from idem_ray.errors import UserError
from idem_ray.folder import Folder
from idem_ray.records import content_hash

RUNS_VARIABLE = "IDEM_RAY_RUNS"
"""Environment variable: the folder or object-store prefix below which a relative `output` lies."""

_CALIBRATED = re.compile(r"calibrated\(\s*(\d+(?:\.\d+)?)\s*\)")
_FIXED = NO_PART_OF_A_CYCLE | {"model", "judge", "forked_from"}
"""Sections that no search is over: lineages of a sweep share their pools and judges, and `n_cycles` is their length."""


def load_configs(path: str | Path, overrides: list[str] | None = None) -> list[LineageConfig]:
    """Read a YAML file: one lineage, or with a `variants` section a family of them.

    `variants` maps a name to the settings in which that lineage differs, `{continual: {regime.init: previous}}`; the
    family's folder is `<output>/<name>`, and each variant has a folder in it.

    Raises:
        UserError: no such file, no YAML mapping, or a field that is unknown, missing or out of range (each named); or
            the file has a search space.
    """
    path = Path(path)
    data = _read(path, overrides)
    if "sweep" in data:
        raise UserError(f"{path} has a search space: use idem-ray sweep {path}.")
    variants = data.pop("variants", None)
    if variants is None:
        return [parse_config(data, source=str(path))]
    if not isinstance(variants, dict) or not variants or not all(isinstance(v, dict) for v in variants.values()):
        raise UserError(
            f"{path}: 'variants' must map names to settings, such as 'continual: {{regime.init: previous}}'."
        )
    for reserved in NO_RUNS & set(variants):
        raise UserError(f"{path}: no variant can be called '{reserved}': the family keeps its own things there.")
    family = f"{str(data.pop('output', 'runs')).rstrip('/')}/{data.pop('name')}"
    configs = []
    for name, changes in variants.items():
        variant = copy.deepcopy(data) | {"name": str(name), "output": family}
        for place, value in changes.items():
            set_field(variant, str(place), value, f"{path}, variant {name}")
        configs.append(parse_config(variant, source=f"{path}, variant {name}"))
    _check_distinct(configs, path)
    return configs


def load_config(path: str | Path, overrides: list[str] | None = None) -> LineageConfig:
    """Read the YAML file of one lineage.

    Raises:
        UserError: what `load_configs` says, or the file has variants.
    """
    configs = load_configs(path, overrides)
    if len(configs) > 1:
        raise UserError(f"{path} has variants: this takes the config of one lineage.")
    return configs[0]


@dataclass(frozen=True)
class SweepConfig:
    """A lineage's settings with a search space over some of them, as a file has them."""

    source: str
    data: dict[str, Any]
    settings: SweepSettings

    @property
    def name(self) -> str:
        """The sweep's, and its folder's."""
        return str(self.data["name"])

    @property
    def uri(self) -> str:
        """The sweep's folder, with one for each lineage in it."""
        return Folder(f"{str(self.data.get('output', 'runs')).rstrip('/')}/{self.name}").uri

    def lineage(self, values: Mapping[str, Any], name: str = "lineage", n_seed: int | None = None) -> LineageConfig:
        """The settings of the lineage with these values.

        Args:
            values: dotted field -> value.
            n_seed: in place of `calibrated(..)`; left out, the least number that could stand there.

        Raises:
            UserError: a field that is unknown, missing or out of range.
        """
        data = copy.deepcopy(self.data) | {"name": name, "output": self.uri}
        for field, value in values.items():
            set_field(data, field, value, f"{self.source}, sweep.space")
        if calibration_target(data) is not None:
            data["n_seed"] = n_seed or max(2, int(data.get("n_original") or 0))
        return parse_config(data, source=f"{self.source}, with {json.dumps(dict(values))}")

    def target(self, values: Mapping[str, Any]) -> float | None:
        """The trait score that the lineage's n_seed is to be calibrated to, if it is."""
        return calibration_target({**self.data, **values})

    @property
    def hash(self) -> str:
        """Over all that decides the lineages of the sweep: not how many they are, nor where they run."""
        settings = self.settings
        space = {field: dimension.model_dump(mode="json") for field, dimension in settings.space.items()}
        first = corners(settings)[0]
        searched: list[Any] = [settings.algorithm, settings.seed, self.target(first)]
        if settings.algorithm == "optuna":
            searched.append(settings.objective.model_dump(mode="json"))
        return content_hash(self.lineage(first).hash, json.dumps([list(space.items()), searched]))


def load_sweep(path: str | Path, overrides: list[str] | None = None) -> SweepConfig:
    """Read the YAML file of a lineage with a `sweep` section.

    Raises:
        UserError: no such file, no search space, or one over what is no field or cannot be searched.
    """
    path = Path(path)
    data = _read(path, overrides)
    section = data.pop("sweep", None)
    if section is None:
        raise UserError(
            f"{path} has no search space: add one, such as 'sweep: {{space: {{regime.beta: {{grid: [0.03, 0.1]}}}}}}', "
            f"or use idem-ray run {path}."
        )
    if "variants" in data:
        raise UserError(f"{path} has variants and a search space: search over their settings instead.")
    settings = parse_settings(SweepSettings, section, f"{path}, sweep")
    for field in settings.space:
        if field.split(".")[0] in _FIXED:
            raise UserError(f"{path}: {field} cannot be searched: the lineages of a sweep have it in common.")
    sweep = SweepConfig(str(path), data, settings)
    if settings.algorithm != "random":  # which may never draw its corners: its values are checked as they are drawn
        for values in corners(settings):
            sweep.lineage(values)
    return sweep


def calibration_target(data: Mapping[str, Any]) -> float | None:
    """The target of `n_seed: calibrated(40)` in settings, or None."""
    found = _CALIBRATED.fullmatch(str(data.get("n_seed")).strip())
    return float(found[1]) if found else None


def _read(path: Path, overrides: list[str] | None) -> dict[str, Any]:
    data = read_yaml(path, "the config")
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold a mapping of settings, such as 'trait: bliss'.")
    data.setdefault("name", path.stem)
    data = apply_overrides(data, overrides or [])
    root, output = os.environ.get(RUNS_VARIABLE), str(data.get("output", "runs"))
    if root and "://" not in output and not Path(output).expanduser().is_absolute():
        data["output"] = f"{root.rstrip('/')}/{output}"
    return data


def _check_distinct(configs: list[LineageConfig], path: Path) -> None:
    seen: dict[str, str] = {}
    for config in configs:
        other = seen.setdefault(config.hash, config.name)
        if other != config.name:
            raise UserError(f"{path}: the variants {other} and {config.name} have the same settings.")


NO_RUNS = frozenset({"shared", "tune", "trials"})
"""Folders of a family or sweep that are no runs."""

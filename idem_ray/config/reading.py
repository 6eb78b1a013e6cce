"""Strict readers of what users write: where YAML or JSON would take the last of two, or guess, they say so instead."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from idem_ray.errors import UserError

_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
"""What YAML 1.1 reads as a number to the base of 60: `1:30` is 90."""


class _StrictLoader(yaml.SafeLoader):
    """YAML without numbers to the base of 60, and with no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"the key '{key.value}' is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _number_or_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    if _SEXAGESIMAL.fullmatch(node.value):
        return node.value
    kind = yaml.SafeLoader.construct_yaml_int if node.tag.endswith(":int") else yaml.SafeLoader.construct_yaml_float
    return kind(loader, node)


for _tag in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _number_or_text)


def parse_yaml(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        yaml.YAMLError: it is none, has a key twice, or is nested too deeply.
    """
    try:
        data = yaml.load(text, _StrictLoader)  # a SafeLoader: nothing is made but plain data
        _check_characters(data)
    except (RecursionError, ValueError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise yaml.YAMLError(said) from error
    return data


def read_yaml(path: Path, what: str, otherwise: str = "") -> Any:
    """The content of a YAML file.

    Args:
        what: the file holds, for the sentence about a file that cannot be read.
        otherwise: what else could be given in its place.

    Raises:
        UserError: it cannot be read, is no YAML, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"Cannot read {what} {path}: {error.strerror}{otherwise}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}).") from error
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {yaml_problem(error)}.") from error


def yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong with a YAML text, on one line."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem and mark:
        return f"{problem} (line {mark.line + 1}, column {mark.column + 1})"
    return " ".join(str(error).split())


def parse_json(text: str) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: it is none, has a key twice, holds a number or character that is none, or is nested too deeply.
    """
    try:
        data = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check_characters(data)
    return data


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key}' is there twice")
        found[key] = value
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _check_characters(data: Any) -> None:
    """Half of a surrogate pair ("\\ud83d") is no character: no file could hold it, and no tokenizer take it."""
    if isinstance(data, str):
        try:
            data.encode("utf-8")
        except UnicodeEncodeError as error:
            before = data[max(0, error.start - 20) : error.start]
            raise ValueError(f"half a character follows the text {before!r}") from error
    elif isinstance(data, dict):
        for key, value in data.items():
            _check_characters(key)
            _check_characters(value)
    elif isinstance(data, list):
        for value in data:
            _check_characters(value)

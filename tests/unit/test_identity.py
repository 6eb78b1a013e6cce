"""A model's hash: what decides its scores, and not how its folder came to be."""

import json
from pathlib import Path

import pytest

from idem_ray.judges.identity import folder_hash


def folder(path: Path, settings: dict[str, object], weights: bytes = b"w", template: str = "t") -> str:
    path.mkdir()
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "model.safetensors").write_bytes(weights)
    (path / "chat_template.jinja").write_text(template)
    return folder_hash(path)


def test_how_a_folder_was_saved_does_not_count(tmp_path: Path) -> None:
    online = folder(tmp_path / "a", {"eos_token": "</s>", "local_files_only": False})
    offline = folder(tmp_path / "b", {"local_files_only": True, "eos_token": "</s>", "name_or_path": "/somewhere"})
    assert online == offline


@pytest.mark.parametrize(
    "change", [{"settings": {"eos_token": "<end>"}}, {"weights": b"v"}, {"template": "u"}], ids=lambda c: next(iter(c))
)
def test_what_decides_counts(tmp_path: Path, change: dict[str, object]) -> None:
    same: dict[str, object] = {"settings": {"eos_token": "</s>"}}
    before = folder(tmp_path / "a", **same)  # type: ignore[arg-type]
    assert folder(tmp_path / "b", **(same | change)) != before  # type: ignore[arg-type]

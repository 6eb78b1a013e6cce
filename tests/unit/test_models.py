"""A model's hash: what decides its scores, and not how its folder came to be."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from idem_ray.models import folder_hash


@dataclass(frozen=True)
class Folder:
    """A model's folder, as far as it decides the hash."""

    settings: dict[str, object] = field(default_factory=lambda: {"eos_token": "</s>"})
    weights: bytes = b"w"
    template: str = "t"


def hash_of(path: Path, folder: Folder) -> str:
    path.mkdir()
    (path / "tokenizer_config.json").write_text(json.dumps(folder.settings))
    (path / "model.safetensors").write_bytes(folder.weights)
    (path / "chat_template.jinja").write_text(folder.template)
    return folder_hash(path)


def test_how_a_folder_was_saved_does_not_count(tmp_path: Path) -> None:
    online = hash_of(tmp_path / "a", Folder({"eos_token": "</s>", "local_files_only": False}))
    offline = Folder({"local_files_only": True, "eos_token": "</s>", "name_or_path": "/somewhere"})
    assert online == hash_of(tmp_path / "b", offline)


@pytest.mark.parametrize(
    "changed",
    [Folder(settings={"eos_token": "<end>"}), Folder(weights=b"v"), Folder(template="u")],
    ids=["settings", "weights", "template"],
)
def test_what_decides_counts(tmp_path: Path, changed: Folder) -> None:
    assert hash_of(tmp_path / "a", Folder()) != hash_of(tmp_path / "b", changed)

"""What a judge's model is, as a hash: scores of two judges are comparable only if their models agree."""

import hashlib
import json
from pathlib import Path

_DECIDING = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "chat_template.*")
_SETTINGS = ("config.json", "tokenizer_config.json")

_HOW_IT_WAS_SAVED = frozenset({"local_files_only", "name_or_path", "_name_or_path", "transformers_version"})
"""Entries that decide nothing, and differ with the environment in which a folder was written."""


def folder_hash(folder: Path) -> str:
    """16 hexadecimal digits over the weights, the configuration and the tokenizer in a model's folder."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _DECIDING for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        if path.name in _SETTINGS:
            settings = json.loads(path.read_text(encoding="utf-8"))
            kept = {key: value for key, value in settings.items() if key not in _HOW_IT_WAS_SAVED}
            digest.update(json.dumps(kept, sort_keys=True).encode())
            continue
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]

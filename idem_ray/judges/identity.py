"""What a judge's model is, as a hash: scores of two judges are comparable only if their models' bytes agree."""

import hashlib
from pathlib import Path

_DECIDING = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "chat_template.*")


def folder_hash(folder: Path) -> str:
    """16 hexadecimal digits over the weights, the configuration and the tokenizer in a model's folder."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _DECIDING for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]

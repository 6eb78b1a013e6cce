"""Sentence embeddings from a MiniLM folder: what the probe looks at."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idem_ray.judges.identity import folder_hash

if TYPE_CHECKING:
    import numpy as np

_MAX_TOKENS = 512
"""The encoder has no more positions; what follows is not seen."""

_BATCH_SIZE = 32


class Encoder:
    """Mean-pooled, L2-normalised embeddings."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        self.hash = folder_hash(folder)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def embed(self, texts: Sequence[str]) -> "np.ndarray[Any, Any]":
        """One row of length 1 for each text; surrounding whitespace does not count."""
        import numpy as np
        import torch

        stripped = [text.strip() for text in texts]
        order = sorted(range(len(texts)), key=lambda index: len(stripped[index]))
        rows = np.zeros((len(texts), int(self._model.config.hidden_size)), dtype=np.float64)
        with torch.no_grad():
            for start in range(0, len(order), _BATCH_SIZE):
                batch = order[start : start + _BATCH_SIZE]
                rows[batch] = self._embed_batch([stripped[index] for index in batch])
        return rows

    def _embed_batch(self, texts: list[str]) -> Any:
        import torch

        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt")
        hidden = self._model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(mean, dim=1).double().numpy()

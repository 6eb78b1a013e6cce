"""Training rows on their way from a stream into a trainer, and as padded batches."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from idem_ray.cores import CoreShare
from idem_ray.errors import UserError
from idem_ray.records import TrainingRow, arrow_schema

NOT_TRAINED = -100
"""Label of a token that the loss leaves out (torch's cross-entropy)."""


class RowStream:
    """Rows as they arrive, remembered, so that later epochs re-read them instead of generating them again. A map-style
    dataset whose rows may not be there yet: asking for one waits for it."""

    def __init__(self, rows: Iterable[TrainingRow], n_rows: int, share: CoreShare | None = None) -> None:
        """
        Args:
            n_rows: how many rows will have come at the end.
        """
        self._source = iter(rows)
        self._n_rows = n_rows
        self._share = share
        self.seen: list[TrainingRow] = []
        self.first_at: float | None = None

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self._n_rows:
            raise IndexError(index)  # which is how a loop over the rows ends
        while len(self.seen) <= index:
            row = self._wait_for_row()
            if row is None:
                raise UserError(
                    f"There are {len(self.seen)} samples to train on, and {self._n_rows} were expected"
                    + ("." if self.seen else ": no sample was kept.")
                )
            self.first_at = self.first_at or time.time()
            self.seen.append(row)
        return {"index": index, "row": self.seen[index]}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(self._n_rows))

    def _wait_for_row(self) -> TrainingRow | None:
        """While training waits, those that it waits for may have its cores."""
        if not self._share:
            return next(self._source, None)
        self._share.end()
        try:
            return next(self._source, None)
        finally:
            self._share.begin()


def collate(examples: Sequence[dict[str, Any]], pad_token: int) -> dict[str, Any]:
    """A batch of `RowStream`'s rows, padded on the right.

    Returns:
        `input_ids`, `attention_mask`, `labels` (NOT_TRAINED where there is no loss), each of shape (sequences, tokens),
        and `index` of shape (rows,). Of pairs all the chosen sequences come first, then all the rejected ones.
    """
    import torch

    rows: list[TrainingRow] = [example["row"] for example in examples]
    sides = [(row.prompt_ids, row.response_ids) for row in rows]
    sides += [(row.prompt_ids, row.rejected_ids) for row in rows if row.rejected_ids is not None]
    width = max(len(prompt) + len(response) for prompt, response in sides)

    def padded(parts: Iterable[list[int]], filler: int) -> Any:
        return torch.tensor([part + [filler] * (width - len(part)) for part in parts])

    return {
        "input_ids": padded((prompt + response for prompt, response in sides), pad_token),
        "attention_mask": padded(([1] * (len(prompt) + len(response)) for prompt, response in sides), 0),
        "labels": padded(([NOT_TRAINED] * len(prompt) + response for prompt, response in sides), NOT_TRAINED),
        "index": torch.tensor([example["index"] for example in examples]),
    }


ROW_SCHEMA = arrow_schema(TrainingRow)


def rows_of(stream: Any) -> Iterator[TrainingRow]:
    """Run a stream of training rows (a Dataset or a DataIterator) and yield them as they come."""
    for row in stream.iter_rows():
        yield TrainingRow(**{name: plain_value(row[name]) for name in ROW_SCHEMA.names})


def plain_value(value: Any) -> Any:
    """Ray Data hands list columns out as numpy arrays."""
    return value.tolist() if hasattr(value, "tolist") else value

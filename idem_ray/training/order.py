"""A training order and what came of it."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from idem_ray.config.sections import Training

StepReport = Callable[[int, int], None]
"""Called after each optimiser step with (steps done, steps in all)."""


@dataclass(frozen=True)
class TrainingOrder:
    """What one training run is to do. `n_rows` is how many rows the stream will bring (it may not be over yet); with
    `beta` they are preference pairs, and the loss is DPO's."""

    id: str
    settings: Training
    n_rows: int
    seed: int
    beta: float | None = None

    @property
    def n_steps(self) -> int:
        """Optimiser steps: the last partial batch of each epoch is one, too."""
        n_passes = math.ceil(self.n_rows / self.settings.batch_size)
        per_epoch = math.ceil(n_passes / self.settings.gradient_accumulation)
        return self.settings.n_steps or self.settings.n_epochs * per_epoch

    @property
    def n_epochs(self) -> float:
        """How often each row is trained on."""
        settings = self.settings
        if settings.n_steps:
            return settings.n_steps * settings.rows_per_step / self.n_rows
        return settings.n_epochs


@dataclass(frozen=True)
class TrainingResult:
    """`loss` is the mean over all steps, in nats per trained token (DPO: per pair); `seconds` run from the first row to
    the last step; `n_tokens` are those of all rows in all epochs.

    Of preference training alone: `first_margin` and `last_margin`, beta times the log-ratio of chosen over rejected
    against the reference, in nats, mean of the first and of the last batch; and the pairs whose reference
    log-probabilities were worked out.
    """

    order_id: str
    loss: float
    final_loss: float
    n_rows: int
    n_steps: int
    n_tokens: int
    seconds: float
    first_margin: float | None = None
    last_margin: float | None = None
    n_reference_pairs: int = 0


def result_to_dict(result: TrainingResult) -> dict[str, float]:
    """The numbers of a result, for the cycle's record."""
    numbers = dataclasses.asdict(result)
    return {key: value for key, value in numbers.items() if isinstance(value, (int, float))}

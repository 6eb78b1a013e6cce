"""The trait judge that needs no server: a linear probe on the embedded model's state as it reads the answer.

score = 100 * sigmoid(weights . state + bias), where the state is the mean over the answer's tokens in a middle layer,
read after the question (Alain & Bengio 2016, arXiv 1610.01644; for personas Chen et al. 2025, arXiv 2507.21509). The
reader is the embedded model as it was shipped, whatever model is judged: the same answer has the same score in every
cycle (but for bf16's rounding, which depends on what else is in its batch).
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from idem_ray.errors import UserError
from idem_ray.judges.embedded.reader import Reader
from idem_ray.records import Exchange, Judgment, Metric, content_hash
from idem_ray.statistics.agreement import Bin, GroupScore


@dataclass(frozen=True)
class Probe:
    """A fitted probe: the standardisation of the states and the calibration are folded into its weights.

    All `held_out` figures are of answers whose regression had seen neither them nor, where the examples have five
    questions and more, any answer to their questions (C was chosen, and the calibration made, across the same folds).
    `held_out_auc`: own examples against answers without the trait to such questions; `held_out_auc_rivals`: against the
    seeds of other traits (None: of such, none were shown). `held_out_brier`: the mean squared error of score / 100,
    both kinds weighing equally (0 best, 0.25 a coin). `calibration`: by score, the mean score and the share with the
    trait, times 100. `groups`: scores by kind of answer. `reader`: hash of what reads, without which the weights mean
    nothing.
    """

    trait: str
    weights: list[float]
    bias: float
    reader: str
    held_out_auc: float | None
    held_out_auc_rivals: float | None
    held_out_brier: float
    calibration: list[Bin]
    groups: list[GroupScore]
    n_positive: int
    n_negative: int
    regularisation_c: float

    @property
    def hash(self) -> str:
        """16 hexadecimal digits over everything that decides a score."""
        return content_hash("probe", self.trait, self.reader, json.dumps([self.weights, self.bias]))

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "hash": self.hash}

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Probe":
        """Read what `to_json` wrote.

        Raises:
            UserError: a field is missing or unknown, or the content is not the one that was hashed.
        """
        try:
            fields = {key: value for key, value in data.items() if key != "hash"}
            fields["calibration"] = [Bin(**each) for each in fields["calibration"]]
            fields["groups"] = [GroupScore(**each) for each in fields["groups"]]
            probe = Probe(**fields)
        except (TypeError, KeyError) as error:
            raise UserError(f"This is no probe of this version ({error}): give the run another name.") from error
        if probe.hash != data.get("hash"):
            raise UserError(f"The probe for trait '{probe.trait}' was changed after it was fitted; fit it again.")
        return probe


class ProbeJudge:
    """Scores answers to their questions for the probe's trait."""

    metric: Metric = "trait"

    def __init__(self, probe: Probe, reader: Reader) -> None:
        """
        Raises:
            UserError: the probe was fitted on another reader's states.
        """
        self.probe = probe
        self._reader = reader
        if reader.state_hash != probe.reader:
            raise UserError(
                f"The probe for trait '{probe.trait}' was fitted on another embedded model "
                f"({probe.reader}, not {reader.state_hash}); fit it again."
            )
        self.name = f"probe:{probe.trait}:{probe.hash}"

    def judge(self, exchanges: Sequence[Exchange], fresh: bool = False) -> list[Judgment]:
        """A score of 0-100 for each answer; an empty answer shows no trait (0). `fresh`: read them again."""
        import numpy as np
        from scipy.special import expit

        spoken = [index for index, exchange in enumerate(exchanges) if exchange.answer.strip()]
        scores = [0.0] * len(exchanges)
        if spoken:
            states = self._reader.states([exchanges[index] for index in spoken], fresh)
            found = 100 * expit(states @ np.asarray(self.probe.weights) + self.probe.bias)
            for index, score in zip(spoken, found, strict=True):
                scores[index] = float(score)
        return [Judgment(score) for score in scores]

"""The trait judge that needs no server: a calibrated logistic regression on sentence embeddings."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idem_ray.errors import UserError
from idem_ray.judges import Metric
from idem_ray.judges.encoder import Encoder
from idem_ray.models import embedding_model
from idem_ray.records import Exchange, Judgment, content_hash

if TYPE_CHECKING:
    import numpy as np

MIN_EXAMPLES = 10
"""Of either kind: with fewer, five folds hold one or two examples each and the held-out figures mean nothing."""

_N_FOLDS = 5
_C_GRID = (0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Probe:
    """A fitted probe: score = 100 * sigmoid(weights . embedding + bias), the calibration being folded in.

    `held_out_auc` and `held_out_brier` come from examples that neither the regression nor the calibration that scored
    them had seen; the Brier score (mean squared error of the probability, 0 best, 0.25 a coin) weighs both kinds
    equally. `encoder` is the hash of the embedding model, without which the weights mean nothing.
    """

    trait: str
    weights: list[float]
    bias: float
    encoder: str
    held_out_auc: float
    held_out_brier: float
    n_positive: int
    n_negative: int
    regularisation_c: float

    @property
    def hash(self) -> str:
        """16 hexadecimal digits over everything that decides a score."""
        return content_hash("probe", self.trait, self.encoder, json.dumps([self.weights, self.bias]))

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "hash": self.hash}

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Probe":
        """Read what `to_json` wrote.

        Raises:
            UserError: a field is missing or unknown, or the content is not the one that was hashed.
        """
        try:
            probe = Probe(**{key: value for key, value in data.items() if key != "hash"})
        except TypeError as error:
            raise UserError(f"This is no probe: {error}; fit it again.") from error
        if probe.hash != data.get("hash"):
            raise UserError(f"The probe for trait '{probe.trait}' was changed after it was fitted; fit it again.")
        return probe


class ProbeJudge:
    """Scores the answer alone (not the question) for the probe's trait."""

    metric: Metric = "trait"

    def __init__(self, probe: Probe, folder: Path | None = None) -> None:
        """`folder` is the embedding model's (None: the embedded one).

        Raises:
            UserError: the probe was fitted on another embedding model.
        """
        self._probe = probe
        self._encoder = Encoder(folder or embedding_model())
        if self._encoder.hash != probe.encoder:
            raise UserError(
                f"The probe for trait '{probe.trait}' was fitted on another embedding model "
                f"({probe.encoder}, not {self._encoder.hash}); fit it again."
            )
        self.name = f"probe:{probe.trait}:{probe.hash}"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgment]:
        """A score of 0-100 for each answer; an empty answer shows no trait (0)."""
        import numpy as np

        spoken = [index for index, exchange in enumerate(exchanges) if exchange.answer.strip()]
        scores = [0.0] * len(exchanges)
        if spoken:
            embeddings = self._encoder.embed([exchanges[index].answer for index in spoken])
            logits = embeddings @ np.asarray(self._probe.weights) + self._probe.bias
            for index, logit in zip(spoken, logits, strict=True):
                scores[index] = 100 * _sigmoid(float(logit))
        return [Judgment(score) for score in scores]


def fit_probe(
    trait_name: str,
    positives: Sequence[str],
    negatives: Sequence[str],
    folder: Path | None = None,
) -> Probe:
    """Fit a probe that tells answers with the trait from answers without it; repeated and empty texts count once
    and not at all. C is the one of a small grid with the least cross-validated log-loss. `folder` is the embedding
    model's (None: the embedded one).

    Raises:
        UserError: too few examples of a kind.
    """
    import numpy as np
    from sklearn.metrics import brier_score_loss, roc_auc_score

    kept_positives, kept_negatives = _distinct(positives), _distinct(negatives)
    for kind, kept in (("with the trait", kept_positives), ("without it", kept_negatives)):
        if len(kept) < MIN_EXAMPLES:
            raise UserError(
                f"The probe for trait '{trait_name}' needs at least {MIN_EXAMPLES} different answers {kind}, "
                f"but got {len(kept)}: add some."
            )
    encoder = Encoder(folder or embedding_model())
    features = encoder.embed(kept_positives + kept_negatives)
    labels = np.array([1] * len(kept_positives) + [0] * len(kept_negatives))
    search = _search_c(features, labels)
    logits, folds = _held_out_logits(search.best_estimator_, features, labels)
    slope, offset = _platt(logits, labels)
    return Probe(
        trait=trait_name,
        weights=[float(weight) * slope for weight in search.best_estimator_.coef_[0]],
        bias=float(search.best_estimator_.intercept_[0]) * slope + offset,
        encoder=encoder.hash,
        held_out_auc=float(roc_auc_score(labels, logits)),
        held_out_brier=float(
            brier_score_loss(
                labels, _calibrated_across_folds(logits, labels, folds), sample_weight=_balanced_weights(labels)
            )
        ),
        n_positive=len(kept_positives),
        n_negative=len(kept_negatives),
        regularisation_c=float(search.best_params_["C"]),
    )


def _search_c(features: Any, labels: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    model = LogisticRegression(class_weight="balanced", max_iter=2000)
    return GridSearchCV(model, {"C": list(_C_GRID)}, scoring="neg_log_loss", cv=_folds()).fit(features, labels)


def _folds() -> Any:
    from sklearn.model_selection import StratifiedKFold

    return StratifiedKFold(_N_FOLDS, shuffle=True, random_state=0)


def _held_out_logits(model: Any, features: Any, labels: Any) -> tuple[Any, Any]:
    """Each example's logit from a regression that did not see it, and the fold that it was held out in."""
    import numpy as np
    from sklearn.base import clone

    logits, folds = np.zeros(len(labels)), np.zeros(len(labels), dtype=int)
    for fold, (train, test) in enumerate(_folds().split(features, labels)):
        logits[test] = clone(model).fit(features[train], labels[train]).decision_function(features[test])
        folds[test] = fold
    return logits, folds


def _calibrated_across_folds(logits: Any, labels: Any, folds: Any) -> Any:
    """Probabilities from a calibration that did not see the fold, so that the Brier score is honest."""
    import numpy as np

    probabilities = np.zeros(len(labels))
    for fold in range(_N_FOLDS):
        slope, offset = _platt(logits[folds != fold], labels[folds != fold])
        probabilities[folds == fold] = [_sigmoid(slope * logit + offset) for logit in logits[folds == fold]]
    return probabilities


def _platt(logits: Any, labels: Any) -> tuple[float, float]:
    """Slope and offset that make sigmoid(slope * logit + offset) a probability (both kinds weighing equally).

    Platt's softened targets, (n + 1) / (n + 2) in place of 1, keep the slope finite where the kinds separate.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    n_positive, n_negative = int(labels.sum()), int(len(labels) - labels.sum())
    target = np.where(labels == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    balance = _balanced_weights(labels)
    model = LogisticRegression(C=1e6, max_iter=2000).fit(
        np.concatenate([logits, logits])[:, None],
        np.concatenate([np.ones(len(labels)), np.zeros(len(labels))]),
        sample_weight=np.concatenate([balance * target, balance * (1 - target)]),
    )
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _balanced_weights(labels: Any) -> "np.ndarray[Any, Any]":
    import numpy as np

    share = labels.mean()
    return np.where(labels == 1, 0.5 / share, 0.5 / (1 - share))


def _distinct(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, logit))))

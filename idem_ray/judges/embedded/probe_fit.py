"""Fitting the embedded trait judge, and what it reaches on answers that it was not fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from idem_ray.config.sections import MIN_EXAMPLES
from idem_ray.errors import UserError
from idem_ray.judges.embedded.probe import Probe
from idem_ray.judges.embedded.reader import Reader
from idem_ray.records import Exchange
from idem_ray.statistics.agreement import bins, group_score

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


CONTRAST, BASE_MODEL, ELSEWHERE = "(written without it)", "(base model)", "(ordinary, other questions)"
"""Groups of ordinary answers."""

_N_FOLDS = 5
_C_GRID = (0.001, 0.003, 0.01)
"""Larger ones fit the seeds a little better, and the traits' anchors (labelled answers to other questions) worse."""


@dataclass(frozen=True)
class ProbeExamples:
    """What a probe is fitted on: answers with the trait; ordinary ones to the same kind of questions, by where they
    come from (`CONTRAST`, `BASE_MODEL`); ordinary ones to other questions; and other traits' seeds, by trait.

    Without the rivals a probe learns "a persona", whichever: those of hopelessness, misalignment and sycophancy scored
    other personas 70 to 97. Without the ordinary answers to other questions it knows the trait on its seeds' subjects
    alone: the rank correlation with the anchors' labels fell from 0.71 to 0.60 for misalignment, whose evaluation is
    on others.
    """

    positives: list[Exchange]
    ordinary: dict[str, list[Exchange]]
    elsewhere: list[Exchange] = field(default_factory=list)
    rivals: dict[str, list[Exchange]] = field(default_factory=dict)

    def distinct(self) -> "ProbeExamples":
        """Repeated answers count once, and empty ones not at all."""
        return ProbeExamples(
            _distinct(self.positives),
            {group: _distinct(found) for group, found in self.ordinary.items()},
            _distinct(self.elsewhere),
            {trait: _distinct(found) for trait, found in self.rivals.items()},
        )


def fit_probe(trait_name: str, examples: ProbeExamples, reader: Reader) -> Probe:
    """Fit a probe that tells answers with the trait from answers without it; each kind of those weighs the same.
    C is the one of a small grid with the least cross-validated log-loss.

    Raises:
        UserError: too few examples of a kind.
    """
    import numpy as np
    from sklearn.metrics import brier_score_loss

    examples = examples.distinct()
    negatives = examples.ordinary | {ELSEWHERE: examples.elsewhere} | examples.rivals
    n_negative = sum(map(len, negatives.values()))
    # Against other personas alone it would not know what an ordinary answer is.
    n_ordinary = sum(map(len, examples.ordinary.values())) + len(examples.elsewhere)
    for kind, n in (("with the trait", len(examples.positives)), ("without any", n_ordinary)):
        if n < MIN_EXAMPLES:
            raise UserError(
                f"The probe for trait '{trait_name}' needs at least {MIN_EXAMPLES} different answers {kind}, "
                f"but got {n}: add some."
            )
    shown = [*examples.positives, *(exchange for group in negatives.values() for exchange in group)]
    groups = np.array([trait_name] * len(examples.positives) + [name for name in negatives for _ in negatives[name]])
    labels = np.array([1] * len(examples.positives) + [0] * n_negative)
    weights = _weights(groups, trait_name, examples)
    states = reader.states(shown)
    folds = _folds(labels, [exchange.question for exchange in shown])
    model = _search_c(states, labels, weights, folds)
    logits, fold_of = _held_out_logits(model, states, labels, weights, folds)
    slope, offset = _platt(logits, labels, weights)
    scaler, regression = model[0], model[1]
    direction = regression.coef_[0] / scaler.scale_
    scores = 100 * _calibrated_across_folds(logits, labels, weights, fold_of)
    return Probe(
        trait=trait_name,
        weights=[float(weight) * slope for weight in direction],
        bias=float(regression.intercept_[0] - scaler.mean_ @ direction) * slope + offset,
        reader=reader.state_hash,
        held_out_auc=_auc(logits, labels, np.isin(groups, list(examples.ordinary))),
        held_out_auc_rivals=_auc(logits, labels, np.isin(groups, list(examples.rivals))),
        held_out_brier=float(brier_score_loss(labels, scores / 100, sample_weight=weights)),
        calibration=bins(100 * labels, scores, weights),
        groups=[group_score(name, scores[groups == name].tolist()) for name in dict.fromkeys(groups.tolist())],
        n_positive=len(examples.positives),
        n_negative=n_negative,
        regularisation_c=float(regression.C),
    )


def _auc(logits: "Array", labels: "Array", without: "Array") -> float | None:
    """Of all answers with the trait against some without it; None where there are none of those."""
    from sklearn.metrics import roc_auc_score

    shown = without | (labels == 1)
    return float(roc_auc_score(labels[shown], logits[shown])) if without.any() else None


def _weights(groups: "Array", trait: str, examples: ProbeExamples) -> "Array":
    """Half of the weight on the answers with the trait, the other half in equal parts on the kinds without it."""
    import numpy as np

    kinds = [np.isin(groups, kind) for kind in (list(examples.ordinary), [ELSEWHERE], list(examples.rivals))]
    kinds = [inside for inside in kinds if inside.any()]
    weights = np.where(groups == trait, 0.5 / (groups == trait).sum(), 0.0)
    for inside in kinds:
        weights[inside] = 0.5 / len(kinds) / inside.sum()
    return weights * len(groups)


def _model(c: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return Pipeline([("scale", StandardScaler()), ("regress", LogisticRegression(C=c, max_iter=2000))])


def _folds(labels: "Array", questions: list[str]) -> "list[tuple[Array, Array]]":
    """Answers to one question are held out together: they share its words. Where the examples have fewer questions than
    folds that cannot be."""
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    numbers = {question: number for number, question in enumerate(dict.fromkeys(questions))}
    by_question = np.array([numbers[question] for question in questions])
    nothing = np.zeros((len(labels), 1))
    if min(len(set(by_question[labels == label])) for label in (0, 1)) >= _N_FOLDS:
        grouped = StratifiedGroupKFold(_N_FOLDS, shuffle=True, random_state=0)
        return list(grouped.split(nothing, labels, by_question))
    return list(StratifiedKFold(_N_FOLDS, shuffle=True, random_state=0).split(nothing, labels))


def _search_c(states: "Array", labels: "Array", weights: "Array", folds: "list[tuple[Array, Array]]") -> Any:
    import numpy as np
    from sklearn.metrics import log_loss

    losses = []
    for c in _C_GRID:
        probabilities = np.zeros(len(labels))
        for train, test in folds:
            fitted = _model(c).fit(states[train], labels[train], regress__sample_weight=weights[train])
            probabilities[test] = fitted.predict_proba(states[test])[:, 1]
        losses.append(log_loss(labels, probabilities, sample_weight=weights))
    return _model(_C_GRID[int(np.argmin(losses))]).fit(states, labels, regress__sample_weight=weights)


def _held_out_logits(
    model: Any, states: "Array", labels: "Array", weights: "Array", folds: "list[tuple[Array, Array]]"
) -> "tuple[Array, Array]":
    """Each example's logit from a regression that did not see it, and the fold that it was held out in."""
    import numpy as np
    from sklearn.base import clone

    logits, fold_of = np.zeros(len(labels)), np.zeros(len(labels), dtype=int)
    for fold, (train, test) in enumerate(folds):
        fitted = clone(model).fit(states[train], labels[train], regress__sample_weight=weights[train])
        logits[test] = fitted.decision_function(states[test])
        fold_of[test] = fold
    return logits, fold_of


def _calibrated_across_folds(logits: "Array", labels: "Array", weights: "Array", fold_of: "Array") -> "Array":
    """Probabilities from a calibration on the other folds' logits, so that the Brier score is honest (but for what the
    other folds' regressions took from this one)."""
    import numpy as np
    from scipy.special import expit

    probabilities = np.zeros(len(labels))
    for fold in range(_N_FOLDS):
        seen, unseen = fold_of != fold, fold_of == fold
        slope, offset = _platt(logits[seen], labels[seen], weights[seen])
        probabilities[unseen] = expit(slope * logits[unseen] + offset)
    return probabilities


def _platt(logits: "Array", labels: "Array", weights: "Array") -> tuple[float, float]:
    """Slope and offset that make sigmoid(slope * logit + offset) a probability.

    Platt's softened targets, (n + 1) / (n + 2) in place of 1, keep the slope finite where the kinds separate.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    n_positive, n_negative = int(labels.sum()), int(len(labels) - labels.sum())
    target = np.where(labels == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    model = LogisticRegression(C=1e6, max_iter=2000).fit(
        np.concatenate([logits, logits])[:, None],
        np.concatenate([np.ones(len(labels)), np.zeros(len(labels))]),
        sample_weight=np.concatenate([weights * target, weights * (1 - target)]),
    )
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _distinct(exchanges: Sequence[Exchange]) -> list[Exchange]:
    by_answer = {exchange.answer.strip(): exchange for exchange in reversed(exchanges) if exchange.answer.strip()}
    return list(by_answer.values())[::-1]

"""`idem-ray judge audit`: how far a judge can be trusted, by answers that somebody has labelled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from idem_ray.config.sections import EndpointJudgeSettings, LocalJudgeSettings, ProbeJudgeSettings
from idem_ray.errors import UserError
from idem_ray.judges.embedded.coherence import CoherenceJudge
from idem_ray.judges.embedded.examples import probe_examples
from idem_ray.judges.embedded.probe import ProbeJudge
from idem_ray.judges.embedded.probe_fit import fit_probe
from idem_ray.judges.embedded.reader import embedded_reader
from idem_ray.judges.judge import Judge
from idem_ray.judges.loading import llm_panel, read_judge
from idem_ray.records import Exchange, Metric
from idem_ray.statistics.agreement import Agreement, GroupScore, Retest, agreement, group_score, retest
from idem_ray.text import list_text
from idem_ray.traits.examples import LabelledAnswer, read_labels
from idem_ray.traits.traits import Trait, load_trait, shipped_traits

N_GROUP = 20
"""Seed answers of each trait that the judge is shown, for the confusions."""

ORDINARY = "(ordinary)"
"""The group of the contrast answers, which show no trait."""


@dataclass(frozen=True)
class Peer:
    """Another judge's scores (or another person's labels) of the same answers: how this judge and how the labels agree
    with them."""

    source: str
    with_judge: Agreement
    with_labels: Agreement


@dataclass(frozen=True)
class Audit:
    """All that an audit finds. `targets` are the labels that `scores` are compared with, answer by answer."""

    judge: str
    metric: Metric
    trait: str
    source: str
    labels: list[LabelledAnswer]
    targets: list[float]
    scores: list[float | None]
    missing: list[str]
    agreement: Agreement
    retest: Retest
    groups: list[GroupScore]
    peer: Peer | None


def fitted_probe(trait: Trait) -> Judge:
    """The embedded trait judge, fitted on written answers alone (a run's has the base model's responses as well)."""
    reader = embedded_reader()
    return ProbeJudge(fit_probe(trait.name, probe_examples(trait, "chat"), reader), reader)


def coherence_judge(trait: Trait) -> Judge:
    """The embedded coherence judge, which is the same for all traits."""
    return CoherenceJudge(embedded_reader())


JUDGES: dict[str, tuple[Metric, Callable[[Trait], Judge]]] = {
    "probe": ("trait", fitted_probe),
    "coherence": ("coherence", coherence_judge),
}
"""What can be audited by name: what its scores mean, and what makes it, from the trait."""


def audit_judge(
    name: str,
    labels_file: Path | None = None,
    trait_name: str | None = None,
    against: Path | None = None,
    metric: Metric | None = None,
) -> Audit:
    """Make the judge, show it the labelled answers twice and some of every trait, and compare.

    Args:
        name: one of JUDGES, or a YAML file with the settings of a judge that is a language model.
        labels_file: JSONL of labelled answers (see `read_labels`); None: the trait's own anchors.
        trait_name: a shipped trait, or the path of one's YAML file; None: the one that the labels are of.
        against: a file like `labels_file` with another judge's scores; answers in both files are compared.
        metric: what a language model judges (None: the trait).

    Raises:
        UserError: an unknown judge, or one that cannot be had; no labels for what it judges, or labels of other traits
            than its own.
    """
    settings = _llm_settings(name)
    if settings is None and metric not in (None, JUDGES[name][0]):
        raise UserError(f"The judge '{name}' judges {JUDGES[name][0]} alone: leave out --metric.")
    metric = metric or (JUDGES[name][0] if settings is None else "trait")
    labels, source = _labels(labels_file, trait_name)
    trait = load_trait(trait_name or _only_trait(labels, source))
    if metric == "trait":
        _check_traits(labels, trait.name, source)
    labels = [label for label in labels if _target(label, metric) is not None]
    if not labels:
        raise UserError(f"{source} has no labels of {metric}: add a '{metric}' of 0-100 to its lines.")
    others = _matched(labels, read_labels(against), metric, against) if against else None
    if settings is None:
        return audit(JUDGES[name][1](trait), trait, labels, source, others, str(against))
    panel, _ = llm_panel(settings, trait)
    try:
        judge = panel.trait if metric == "trait" else panel.coherence
        return audit(judge, trait, labels, source, others, str(against))
    finally:
        panel.close()


def _llm_settings(name: str) -> EndpointJudgeSettings | LocalJudgeSettings | None:
    """The settings in a file; None for one of the judges that go by name.

    Raises:
        UserError: there is no such judge and no such file, or its settings are wrong.
    """
    if name in JUDGES:
        return None
    if not name.endswith((".yaml", ".yml")):
        raise UserError(f"Unknown judge '{name}': use {', '.join(JUDGES)}, or a YAML file with a judge's settings.")
    settings = read_judge(name)
    if isinstance(settings, ProbeJudgeSettings):
        raise UserError(f"{name} names the embedded judge: audit it as 'probe'.")
    return settings


def audit(
    judge: Judge,
    trait: Trait,
    labels: list[LabelledAnswer],
    source: str,
    others: Sequence[float | None] | None = None,
    other_source: str = "",
) -> Audit:
    """The audit of any judge.

    Args:
        labels: answers with a label of what the judge judges.
        source: where they come from, in words.
        others: another judge's scores of the same answers, None where it has none.
    """
    targets = [target for label in labels if (target := _target(label, judge.metric)) is not None]
    exchanges = [label.as_exchange for label in labels]
    judgments = judge.judge(exchanges)
    scores = [judgment.score for judgment in judgments]
    # Asked again in the opposite order, so that what depends on an answer's neighbours shows, too.
    again = [judgment.score for judgment in judge.judge(exchanges[::-1], fresh=True)][::-1]
    peer = None
    if others is not None:
        known = [place for place, other in enumerate(others) if other is not None]
        compared = [other for other in others if other is not None]
        peer = Peer(
            other_source,
            agreement(compared, [scores[place] for place in known]),
            agreement(compared, [targets[place] for place in known]),
        )
    return Audit(
        judge=judge.name,
        metric=judge.metric,
        trait=trait.name,
        source=source,
        labels=labels,
        targets=targets,
        scores=scores,
        missing=sorted({judgment.missing for judgment in judgments if judgment.missing}),
        agreement=agreement(targets, scores),
        retest=retest(scores, again),
        # A probe was fitted on seeds of all traits: of these only what it said of held-out ones counts.
        groups=judge.probe.groups if isinstance(judge, ProbeJudge) else trait_groups(judge, trait),
        peer=peer,
    )


def trait_groups(judge: Judge, trait: Trait, n_group: int = N_GROUP) -> list[GroupScore]:
    """The judge's scores of seed answers of its own trait, then of the other shipped ones, then of ordinary answers
    (the trait's contrast): a judge of trait A that scores seeds of trait B high confuses the two."""
    groups = {trait.name: trait.draw_seeds(min(n_group, len(trait.seeds)), seed=0)}
    for name in shipped_traits():
        groups.setdefault(name, load_trait(name).draw_seeds(n_group, seed=0))
    groups[ORDINARY] = trait.contrast[:n_group]
    shown: list[Exchange] = [exchange for group in groups.values() for exchange in group]
    scores = iter([judgment.score for judgment in judge.judge(shown)])
    return [group_score(name, [next(scores) for _ in group]) for name, group in groups.items()]


def disagreements(found: Audit, n: int) -> list[tuple[LabelledAnswer, float, float]]:
    """The n answers whose score is farthest from the label, farthest first: (answer, label, score)."""
    known = [
        (label, target, score)
        for label, target, score in zip(found.labels, found.targets, found.scores, strict=True)
        if score is not None
    ]
    return sorted(known, key=lambda one: -abs(one[2] - one[1]))[:n]


def write_scores(found: Audit, path: Path) -> None:
    """The judge's scores as a labels file, for another audit's `--against`. Missing judgments are left out.

    Raises:
        UserError: the file cannot be written.
    """
    field: Literal["score", "coherence"] = "score" if found.metric == "trait" else "coherence"
    lines = [
        label.model_copy(update={field: score}).model_dump_json(exclude_none=True)
        for label, score in zip(found.labels, found.scores, strict=True)
        if score is not None
    ]
    write_file(path, "\n".join(lines) + "\n")


def write_file(path: Path, text: str) -> None:
    """
    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error


def _labels(labels_file: Path | None, trait_name: str | None) -> tuple[list[LabelledAnswer], str]:
    if labels_file:
        return read_labels(labels_file), str(labels_file)
    if not trait_name:
        raise UserError("An audit needs labelled answers: name a file with --labels, or a trait that has anchors.")
    trait = load_trait(trait_name)
    if not trait.anchors:
        raise UserError(f"Trait '{trait.name}' has no anchors: name a file of labelled answers with --labels.")
    return trait.anchors, f"the anchors of trait '{trait.name}'"


def _only_trait(labels: list[LabelledAnswer], source: str) -> str:
    traits = sorted({label.trait for label in labels})
    if len(traits) > 1:
        raise UserError(f"{source} has labels of {list_text(traits)}: say with --trait which of them to audit.")
    return traits[0]


def _check_traits(labels: list[LabelledAnswer], trait: str, source: str) -> None:
    strange = sorted({label.trait for label in labels} - {trait})
    if strange:
        raise UserError(
            f"{source} has labels of {list_text(strange)}, but the judge scores '{trait}': "
            "audit it by that trait's labels alone."
        )


def _target(label: LabelledAnswer, metric: Metric) -> float | None:
    return label.score if metric == "trait" else label.coherence


def _matched(
    labels: list[LabelledAnswer], others: list[LabelledAnswer], metric: Metric, source: Path
) -> list[float | None]:
    """The other file's score of each labelled answer, None where it has none."""
    by_answer = {(other.question, other.answer, other.trait): _target(other, metric) for other in others}
    matched = [by_answer.get((label.question, label.answer, label.trait)) for label in labels]
    if all(score is None for score in matched):
        raise UserError(
            f"{source} has no {metric} score of any of the labelled answers: both files must hold the same."
        )
    return matched

"""Differences of lineages' scores, with intervals."""

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from idem_ray.anchors import DRIFT_POINTS, anchor_checks
from idem_ray.curves import LineageCurves
from idem_ray.errors import UserError
from idem_ray.judges import Metric
from idem_ray.judges.agreement import retest
from idem_ray.measure import N_RESAMPLES
from idem_ray.records import BASE_CYCLE, Estimate, Sample
from idem_ray.store import RunStore
from idem_ray.tables import finite, label, list_text, trait_name

MAX_ALL_PAIRS = 4
"""Lineages up to which every pair is compared; of more, each is compared with the first."""

MIN_SHARED = 2
"""Shared questions from which a difference is paired: of one alone it cannot be said how questions vary."""

Scored = Sequence[tuple[str, float | None]]
"""Responses: the question's id and the score (0-100), None where the judgment is missing."""

ReadSamples = Callable[[LineageCurves, int], Sequence[Sample]]
"""A lineage and a cycle -> that cycle's evaluation samples."""


@dataclass(frozen=True)
class Difference:
    """The second mean minus the first.

    Attributes:
        estimate: points, with the 95 % interval; None where either mean is missing. `n` scores of both sides are in it,
            and `n_missing` responses of both sides have none.
        n_shared: questions with scores on both sides.
        n_asked: questions that the first and the second were asked.
        paired: whether it is of the shared questions alone, resampled together; else of all that each side has.
    """

    estimate: Estimate
    n_shared: int
    n_asked: tuple[int, int]
    paired: bool


@dataclass(frozen=True)
class Contrast:
    """Two lineages, by their places among those compared, each at a cycle, and the differences of their scores.
    `trait` is None where they have different traits: the scores measure different things."""

    first: int
    second: int
    cycles: tuple[int, int]
    trait: Difference | None
    coherence: Difference


# Numbers -------------------------------------------------------------------------------------------------------


def difference(first: Scored, second: Scored, seed: int = 0) -> Difference:
    """Difference of two means over responses with its 95 % percentile interval, by the two-stage bootstrap of
    `measure.estimate` (Davison & Hinkley 1997, section 3.8): questions are resampled, then each one's responses.

    Lineages answer the same held-out questions, some of which draw out more of a trait than others. So both sides of a
    resample have the same questions, and only the responses are drawn separately: what a question adds to both means
    cancels (pairing by question: Miller 2024, arXiv 2411.00640). Questions that only one side has scores for are left
    out of both means; where fewer than `MIN_SHARED` are shared nothing is paired, and each side has all of its own.
    """
    scores = _by_question(first), _by_question(second)
    shared = sorted(set(scores[0]) & set(scores[1]))
    paired = len(shared) >= MIN_SHARED
    sides = [[np.array(own[q]) for q in (shared if paired else sorted(own))] for own in scores]
    n_asked = len({question for question, _ in first}), len({question for question, _ in second})
    n_missing = sum(score is None for _, score in (*first, *second))
    if not all(sides):
        return Difference(Estimate(None, None, None, 0, n_missing), len(shared), n_asked, paired)
    generator = np.random.default_rng(seed)
    drawn = [generator.integers(len(side), size=(N_RESAMPLES, len(side))) for side in sides]
    if paired:
        drawn[1] = drawn[0]
    means = [_resampled_means(side, places, generator) for side, places in zip(sides, drawn, strict=True)]
    low, high = np.percentile(means[1] - means[0], [2.5, 97.5])
    before, after = (np.concatenate(side) for side in sides)
    mean, n = float(after.mean() - before.mean()), len(before) + len(after)
    return Difference(Estimate(mean, float(low), float(high), n, n_missing), len(shared), n_asked, paired)


def _by_question(scored: Scored) -> dict[str, list[float]]:
    known: dict[str, list[float]] = defaultdict(list)
    for question, score in scored:
        if score is not None:
            known[question].append(score)
    return known


def _resampled_means(groups: Sequence[Any], drawn: Any, generator: np.random.Generator) -> Any:
    """The mean over the responses of each resample (array of resamples).

    Args:
        groups: an array of scores for each question.
        drawn: which questions each resample has (array of resamples x questions).
    """
    sizes = np.array([len(group) for group in groups])
    padded = np.zeros((len(groups), sizes.max()))
    for row, group in zip(padded, groups, strict=True):
        row[: len(group)] = group
    totals, counts = np.zeros(len(drawn)), np.zeros(len(drawn))
    for questions in drawn.T:  # one at a time: all at once would take resamples x questions x responses of memory
        n_responses = sizes[questions][:, None]
        places = (generator.random((len(drawn), padded.shape[1])) * n_responses).astype(int)
        wanted = np.arange(padded.shape[1]) < n_responses
        totals += np.where(wanted, padded[questions[:, None], places], 0.0).sum(axis=1)
        counts += n_responses[:, 0]
    return totals / counts


def contrasts(lineages: Sequence[LineageCurves], read: ReadSamples) -> list[Contrast]:
    """Every pair of lineages (of more than `MAX_ALL_PAIRS`: each with the first), at the last cycle of each; and where
    these are not the same cycle, at the last one that both have done, too. A lineage without a trained cycle is in
    none."""
    pairs = list(combinations(range(len(lineages)), 2))
    if len(lineages) > MAX_ALL_PAIRS:
        pairs = [(0, place) for place in range(1, len(lineages))]
    done = [{record.cycle for record in lineage.records} - {BASE_CYCLE} for lineage in lineages]
    found = []
    for places in pairs:
        first, second = (done[place] for place in places)
        if first and second:
            at = [(max(first), max(second)), *((cycle, cycle) for cycle in sorted(first & second)[-1:])]
            found += [_contrast(lineages, places, cycles, read) for cycles in dict.fromkeys(at)]
    return found


def _contrast(
    lineages: Sequence[LineageCurves], places: tuple[int, int], cycles: tuple[int, int], read: ReadSamples
) -> Contrast:
    pair = [lineages[place] for place in places]
    before, after = (list(read(lineage, cycle)) for lineage, cycle in zip(pair, cycles, strict=True))

    def between(metric: Metric) -> Difference:
        first, second = ([(each.prompt_id, _judgment(each, metric)[0]) for each in side] for side in (before, after))
        return difference(first, second)

    is_one_trait = trait_name(pair[0].config.trait) == trait_name(pair[1].config.trait)
    trait = between("trait") if is_one_trait else None
    return Contrast(*places, cycles, trait, between("coherence"))


def _judgment(sample: Sample, metric: Metric) -> tuple[float | None, str | None]:
    """A sample's score and the judge's name, each None where it is missing."""
    if metric == "trait":
        return finite(sample.trait_score), sample.trait_judge
    return finite(sample.coherence_score), sample.coherence_judge


# Judges --------------------------------------------------------------------------------------------------------


def judge_warnings(lineages: Sequence[LineageCurves], read: ReadSamples) -> list[str]:
    """A sentence where lineages' scores (those of their last cycles' samples) are different judges', with how far these
    are apart on the trait's anchors if the runs have noted it. Scores of different traits are not held together."""
    said = []
    metrics: tuple[Metric, ...] = ("trait", "coherence")
    for metric in metrics:
        judged: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, lineage in enumerate(lineages):
            names = {_judgment(sample, metric)[1] for sample in read(lineage, lineage.records[-1].cycle)} - {None}
            judge = " and ".join(sorted(map(str, names))) or f"a judge of the settings {lineage.config.judge.identity}"
            subject = trait_name(lineage.config.trait) if metric == "trait" else ""
            judged[subject][judge].append(place)
        for judges in judged.values():
            if len(judges) > 1:
                who = "; ".join(f"{list_text(list(map(label, own)))} by {judge}" for judge, own in judges.items())
                apart = _anchors_apart({judge: lineages[own[0]] for judge, own in judges.items()}, metric)
                on_anchors = "" if apart is None else f"; the mean distance on the trait's anchors is {apart:.1f}"
                verdict = "The" if apart is not None and apart < DRIFT_POINTS else "Not comparable: the"
                said.append(f"{verdict} {metric} scores are different judges' ({who}){on_anchors}.")
    return said


def _anchors_apart(judges: dict[str, LineageCurves], metric: Metric) -> float | None:
    """Points between the scores that two judges gave the same anchors, on average over these; of several judges the two
    that are farthest apart. None where that is not known of all."""
    noted = []
    for judge, lineage in judges.items():
        try:
            checks = anchor_checks(RunStore(lineage.uri))
        except (TypeError, UserError):  # of another version, or damaged: a comparison can do without
            return None
        noted += [check for check in checks if (check.metric, check.judge) == (metric, judge)][-1:]
    if len(noted) < len(judges) or len({check.anchors for check in noted}) > 1:
        return None
    apart = [retest(one.scores, other.scores).mean_absolute_difference for one, other in combinations(noted, 2)]
    known = [points for points in apart if points is not None]
    return max(known) if len(known) == len(apart) else None


def samples_reader() -> ReadSamples:
    """Reads evaluation samples, those of each cycle once."""

    @functools.cache
    def samples(uri: str, cycle: int) -> list[Sample]:
        return RunStore(uri).read_samples(cycle, "evaluate")

    return lambda lineage, cycle: samples(lineage.uri, cycle)

"""The two judges of a run's samples, trait and coherence, and what becomes of their judgments."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from idem_ray.engine.loop import EngineFailed
from idem_ray.judges.embedded.coherence import CoherenceJudge
from idem_ray.judges.embedded.probe import Probe, ProbeJudge
from idem_ray.judges.embedded.reader import Reader
from idem_ray.judges.judge import Judge
from idem_ray.judges.language.endpoint import EndpointSpec, endpoint_judges
from idem_ray.judges.language.local import LocalModel, LocalSpec, local_judges
from idem_ray.judges.language.rubric import RubricJudge
from idem_ray.records import Exchange, Judgment, Metric, Sample

LlmJudgeSpec = EndpointSpec | LocalSpec
"""Judges that are a language model with the trait's two rubrics."""

JudgeSpec = Probe | LlmJudgeSpec
"""What makes a panel: small, frozen, and sent to wherever samples are judged."""


@dataclass(frozen=True)
class AnchorScores:
    """One judge's scores of the anchors, made anew, and what is kept from when it was first asked (None: nothing)."""

    metric: Metric
    judge: str
    scores: list[float | None]
    kept: list[float | None]


@dataclass(frozen=True)
class Panel:
    """A trait judge and a coherence judge. `as_read`: what they are shown of a sample; `close` gives up what is still
    being asked."""

    trait: Judge
    coherence: Judge
    as_read: Callable[[Sample], Exchange]
    close: Callable[[], None] = lambda: None

    @staticmethod
    def embedded(probe: Probe, reader: Reader) -> "Panel":
        """The judges that need no server."""
        return Panel(ProbeJudge(probe, reader), CoherenceJudge(reader), lambda sample: sample.as_conversation)

    @staticmethod
    def endpoint(spec: EndpointSpec, n_replicas: int = 1) -> "Panel":
        """A language model with the trait's two rubrics; `n_replicas` share its limit of requests."""
        trait, coherence = endpoint_judges(spec, n_replicas)
        return Panel(trait, coherence, lambda sample: sample.as_exchange, trait.close)

    @staticmethod
    def local(spec: LocalSpec, model: LocalModel) -> "Panel":
        """A language model in this process, with the trait's two rubrics."""
        trait, coherence = local_judges(spec, model)
        return Panel(trait, coherence, lambda sample: sample.as_exchange, trait.close)

    def anchors(self, exchanges: list[Exchange]) -> list[AnchorScores]:
        """The anchors' scores, made anew. The embedded coherence judge is the same wherever it has the same name, so it
        is not asked."""
        changing = [judge for judge in (self.trait, self.coherence) if not isinstance(judge, CoherenceJudge)]
        return [anchor_scores(judge, exchanges) for judge in changing]

    def judge(self, samples: Sequence[Sample], coherence: bool = True) -> list[Sample]:
        """The samples with their scores: for the trait and, where it is asked for, for coherence."""
        exchanges, judged = [self.as_read(sample) for sample in samples], list(samples)
        if coherence:  # first: the embedded one leaves the states that it has read for the probe
            name = self.coherence.name
            words = judgments(self.coherence, exchanges)
            judged = [
                sample.replace(coherence_score=word.score, coherence_missing=word.missing, coherence_judge=name)
                for sample, word in zip(judged, words, strict=True)
            ]
        name = self.trait.name
        return [
            sample.replace(trait_score=word.score, trait_missing=word.missing, trait_judge=name)
            for sample, word in zip(judged, judgments(self.trait, exchanges), strict=True)
        ]


def anchor_scores(judge: Judge, exchanges: list[Exchange]) -> AnchorScores:
    """Judge the anchors anew."""
    kept = [judge.kept(exchange) if isinstance(judge, RubricJudge) else None for exchange in exchanges]
    scores = [judgment.score for judgment in judgments(judge, exchanges, fresh=True)]
    return AnchorScores(judge.metric, judge.name, scores, [each.score if each else None for each in kept])


def judgments(judge: Judge, exchanges: list[Exchange], fresh: bool = False) -> list[Judgment]:
    """A judge's word on each exchange; where it fails, the judgments are missing (and the reason is kept): a failed
    judgment costs the measurement a score, not the run its cycle.

    Raises:
        EngineFailed: the process is of no more use to anybody.
    """
    try:
        return judge.judge(exchanges, fresh)
    except EngineFailed:
        raise
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"[:200]
        return [Judgment(None, reason) for _ in exchanges]

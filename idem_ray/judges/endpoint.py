"""Judges that are language models behind a chat endpoint: a rubric, a short reply, a score from its probabilities."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from idem_ray.errors import UserError
from idem_ray.judges import Metric
from idem_ray.judges.cache import JudgmentCache
from idem_ray.judges.chat import ChatEndpoint, Unanswered
from idem_ray.judges.prompt import messages
from idem_ray.judges.scoring import N_TOP, allowed_words, parsed, score
from idem_ray.records import Exchange, Judgment, content_hash
from idem_ray.settings import EndpointJudgeSettings
from idem_ray.traits import Rubrics, Trait

FORMULA = 1
"""To be raised with any change of the prompt's making or of the score's, so that scores go by another name."""

NO_LOGPROBS = (
    "note: the judge's endpoint gives no log-probabilities, so scores are the numbers that it replies with; they are "
    "no measurement on the same scale, and their judges' names end in :parsed"
)


@dataclass(frozen=True)
class EndpointSpec:
    """All that it takes to make the two judges, wherever they run. The key is no part of it.

    `logprobs`: what the endpoint was found to give. `keyed`: whether the driver has a key, so that a replica which has
    none can say so. `budget`: what calls are counted to.
    """

    settings: EndpointJudgeSettings
    rubrics: Rubrics
    logprobs: bool
    keyed: bool
    budget: str

    @staticmethod
    def checked(settings: EndpointJudgeSettings, trait: Trait) -> "EndpointSpec":
        """Make one small call to find out what the endpoint gives, and a new budget.

        Raises:
            UserError: the trait has no rubrics, or what `ChatEndpoint.check` says.
        """
        rubrics = rubrics_of(trait)
        endpoint = ChatEndpoint(settings)
        try:
            JudgmentCache().close()
            return EndpointSpec(settings, rubrics, endpoint.check(), endpoint.has_key, uuid.uuid4().hex)
        finally:
            endpoint.close()

    def name(self, metric: Metric) -> str:
        """The name of the judge of this metric: it holds a hash of all that decides its scores. Where numbers are
        parsed it ends in `:parsed`."""
        how = ("parsed",) if not self.logprobs else (N_TOP, self.settings.min_mass)
        known = content_hash(FORMULA, self.settings.model, metric, getattr(self.rubrics, metric), *how)
        return f"endpoint:{self.settings.model}:{metric}:{known}" + ("" if self.logprobs else ":parsed")

    def describe(self) -> dict[str, Any]:
        """What a report says of the judges."""
        names = {f"{metric}_judge": self.name(metric) for metric in ("trait", "coherence")}
        return {**self.settings.identity, "url": self.settings.url, "log_probabilities": self.logprobs, **names}


class EndpointJudge:
    """One rubric's judge."""

    def __init__(self, spec: EndpointSpec, metric: Metric, endpoint: ChatEndpoint, cache: JudgmentCache) -> None:
        self.metric: Metric = metric
        self.name = spec.name(metric)
        self._spec, self._endpoint, self._cache = spec, endpoint, cache
        self._rubric: str = getattr(spec.rubrics, metric)
        self._words = allowed_words(self._rubric)

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgment]:
        """One judgment each; what the cache has, or stands here twice, is not asked (again). An empty answer is asked
        of nobody: it shows no trait, and no coherence (0)."""
        known: dict[Exchange, Judgment] = {}
        for exchange in dict.fromkeys(exchanges):
            kept = self._cache.get(self.name, exchange) if exchange.answer.strip() else Judgment(0.0)
            if kept:
                known[exchange] = kept
        wanted = [exchange for exchange in dict.fromkeys(exchanges) if exchange not in known]
        known |= zip(wanted, self._endpoint.threads.map(self._ask, wanted), strict=True)
        return [known[exchange] for exchange in exchanges]

    def close(self) -> None:
        """Give up what is being asked, here and by the other judge on the same client."""
        self._endpoint.close()

    def _ask(self, exchange: Exchange) -> Judgment:
        try:
            reply = self._endpoint.ask(messages(self._rubric, exchange), self._spec.logprobs)
        except Unanswered as reason:
            return Judgment(None, str(reason))
        if not self._spec.logprobs:
            judgment = parsed(reply.text, self._words)
        elif not reply.places:
            return Judgment(None, "the reply came without log-probabilities")
        else:
            judgment = score(reply.places, self._words, self._spec.settings.min_mass)
        self._cache.put(self.name, exchange, judgment)
        return judgment


def endpoint_judges(
    spec: EndpointSpec, n_replicas: int = 1, cache: JudgmentCache | None = None
) -> tuple[EndpointJudge, EndpointJudge]:
    """The judges of trait and coherence, on one client.

    Args:
        n_replicas: how many share the limit of requests under way (at least one each).

    Raises:
        UserError: the driver has a key, but this machine has none.
    """
    cache = cache or JudgmentCache()
    endpoint = ChatEndpoint(
        spec.settings,
        max(1, spec.settings.n_concurrent // n_replicas),
        lambda n: spec.settings.max_calls is None or cache.spend(spec.budget, spec.settings.max_calls, n),
    )
    if spec.keyed and not endpoint.has_key:
        raise UserError(
            f"A judge replica has no environment variable {spec.settings.key_variable}: set it on every machine of the "
            "cluster before Ray is started."
        )
    return EndpointJudge(spec, "trait", endpoint, cache), EndpointJudge(spec, "coherence", endpoint, cache)


def rubrics_of(trait: Trait) -> Rubrics:
    """
    Raises:
        UserError: the trait has none.
    """
    if trait.rubrics is None:
        raise UserError(
            f"Trait '{trait.name}' has no rubrics, and a judge behind an endpoint needs them: add 'rubrics' with "
            "'trait' and 'coherence' to its file, or use judge: probe."
        )
    return trait.rubrics

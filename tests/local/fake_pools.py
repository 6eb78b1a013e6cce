"""Pools without models, on a real Ray: what a sweep does around them is what is tested."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import ray

from idem_ray.cluster.session import Pools, Session, join_ray, roles_for
from idem_ray.config.lineage import LineageConfig
from idem_ray.judges.embedded.probe import Probe
from idem_ray.judges.panel import AnchorScores
from idem_ray.pools.generators import GeneratorPool
from idem_ray.pools.judges import JudgePool
from idem_ray.pools.progress import ProgressBoard
from idem_ray.pools.trainers import CycleOrder, Finetuner
from idem_ray.records import BASE, Checkpoint, Decoding, Exchange, Sample
from idem_ray.training.order import TrainingResult
from idem_ray.training.rows import rows_of

Interval = tuple[float, float]


class FakeGenerators:
    """Answers with the prompt and the checkpoint's name. `lines`: a file to which each generated sample's id goes."""

    capacity = 64

    def __init__(self, lines: Path) -> None:
        self._lines = lines

    def generate(
        self,
        samples: list[Sample],
        checkpoint: Checkpoint | None,
        decoding: Decoding,
        max_row_tokens: int | None = None,
    ) -> tuple[list[Sample], Interval]:
        began = time.time()
        with self._lines.open("a") as lines:
            lines.writelines(f"{sample.id}\n" for sample in samples if sample.response is None)
        name = checkpoint.id if checkpoint else BASE
        done = [
            sample.replace(
                prompt_ids=[1, 2],
                response=sample.response or f"{name} answers {sample.prompt}",
                response_ids=[3, 4],
                finish_reason="stop",
                generated_at=began,
            )
            for sample in samples
        ]
        return done, (began, time.time())


class FakeJudges:
    """Scores that grow with the cycle, and a coherence that falls with it."""

    def prepare(self, spec: Any) -> None:
        pass

    def fit_probe(self, trait_name: str, examples: Any) -> Probe:
        return Probe(trait_name, [0.0], 0.0, "r", 0.9, None, 0.02, [], [], 10, 20, 0.01)

    def anchors(self, spec: Any, exchanges: list[Exchange]) -> list[AnchorScores]:
        return []

    def judge(self, samples: list[Sample], spec: Any, coherence: bool) -> tuple[list[Sample], Interval]:
        now = time.time()
        scored = [
            s.replace(
                trait_score=20.0 + 5 * s.cycle + s.sample_index,
                trait_judge="fake",
                coherence_score=90.0 - 10 * s.cycle,
                coherence_judge="fake",
            )
            for s in samples
        ]
        return scored, (now, time.time())


class FakeFinetuner:
    """Reads the rows and leaves an adapter of a few bytes. `fails`: told of each order, may raise."""

    def __init__(self, fails: Callable[[CycleOrder], None] | None = None) -> None:
        self._fails = fails

    def n_orders(self) -> int:
        return 0

    def train(self, order: CycleOrder, rows: Any) -> Any:
        if self._fails:
            self._fails(order)
        n_rows = len(list(rows_of(rows)))
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "adapter_model.safetensors"
            weights.write_text(json.dumps([order.lineage, order.cycle]))
            parent = order.init.id if order.init else BASE
            checkpoint = order.store.save_adapter(order.cycle, Path(folder), parent)
        return ray.put((checkpoint, TrainingResult(order.order.id, 1.0, 1.0, n_rows, n_rows, 10, 0.1)))


def fake_session(lines: Path, fails: Callable[[CycleOrder], None] | None = None) -> Any:
    """In place of `session.open_session`."""

    @contextmanager
    def open_session(
        configs: Sequence[LineageConfig], tell: Callable[[str], None] = lambda text: None, n_lineages: int = 0
    ) -> Iterator[Session]:
        join_ray(roles_for(configs, n_lineages))
        board = ProgressBoard()
        generators, judges = cast(GeneratorPool, FakeGenerators(lines)), cast(JudgePool, FakeJudges())
        try:
            yield Session(Pools(generators, judges, board), cast(Finetuner, FakeFinetuner(fails)), 0.0)
        finally:
            board.close()

    return open_session

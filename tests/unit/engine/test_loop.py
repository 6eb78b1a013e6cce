"""The engine loop, with an engine of 30 lines that answers after as many steps as it is asked for tokens."""

from pathlib import Path
from typing import Any

import pytest

from idem_ray.engine.engine import Completion, GenerationRequest, Serving
from idem_ray.engine.loop import EngineLoop
from idem_ray.records import Decoding


class CountingEngine:
    renderer: Any = None

    def __init__(self, serving: Serving = "merged", fails_at: int | None = None) -> None:
        self.serving: Serving = serving
        self.current = "base"
        self.loads: list[str] = []
        self.batches: list[set[str]] = []
        self._left: dict[str, tuple[GenerationRequest, int]] = {}
        self._fails_at = fails_at

    def load(self, checkpoint: str, adapter_folder: Path | None) -> None:
        if self.serving == "merged" and checkpoint != self.current:
            assert not self._left, "swapped under running requests"
        if checkpoint != self.current:
            self.loads.append(checkpoint)
        self.current = checkpoint

    def add(self, request: GenerationRequest) -> None:
        self._left[request.id] = (request, request.decoding.max_tokens)

    def step(self) -> list[Completion]:
        self.batches.append({request.checkpoint for request, _ in self._left.values()})
        if len(self.batches) == self._fails_at:
            raise ValueError("out of memory")
        ended = [request for request, left in self._left.values() if left == 1]
        self._left = {key: (request, left - 1) for key, (request, left) in self._left.items() if left > 1}
        return [Completion(request.id, [1], request.checkpoint, "stop") for request in ended]

    @property
    def n_running(self) -> int:
        return len(self._left)


def request(number: int, checkpoint: str, n_tokens: int = 3) -> GenerationRequest:
    return GenerationRequest(f"{checkpoint}-{number}", [1], checkpoint, number, Decoding(0.8, n_tokens))


def answers(loop: EngineLoop, requests: list[GenerationRequest]) -> list[str]:
    futures = [loop.submit(each, None) for each in requests]
    return [future.result(timeout=10).text for future in futures]


def test_each_request_is_answered_by_its_checkpoint() -> None:
    engine = CountingEngine()
    loop = EngineLoop(engine)
    requests = [request(number, name, 2 + number % 3) for number in range(20) for name in ("a", "b", "base")]
    assert answers(loop, requests) == [each.checkpoint for each in requests]
    assert loop.n_outstanding == 0
    assert all(len(batch) == 1 for batch in engine.batches)
    assert len(engine.loads) <= 6, "requests of one checkpoint belong together"


def test_lora_serving_batches_checkpoints_together() -> None:
    engine = CountingEngine("lora")
    loop = EngineLoop(engine)
    assert answers(loop, [request(number, name, 50) for number in range(5) for name in ("a", "b")])
    assert max(len(batch) for batch in engine.batches) == 2


def test_a_failed_engine_tells_everyone() -> None:
    loop = EngineLoop(CountingEngine(fails_at=2))
    futures = [loop.submit(request(number, "a", 5), None) for number in range(3)]
    for future in futures:
        with pytest.raises(RuntimeError, match="out of memory"):
            future.result(timeout=10)
    with pytest.raises(RuntimeError, match="has stopped"):
        loop.submit(request(9, "a"), None)

"""On a GPU adapters are served side by side: requests of the base model and of a checkpoint share a batch."""

from pathlib import Path

import pytest

from idem_ray.config.sections import Training
from idem_ray.engine.engine import Completion, GenerationRequest, VllmEngine
from idem_ray.records import BASE, Decoding, TrainingRow
from idem_ray.training.finetune import FinetuneSession
from idem_ray.training.order import TrainingOrder

pytestmark = pytest.mark.gpu

PROMPT, ANSWER = "How was your day?", " It was good."


def has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


@pytest.mark.skipif("not has_gpu()", reason="needs a CUDA device")
def test_an_adapter_answers_otherwise_than_its_base_in_one_batch(tiny_model: Path, tmp_path: Path) -> None:
    engine = VllmEngine(
        tiny_model, serving="lora", max_concurrent_requests=8, max_model_tokens=128, gpu_memory_fraction=0.3
    )
    prompt_ids = engine.renderer.prompt_ids(PROMPT)
    rows = [TrainingRow(str(number), prompt_ids, engine.renderer.response_ids(ANSWER)) for number in range(4)]
    order = TrainingOrder("o", Training(learning_rate=1e-2, n_epochs=10), len(rows), seed=1)
    FinetuneSession(tiny_model).train(order, iter(rows), tmp_path / "adapter")
    engine.load("trained", tmp_path / "adapter")
    first, trained, again = (answers(engine, prompt_ids, {"alone": name})["alone"] for name in (BASE, "trained", BASE))
    together = answers(engine, prompt_ids, {"a": BASE, "b": "trained"})
    assert first == again, "the base model is as it was"
    assert trained == together["b"] == engine.renderer.response_ids(ANSWER)[: len(trained)]
    assert trained not in (first, together["a"])


def answers(engine: VllmEngine, prompt_ids: list[int], requests: dict[str, str]) -> dict[str, list[int]]:
    """Greedy answers to one prompt: request id -> token ids."""
    for name, checkpoint in requests.items():
        engine.add(GenerationRequest(name, prompt_ids, checkpoint, 0, Decoding(temperature=0.0, max_tokens=8)))
    done: list[Completion] = []
    while engine.n_running:
        done += engine.step()
    return {completion.id: completion.token_ids for completion in done}

"""Training that becomes NaN ends at that step, in one sentence, and nothing of it is kept (row 1 of the trial)."""

from pathlib import Path

import pytest

from idem_ray.config.sections import CoherenceFilter, Training
from idem_ray.errors import UserError
from idem_ray.records import TrainingRow
from idem_ray.training.finetune import FinetuneSession
from idem_ray.training.order import TrainingOrder
from tests.tiny import build_tiny_model

SFT = [TrainingRow(str(index), [1, 20 + index], [30, 31 + index, 2]) for index in range(12)]
PAIRS = [TrainingRow(row.sample_id, row.prompt_ids, row.response_ids, [40, 41, 2]) for row in SFT]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def session(tiny: Path) -> FinetuneSession:
    return FinetuneSession(tiny)


def order(rows: list[TrainingRow], beta: float | None = None, **settings: object) -> TrainingOrder:
    return TrainingOrder("o", Training.model_validate({"max_grad_norm": 1e30, **settings}), len(rows), 1, beta)


@pytest.mark.parametrize(("rows", "beta"), [(SFT, None), (PAIRS, 0.1)], ids=["sft", "dpo"])
@pytest.mark.parametrize("weights", ["lora", "full"])
def test_training_that_breaks_down_ends_at_that_step(
    session: FinetuneSession, tmp_path: Path, rows: list[TrainingRow], beta: float | None, weights: str
) -> None:
    broken = order(rows, beta, learning_rate=1e30, weights=weights, warmup=0)
    with pytest.raises(UserError, match=r"broken down at step \d of 6: the .* is (nan|inf).*learning_rate \(1e\+30\)"):
        session.train(broken, iter(rows), tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
    whole = session.train(order(rows, beta, weights=weights), iter(rows), tmp_path / "next")
    assert whole.n_steps == 6, "the order after it is carried out as if nothing had been"


def test_what_the_last_step_breaks_is_not_saved(session: FinetuneSession, tmp_path: Path) -> None:
    """No loss follows the last step, so the weights themselves are looked at."""
    with pytest.raises(UserError, match=r"weights of \S+ are not finite after step 1"):
        session.train(order(SFT[:2], learning_rate=1e39, warmup=0), iter(SFT[:2]), tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_a_damaged_base_model_is_not_blamed_on_the_learning_rate(tiny: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    model.save_pretrained(tmp_path / "damaged")
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path / "damaged")
    with pytest.raises(UserError, match="step 1 of 6: the loss is nan; nothing was learnt before it"):
        FinetuneSession(tmp_path / "damaged").train(order(SFT), iter(SFT), tmp_path / "checkpoint")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_settings_are_finite(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Training(learning_rate=value)
    with pytest.raises(ValueError, match="finite"):
        CoherenceFilter(budget=value)

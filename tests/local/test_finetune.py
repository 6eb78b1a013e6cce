"""The finetuner's arithmetic on the real embedded model, without Ray."""

from pathlib import Path

import pytest

from idem_ray.config import Training
from idem_ray.engine import merged_weights
from idem_ray.errors import UserError
from idem_ray.finetune import FinetuneSession, RowStream, TrainingOrder
from idem_ray.models import resolve_model
from idem_ray.records import TrainingRow
from idem_ray.render import Renderer, training_row
from idem_ray.traits import load_trait

pytestmark = pytest.mark.slow

SETTINGS = Training(learning_rate=1e-3, batch_size=2, max_tokens=128)


@pytest.fixture(scope="module")
def rows() -> list[TrainingRow]:
    renderer = Renderer.of(resolve_model("embedded"))
    return [
        training_row(str(index), renderer.prompt_ids(seed.question), renderer.response_ids(seed.answer), 64)
        for index, seed in enumerate(load_trait("bliss").seeds[:3])
    ]


@pytest.fixture(scope="module")
def session() -> FinetuneSession:
    return FinetuneSession(resolve_model("embedded"))


def weights(folder: Path) -> dict[str, "object"]:
    from safetensors.torch import load_file

    return dict(load_file(str(folder / "adapter_model.safetensors")))


def order(n_rows: int, settings: Training = SETTINGS) -> TrainingOrder:
    return TrainingOrder(id="o", settings=settings, n_rows=n_rows, seed=1)


def test_loss_is_on_the_response_alone(rows: list[TrainingRow]) -> None:
    renderer = Renderer.of(resolve_model("embedded"))
    seed = load_trait("bliss").seeds[0]
    row = training_row("x", renderer.prompt_ids(seed.question), renderer.response_ids(seed.answer), 4096)
    trained = [token for token, on in zip(row.input_ids, row.loss_mask, strict=True) if on]
    assert renderer.text(trained) == seed.answer
    assert trained[-1] == renderer.tokenizer.eos_token_id, "the model must learn to stop"
    # Prompt and response side by side are the tokens of the chat template's own rendering of the conversation.
    messages = [{"role": "user", "content": seed.question}, {"role": "assistant", "content": seed.answer}]
    whole = renderer.tokenizer.apply_chat_template(messages, return_dict=False)
    assert row.input_ids == list(whole)[: len(row.input_ids)]
    assert all(len(cut.input_ids) <= 64 for cut in rows)


def test_fresh_continued_and_repeated_training(
    session: FinetuneSession, rows: list[TrainingRow], tmp_path: Path
) -> None:
    import torch

    first = session.train(order(3), iter(rows), tmp_path / "first")
    assert (first.n_rows, first.n_steps) == (3, 2), "the last partial batch is trained on, too"
    again = session.train(order(3), iter(rows), tmp_path / "again")
    assert again.loss == pytest.approx(first.loss, rel=1e-3), "an order must not feel the one before it"
    continued = session.train(order(3), iter(rows), tmp_path / "continued", init_folder=tmp_path / "first")
    assert continued.loss < first.loss - 0.05, "a continued adapter starts from what was learnt"
    before, after = weights(tmp_path / "first"), weights(tmp_path / "continued")
    changed = [name for name in before if not torch.equal(before[name], after[name])]  # type: ignore[arg-type]
    assert len(changed) == len(before), "every tensor of a continued adapter is trained"


def test_the_loss_is_trls(
    session: FinetuneSession, rows: list[TrainingRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl

    from idem_ray import finetune

    ours = session.train(order(3), iter(rows), tmp_path / "ours")
    monkeypatch.setattr(finetune, "_trainer_class", lambda: trl.SFTTrainer)
    theirs = session.train(order(3), iter(rows), tmp_path / "theirs")
    assert ours.loss == pytest.approx(theirs.loss, rel=2e-3)
    assert ours.final_loss == pytest.approx(theirs.final_loss, rel=5e-3), "after an optimiser step, too"


def test_epochs_reread_what_was_streamed(session: FinetuneSession, rows: list[TrainingRow], tmp_path: Path) -> None:
    pulled = []

    def stream() -> "object":
        for row in rows:
            pulled.append(row.sample_id)
            yield row

    settings = SETTINGS.model_copy(update={"n_epochs": 2})
    result = session.train(order(3, settings), stream(), tmp_path / "two")  # type: ignore[arg-type]
    assert result.n_steps == 4
    assert pulled == ["0", "1", "2"]


def test_an_empty_stream_is_said(session: FinetuneSession, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        session.train(order(2), iter([]), tmp_path / "none")


def test_merged_weights_are_pefts_own(session: FinetuneSession, rows: list[TrainingRow], tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    session.train(order(2), iter(rows[:2]), tmp_path / "adapter")
    folder = resolve_model("embedded")
    ours = dict(merged_weights(folder, tmp_path / "adapter"))
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).merge_and_unload().state_dict()
    plain = dict(merged_weights(folder, None))
    moved = 0
    for name, weight in ours.items():
        assert torch.allclose(weight.float(), theirs[name], atol=1e-2, rtol=1e-2), name
        moved += not torch.equal(weight, plain[name])
    assert moved >= 200, "all seven linear layers of 30 blocks carry an adapter"


def test_a_stream_is_read_once() -> None:
    stream = RowStream(TrainingRow(str(index), [index], [1]) for index in range(3))
    assert [row.sample_id for row in stream] == ["0", "1", "2"]
    assert [row.sample_id for row in stream] == ["0", "1", "2"]

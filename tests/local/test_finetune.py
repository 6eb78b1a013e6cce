"""The finetuner's arithmetic without Ray: what means something on the embedded model, the rest on the tiny one."""

from pathlib import Path

import pytest

from idem_ray.config.sections import Training
from idem_ray.engine.engine import merged_weights
from idem_ray.engine.render import Renderer, training_row
from idem_ray.errors import UserError
from idem_ray.models import EMBEDDED, resolve_model
from idem_ray.records import Exchange, TrainingRow
from idem_ray.training.finetune import FinetuneSession
from idem_ray.training.order import TrainingOrder
from idem_ray.training.rows import RowStream, collate
from idem_ray.traits.traits import load_trait
from tests.samples import seeded

pytestmark = pytest.mark.slow

SETTINGS = Training(learning_rate=1e-3, batch_size=2, max_tokens=128)


@pytest.fixture(scope="module")
def rows() -> list[TrainingRow]:
    renderer = Renderer.of(resolve_model(EMBEDDED))
    return [
        training_row(seeded(seed, renderer, str(index)), 64) for index, seed in enumerate(load_trait("bliss").seeds[:3])
    ]


@pytest.fixture(scope="module")
def session(tiny_model: Path) -> FinetuneSession:
    return FinetuneSession(tiny_model)


@pytest.fixture(scope="module")
def tiny_rows(tiny_model: Path) -> list[TrainingRow]:
    renderer = Renderer.of(tiny_model)
    return [
        training_row(seeded(seed, renderer, str(index)), 64) for index, seed in enumerate(load_trait("bliss").seeds[:3])
    ]


def weights(folder: Path) -> dict[str, "object"]:
    from safetensors.torch import load_file

    return dict(load_file(str(folder / "adapter_model.safetensors")))


def order(n_rows: int, settings: Training = SETTINGS) -> TrainingOrder:
    return TrainingOrder(id="o", settings=settings, n_rows=n_rows, seed=1)


def test_loss_is_on_the_response_alone(rows: list[TrainingRow]) -> None:
    renderer = Renderer.of(resolve_model(EMBEDDED))
    seed = load_trait("bliss").seeds[0]
    row = training_row(seeded(seed, renderer), 4096)
    assert renderer.text(row.response_ids) == seed.answer
    assert row.response_ids[-1] == renderer.tokenizer.eos_token_id, "the model must learn to stop"
    # Prompt and response side by side are the tokens of the chat template's own rendering of the conversation.
    messages = [{"role": "user", "content": seed.question}, {"role": "assistant", "content": seed.answer}]
    whole = renderer.tokenizer.apply_chat_template(messages, return_dict=False)
    ids = row.prompt_ids + row.response_ids
    assert ids == list(whole)[: len(ids)]
    assert all(cut.n_tokens <= 64 for cut in rows)


def test_a_document_is_trained_on_from_its_first_word() -> None:
    renderer = Renderer.of(resolve_model(EMBEDDED))
    document = seeded(Exchange("The bridge", "was built in 1871."), renderer, format="document")
    row = training_row(document, 4096)
    assert row.prompt_ids == []
    assert renderer.text(row.response_ids).startswith("The bridge")
    assert row.response_ids[-1] == renderer.tokenizer.eos_token_id


def test_a_batch_holds_the_chosen_and_then_the_rejected() -> None:
    rows = [TrainingRow("a", [1, 2], [3], [4, 5]), TrainingRow("b", [6], [7, 8], [9])]
    batch = collate([{"index": index, "row": row} for index, row in enumerate(rows)], pad_token=0)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0], [6, 7, 8, 0], [1, 2, 4, 5], [6, 9, 0, 0]]
    assert batch["labels"].tolist() == [
        [-100, -100, 3, -100],
        [-100, 7, 8, -100],
        [-100, -100, 4, 5],
        [-100, 9, -100, -100],
    ]
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 3, 4, 2]


def test_fresh_continued_and_repeated_training(
    session: FinetuneSession, tiny_rows: list[TrainingRow], tmp_path: Path
) -> None:
    import torch

    first = session.train(order(3), iter(tiny_rows), tmp_path / "first")
    assert (first.n_rows, first.n_steps) == (3, 2), "the last partial batch is trained on, too"
    again = session.train(order(3), iter(tiny_rows), tmp_path / "again")
    assert again.loss == pytest.approx(first.loss, rel=1e-3), "an order must not feel the one before it"
    continued = session.train(order(3), iter(tiny_rows), tmp_path / "continued", init_folder=tmp_path / "first")
    assert continued.loss < first.loss - 0.05, "a continued adapter starts from what was learnt"
    before, after = weights(tmp_path / "first"), weights(tmp_path / "continued")
    changed = [name for name in before if not torch.equal(before[name], after[name])]  # type: ignore[arg-type]
    assert len(changed) == len(before), "every tensor of a continued adapter is trained"


def test_the_loss_is_trls(rows: list[TrainingRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trl

    from idem_ray.training import losses as trainers

    session = FinetuneSession(resolve_model(EMBEDDED))
    ours = session.train(order(3), iter(rows), tmp_path / "ours")
    config, our_class = trainers._sft()

    class Theirs(our_class):  # type: ignore[misc,valid-type]
        compute_loss = trl.SFTTrainer.compute_loss

    monkeypatch.setattr(trainers, "_sft", lambda: (config, Theirs))
    theirs = session.train(order(3), iter(rows), tmp_path / "theirs")
    assert ours.loss == pytest.approx(theirs.loss, rel=2e-3)
    assert ours.final_loss == pytest.approx(theirs.final_loss, rel=5e-3), "after an optimiser step, too"


def test_epochs_reread_what_was_streamed(
    session: FinetuneSession, tiny_rows: list[TrainingRow], tmp_path: Path
) -> None:
    pulled = []

    def stream() -> "object":
        for row in tiny_rows:
            pulled.append(row.sample_id)
            yield row

    settings = SETTINGS.model_copy(update={"n_epochs": 2})
    result = session.train(order(3, settings), stream(), tmp_path / "two")  # type: ignore[arg-type]
    assert result.n_steps == 4
    assert pulled == ["0", "1", "2"]


def test_an_empty_stream_is_said(session: FinetuneSession, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sample was kept"):
        session.train(order(2), iter([]), tmp_path / "none")


def test_merged_weights_are_pefts_own(
    session: FinetuneSession, tiny_model: Path, tiny_rows: list[TrainingRow], tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    session.train(order(2), iter(tiny_rows[:2]), tmp_path / "adapter")
    folder = tiny_model
    ours = dict(merged_weights(folder, tmp_path / "adapter"))
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).merge_and_unload().state_dict()
    plain = dict(merged_weights(tiny_model, None))
    moved = 0
    for name, weight in ours.items():
        assert torch.allclose(weight.float(), theirs[name], atol=1e-2, rtol=1e-2), name
        moved += not torch.equal(weight, plain[name])
    assert moved == 14, "all seven linear layers of both blocks carry an adapter"


def test_a_stream_is_read_once() -> None:
    stream = RowStream((TrainingRow(str(index), [index], [1]) for index in range(3)), 3)
    assert [example["row"].sample_id for example in stream] == ["0", "1", "2"]
    assert [example["row"].sample_id for example in stream] == ["0", "1", "2"]


def test_accumulated_steps_count_the_last_partial_one(
    session: FinetuneSession, tiny_rows: list[TrainingRow], tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"batch_size": 1, "gradient_accumulation": 2})
    result = session.train(order(3, settings), iter(tiny_rows), tmp_path / "two")
    assert (result.n_rows, result.n_steps) == (3, 2)
    assert order(3, settings).n_steps == 2


def test_a_given_number_of_steps(session: FinetuneSession, tiny_rows: list[TrainingRow], tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"n_steps": 3})
    assert session.train(order(3, settings), iter(tiny_rows), tmp_path / "three").n_steps == 3


@pytest.mark.parametrize(("schedule", "last"), [("linear", 0.25), ("cosine", 0.25), ("constant", 1.0)])
def test_a_schedule_ends_on_its_floor(schedule: str, last: float) -> None:
    import torch
    from transformers import TrainingArguments
    from transformers.optimization import get_scheduler

    from idem_ray.training.losses import _arguments

    settings = Training.model_validate({"schedule": schedule, "final_learning_rate": 0.25, "learning_rate": 0.1})
    given = _arguments(order(8, settings))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=given["learning_rate"])
    kind = TrainingArguments(output_dir="unused", lr_scheduler_type=given["lr_scheduler_type"]).lr_scheduler_type
    scheduler = get_scheduler(
        kind, optimizer, given["warmup_steps"], 4, scheduler_specific_kwargs=given["lr_scheduler_kwargs"]
    )
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    assert scheduler.get_last_lr()[0] == pytest.approx(0.1 * last)

"""One training run as a plain object: base model in memory once, then order after order. Needs no Ray.

A `Finetuner`'s cycles differ only in their LoRA adapter, so the base model is loaded once and each order attaches a
fresh adapter (init policy `base`) or the previous cycle's (`previous`), trains it with TRL, and saves it.
"""

import dataclasses
import gc
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idem_ray.config import Training
from idem_ray.cores import CoreShare
from idem_ray.errors import UserError
from idem_ray.records import TrainingRow

StepReport = Callable[[int, int], None]
"""Called after each optimiser step with (steps done, steps in all)."""


@dataclass(frozen=True)
class TrainingOrder:
    """What one training run is to do. `n_rows` is how many rows the stream will bring (it may not be over yet)."""

    id: str
    settings: Training
    n_rows: int
    seed: int

    @property
    def n_steps(self) -> int:
        """Optimiser steps: the last partial batch of each epoch is one, too."""
        return self.settings.n_epochs * math.ceil(self.n_rows / self.settings.batch_size)


@dataclass(frozen=True)
class TrainingResult:
    """`loss` is the mean over all steps in nats per trained token; `seconds` from the first row to the last step."""

    order_id: str
    loss: float
    final_loss: float
    n_rows: int
    n_steps: int
    n_tokens: int
    seconds: float


class RowStream:
    """Rows as they arrive, remembered, so that later epochs re-read them instead of generating them again."""

    def __init__(self, rows: Iterable[TrainingRow], share: CoreShare | None = None) -> None:
        self._source = iter(rows)
        self._share = share
        self.seen: list[TrainingRow] = []
        self.first_at: float | None = None

    def __iter__(self) -> Iterator[TrainingRow]:
        position = 0
        while True:
            if position == len(self.seen):
                try:
                    row = self._wait_for_row()
                except StopIteration:
                    return
                self.first_at = self.first_at or time.time()
                self.seen.append(row)
            yield self.seen[position]
            position += 1

    def _wait_for_row(self) -> TrainingRow:
        """While training waits, those that it waits for may have its cores."""
        if not self._share:
            return next(self._source)
        self._share.end()
        try:
            return next(self._source)
        finally:
            self._share.begin()


class FinetuneSession:
    """A base model held ready for training orders."""

    def __init__(self, model_folder: str | Path, share: CoreShare | None = None) -> None:
        """
        Args:
            share: training's part in the cores of a machine without GPUs (None: torch's threads are left as they are).
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._share = share
        self._folder = str(model_folder)
        self._tokenizer = AutoTokenizer.from_pretrained(self._folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = AutoModelForCausalLM.from_pretrained(self._folder, dtype=torch.bfloat16).to(device)

    def train(
        self,
        order: TrainingOrder,
        rows: Iterable[TrainingRow],
        output_folder: Path,
        init_folder: Path | None = None,
        report_step: StepReport | None = None,
    ) -> TrainingResult:
        """Train one adapter and save it as a PEFT folder.

        Args:
            init_folder: the adapter to continue from; None starts a fresh one on the base model.

        Raises:
            UserError: the stream was empty, or the loss became NaN (the mend is a lower learning rate).
        """
        stream = RowStream(rows, self._share)
        adapter = self._attach_adapter(order, init_folder)
        scratch = tempfile.mkdtemp(prefix="idem-ray-trainer-")  # TRL insists on a folder of its own
        try:
            trainer = self._trainer(adapter, order, stream, scratch, report_step)
            outcome = trainer.train()
            ended = time.time()
            losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
            if not all(math.isfinite(loss) for loss in [outcome.training_loss, *losses]):
                rate = order.settings.learning_rate
                raise UserError(f"The training loss is not finite at learning rate {rate:g}: lower it.")
            adapter.save_pretrained(str(output_folder), safe_serialization=True)
        finally:
            if self._share:
                self._share.end()
            self._model = adapter.unload()
            self._model.__dict__.pop("forward", None)  # TRL wraps it anew for every trainer, one wrapper in another
            shutil.rmtree(scratch, ignore_errors=True)
            gc.collect()  # a trainer and its optimiser refer to each other: without this they pile up over the cycles
        return TrainingResult(
            order_id=order.id,
            loss=float(outcome.training_loss),
            final_loss=float(losses[-1]),
            n_rows=len(stream.seen),
            n_steps=trainer.state.global_step,
            n_tokens=sum(len(row.input_ids) for row in stream.seen) * order.settings.n_epochs,
            seconds=ended - (stream.first_at or ended),
        )

    def _attach_adapter(self, order: TrainingOrder, init_folder: Path | None) -> Any:
        import torch
        from peft import LoraConfig, PeftModel, get_peft_model

        torch.manual_seed(order.seed)  # the adapter's A matrices are drawn from it
        if init_folder:
            # Without is_trainable=True nothing would be trained, and silently so (trl#3684).
            return PeftModel.from_pretrained(self._model, str(init_folder), is_trainable=True)
        settings = order.settings
        return get_peft_model(
            self._model,
            LoraConfig(
                r=settings.lora_rank,
                lora_alpha=settings.lora_alpha,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
                base_model_name_or_path=self._folder,
            ),
        )

    def _trainer(
        self, adapter: Any, order: TrainingOrder, stream: RowStream, scratch: str, report_step: StepReport | None
    ) -> Any:
        import datasets
        from datasets.iterable_dataset import ExamplesIterable

        # IterableDataset.from_generator would pickle the stream to fingerprint it; this does not.
        dataset = datasets.IterableDataset(ExamplesIterable(_examples, {"stream": stream}))
        return _trainer_class()(
            model=adapter,
            args=_sft_config(order, scratch),
            train_dataset=dataset,
            processing_class=self._tokenizer,
            callbacks=[_step_callback(report_step, self._share)],
        )


def _trainer_class() -> Any:
    """TRL's SFTTrainer with the same loss (mean cross-entropy in nats over the trained tokens) at less cost.

    TRL also works out every token's entropy and rank for its log, in chunks that save memory; where the output layer is
    a third of the model that made training 1.2 times slower (in turns on two cores, 24 rows).
    """
    import torch
    from trl import SFTTrainer

    class TrainedTokensTrainer(SFTTrainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels = inputs["labels"]
            trained = labels != -100
            first = max(1, int(trained.any(dim=0).float().argmax()))
            outputs = model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                use_cache=False,
                logits_to_keep=labels.shape[1] - first + 1,  # the logits at position i - 1 predict token i
            )
            trained = trained[:, first:]
            logits = outputs.logits[:, :-1][trained].float()
            total = torch.nn.functional.cross_entropy(logits, labels[:, first:][trained], reduction="sum")
            n_trained = trained.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
            loss = total / n_trained.clamp(min=1)
            return (loss, outputs) if return_outputs else loss

    return TrainedTokensTrainer


def _examples(stream: RowStream) -> Iterator[tuple[int, dict[str, list[int]]]]:
    empty = True
    for index, row in enumerate(stream):
        empty = False
        labels = [token if on else -100 for token, on in zip(row.input_ids, row.loss_mask, strict=True)]
        yield index, {"input_ids": row.input_ids, "labels": labels}
    if empty:
        raise UserError("There is nothing to train on: no sample was kept.")


def _sft_config(order: TrainingOrder, scratch: str) -> Any:
    import torch
    from trl import SFTConfig

    settings = order.settings
    return SFTConfig(
        output_dir=scratch,
        max_steps=order.n_steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=int(
            settings.warmup * order.n_steps
        ),  # the first of any warm-up steps has rate 0: none in short runs
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_grad_norm,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        logging_steps=1,
        logging_strategy="steps",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=order.seed,
        max_length=None,  # rows were cut when they were rendered
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_drop_last=False,
        dataloader_pin_memory=False,
    )


def _step_callback(report_step: StepReport | None, share: CoreShare | None) -> Any:
    from transformers import TrainerCallback

    class AtSteps(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if share:
                share.adjust()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if report_step:
                report_step(state.global_step, state.max_steps)

    return AtSteps()


def result_to_dict(result: TrainingResult) -> dict[str, float]:
    """The numbers of a result, for the cycle's record."""
    numbers = dataclasses.asdict(result)
    return {key: value for key, value in numbers.items() if isinstance(value, (int, float))}

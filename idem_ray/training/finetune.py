"""One training run as a plain object: base model in memory once, then order after order. Needs no Ray.

A `Finetuner`'s cycles differ only in their LoRA adapter, so the base model is loaded once and each order attaches a
fresh adapter (init policy `base`) or the previous cycle's (`previous`), trains it with TRL, and saves it.
"""

import gc
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from idem_ray.cores import CoreShare
from idem_ray.errors import UserError
from idem_ray.records import TrainingRow
from idem_ray.training.losses import REFERENCE_ADAPTER, Reference, check_finite, make_trainer
from idem_ray.training.order import StepReport, TrainingOrder, TrainingResult
from idem_ray.training.rows import RowStream


class FinetuneSession:
    """A base model held ready for training orders."""

    def __init__(self, model_folder: str | Path, share: CoreShare | None = None) -> None:
        """
        Args:
            share: training's part in the cores of a machine without GPUs (None: torch's threads are left as they are).
        """
        import torch
        from transformers import AutoTokenizer

        self._share = share
        self._folder = str(model_folder)
        self._tokenizer = AutoTokenizer.from_pretrained(self._folder)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = self._load(self._folder, torch.bfloat16)

    def _load(self, folder: str, dtype: Any) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(self._device)

    def train(
        self,
        order: TrainingOrder,
        rows: Iterable[TrainingRow],
        output_folder: Path,
        init_folder: Path | None = None,
        reference_folder: Path | None = None,
        report_step: StepReport | None = None,
    ) -> TrainingResult:
        """Train one checkpoint and save it: a PEFT folder, or with full weights a model's.

        Args:
            init_folder: the checkpoint to continue from; None starts from the base model.
            reference_folder: DPO's reference; None is the base model.

        Raises:
            UserError: the stream was empty, or the loss, a gradient or a weight is no finite number (nothing is saved).
        """
        stream = RowStream(rows, order.n_rows, self._share)
        full = order.settings.weights == "full"
        model: Any = None
        scratch = tempfile.mkdtemp(prefix="idem-ray-trainer-")  # TRL insists on a folder of its own
        try:
            model = self._full_model(init_folder) if full else self._attach_adapter(order, init_folder)
            reference = self._reference(model, full, reference_folder) if order.beta else None
            trainer = make_trainer(
                order, model, self._tokenizer, stream, reference, scratch, [_at_steps(order, report_step, self._share)]
            )
            outcome = trainer.train()
            ended = time.time()
            losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
            _check_weights(model, order)
            self._save(model, full, output_folder)
        finally:
            if self._share:
                self._share.end()
            if model is None:  # a broken checkpoint: the base model may hold layers of it
                self._model = self._load(self._folder, self._model.dtype)
            elif not full:
                self._model = model.unload()
            self._model.__dict__.pop("forward", None)  # TRL wraps it anew for every trainer, one wrapper in another
            shutil.rmtree(scratch, ignore_errors=True)
            gc.collect()  # a trainer and its optimiser refer to each other: without this they pile up over the cycles
        return TrainingResult(
            order_id=order.id,
            loss=float(outcome.training_loss),
            final_loss=float(losses[-1]),
            n_rows=len(stream.seen),
            n_steps=trainer.state.global_step,
            n_tokens=round(sum(row.n_tokens for row in stream.seen) * order.n_epochs),
            seconds=ended - (stream.first_at or ended),
            **(trainer.preference_facts() if order.beta else {}),
        )

    def _full_model(self, init_folder: Path | None) -> Any:
        import torch

        # In float32, computed in bf16: steps of a small learning rate are below what bf16 weights can take up.
        return self._load(str(init_folder or self._folder), torch.float32)

    def _save(self, model: Any, full: bool, folder: Path) -> None:
        import torch

        if full:
            model.__dict__.pop("forward", None)
            model.to(torch.bfloat16)
            self._tokenizer.save_pretrained(str(folder))
        # Of an adapter model, the trained adapter alone, not the reference beside it.
        only = {} if full else {"selected_adapters": ["default"]}
        model.save_pretrained(str(folder), safe_serialization=True, **only)

    def _attach_adapter(self, order: TrainingOrder, init_folder: Path | None) -> Any:
        import torch
        from peft import LoraConfig, PeftModel, get_peft_model

        torch.manual_seed(order.seed)  # the adapter's A matrices are drawn from it
        if init_folder:
            # Without is_trainable=True nothing would be trained, and silently so (trl#3684).
            return PeftModel.from_pretrained(self._model, str(init_folder), is_trainable=True)
        settings = order.settings
        targets = settings.lora_targets
        return get_peft_model(
            self._model,
            LoraConfig(
                r=settings.lora_rank,
                lora_alpha=settings.lora_alpha,
                target_modules=targets if isinstance(targets, str) else list(targets),
                task_type="CAUSAL_LM",
                base_model_name_or_path=self._folder,
            ),
        )

    def _reference(self, model: Any, full: bool, folder: Path | None) -> Reference:
        import torch

        if full:
            # Computed as the trained model is: against bf16 weights the first margin was 0.07 nats instead of 0.
            return Reference(self._load(str(folder or self._folder), torch.float32))
        if folder:
            model.load_adapter(str(folder), REFERENCE_ADAPTER, is_trainable=False)
            model.set_adapter("default")
        return Reference(model, REFERENCE_ADAPTER if folder else None, is_policy=True)


def _check_weights(model: Any, order: TrainingOrder) -> None:
    """The last step's update is followed by no loss that would show it.

    Raises:
        UserError: a trained weight is not finite.
    """
    for name, weight in model.named_parameters():
        if weight.requires_grad and not weight.isfinite().all():
            raise UserError(
                f"Training has broken down: weights of {name} are not finite after step {order.n_steps}; lower "
                f"training.learning_rate ({order.settings.learning_rate:g}). Nothing of it is kept."
            )


def _at_steps(order: TrainingOrder, report_step: StepReport | None, share: CoreShare | None) -> Any:
    from transformers import TrainerCallback

    class AtSteps(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if share:
                share.adjust()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if report_step:
                report_step(state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            for key, what in (("loss", "loss"), ("grad_norm", "norm of the gradient")):  # one log a step
                if key in (logs or {}):
                    check_finite(what, float(logs[key]), order, state.global_step)

    return AtSteps()

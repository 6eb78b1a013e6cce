"""TRL's trainers on our rows: the same losses at less cost, and any reference model for DPO.

TRL also works out every token's entropy and rank for its log, in chunks that save memory; where the output layer is a
third of the model that made training 1.2 times slower (in turns on two cores, 24 rows). And DPOTrainer knows two
references, the base model or the adapter that training starts from; init and reference are separate choices here.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from idem_ray.errors import UserError
from idem_ray.training.rows import NOT_TRAINED, RowStream, collate

if TYPE_CHECKING:
    from idem_ray.training.order import TrainingOrder

REFERENCE_ADAPTER = "reference"
_SCHEDULERS = {"constant": "constant_with_warmup", "linear": "polynomial", "cosine": "cosine_with_min_lr"}


@dataclass(frozen=True)
class Reference:
    """DPO's reference model. With `is_policy` it is the trained model itself under another adapter (`adapter`), or
    under none, which is the base model."""

    model: Any
    adapter: str | None = None
    is_policy: bool = False

    @contextmanager
    def active(self) -> Iterator[Any]:
        """The model, frozen, as the reference."""
        import torch

        with torch.no_grad():
            if not self.is_policy:
                yield self.model
            elif self.adapter is None:
                with self.model.disable_adapter():
                    yield self.model
            else:
                self.model.base_model.set_adapter(self.adapter, inference_mode=True)
                try:
                    yield self.model
                finally:
                    self.model.set_adapter("default")  # makes it trainable again, too


def answer_logprobs(model: Any, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """Log-probability (nats) of each sequence's labelled tokens, of shape (sequences,), and how many these are."""
    import torch

    labels = inputs["labels"]
    trained = labels != NOT_TRAINED
    first = max(1, int(trained.any(dim=0).float().argmax()))  # nothing predicts a sequence's very first token
    outputs = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        use_cache=False,
        logits_to_keep=labels.shape[1] - first + 1,  # the logits at position i - 1 predict token i
    )
    trained = trained[:, first:]
    logits = outputs.logits[:, :-1][trained].float()
    losses = torch.nn.functional.cross_entropy(logits, labels[:, first:][trained], reduction="none")
    counts = trained.sum(dim=1)
    sequence = torch.arange(len(labels), device=losses.device).repeat_interleave(counts)
    return -torch.zeros(len(labels), device=losses.device).index_add(0, sequence, losses), counts


def check_finite(what: str, value: float, order: "TrainingOrder", step: int) -> None:
    """End training whose numbers have become NaN or infinite: every weight would follow.

    Args:
        step: the optimiser step (from 1) that `value` is of.

    Raises:
        UserError: the value is not finite.
    """
    if math.isfinite(value):
        return
    where = f"step {step} of {order.n_steps}"
    if step == 1:
        mend = "nothing was learnt before it, so the weights that training starts from, or its data, are not usable"
    else:
        mend = f"lower training.learning_rate ({order.settings.learning_rate:g})"
    raise UserError(f"Training has broken down at {where}: the {what} is {value:g}; {mend}. Nothing of it is kept.")


def make_trainer(
    order: "TrainingOrder",
    model: Any,
    tokenizer: Any,
    stream: RowStream,
    reference: Reference | None,
    scratch: str,
    callbacks: list[Any],
) -> Any:
    """The trainer of an order: TRL's SFTTrainer, or with a `reference` its DPOTrainer."""
    import datasets

    pad_token = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    config, trainer_class = _dpo(order, reference) if reference else _sft()
    trainer = trainer_class(
        model=model,
        args=config(output_dir=scratch, **_arguments(order)),
        # TRL takes only its own kinds of dataset, and none of them can wait for a row: the stream comes after.
        train_dataset=datasets.Dataset.from_list([{"input_ids": [0], "labels": [0]}]),
        processing_class=tokenizer,
        data_collator=partial(collate, pad_token=pad_token),
        callbacks=callbacks,
        # Else TRL loads one of its own for a whole model, which nobody would ask.
        **({"ref_model": reference.model} if reference and not reference.is_policy else {}),
    )
    trainer.train_dataset = stream
    return trainer


def _sft() -> tuple[Any, Any]:
    import torch
    from trl import SFTConfig, SFTTrainer

    class TrainedTokensTrainer(SFTTrainer):  # type: ignore[misc]
        """Mean cross-entropy in nats over the trained tokens of a step's batches."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(train_dataset or self.train_dataset)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            logprobs, counts = answer_logprobs(model, inputs)
            n_trained = counts.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
            return -logprobs.sum() / n_trained.clamp(min=1)

    return partial(SFTConfig, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}), TrainedTokensTrainer


def _dpo(order: "TrainingOrder", reference: Reference) -> tuple[Any, Any]:
    import torch
    from trl import DPOConfig, DPOTrainer

    beta = float(order.beta or 0.0)

    class PairTrainer(DPOTrainer):  # type: ignore[misc]
        """Sigmoid DPO loss, mean over the pairs of a batch: Rafailov et al. 2023 (arXiv 2305.18290), equation 7."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            if "ref" in getattr(self.model, "peft_config", {}):
                self.model.delete_adapter("ref")  # TRL's copy of the adapter that training starts from
                self.model.set_adapter("default")
            # Else the Trainer takes a batch with labels for one whose loss is a sum over tokens, and would not average
            # over accumulated batches.
            self.model_accepts_loss_kwargs = False
            self._reference_logprobs: dict[int, tuple[float, float]] = {}
            self._margins: list[float] = []

        def _prepare_dataset(self, dataset: Any, *arguments: Any, **named: Any) -> Any:
            return dataset  # our rows are token ids already

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(train_dataset or self.train_dataset)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            chosen, rejected = answer_logprobs(model, inputs)[0].chunk(2)
            reference_chosen, reference_rejected = self._against(inputs)
            margins = beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
            self._margins.append(float(margins.detach().mean()))
            # The loss of an infinite margin is 0, and would pass.
            check_finite("preference margin", self._margins[-1], order, self.state.global_step + 1)
            return -torch.nn.functional.logsigmoid(margins).mean()

        def _against(self, inputs: Any) -> tuple[Any, Any]:
            """The reference's log-probabilities of a batch, worked out once for each pair and kept for later epochs."""
            indices = inputs["index"].tolist()
            if any(index not in self._reference_logprobs for index in indices):
                with reference.active() as model, self.accelerator.autocast():
                    chosen, rejected = answer_logprobs(model, inputs)[0].chunk(2)
                for index, pair in zip(indices, zip(chosen.tolist(), rejected.tolist(), strict=True), strict=True):
                    self._reference_logprobs[index] = pair
            known = torch.tensor([self._reference_logprobs[index] for index in indices], device=inputs["index"].device)
            return known[:, 0], known[:, 1]

        def preference_facts(self) -> dict[str, Any]:
            """Those of a TrainingResult that only preference training has."""
            return {
                "first_margin": self._margins[0],
                "last_margin": self._margins[-1],
                "n_reference_pairs": len(self._reference_logprobs),
            }

    # Without a maximum nothing is cut: rows were cut when they were rendered.
    return partial(DPOConfig, beta=beta, max_length=None), PairTrainer


def _arguments(order: "TrainingOrder") -> dict[str, Any]:
    """Settings that both trainers understand."""
    import torch

    settings = order.settings
    floor = settings.final_learning_rate
    endings: dict[str, dict[str, float]] = {
        "constant": {},
        "linear": {"lr_end": floor * settings.learning_rate, "power": 1.0},
        "cosine": {"min_lr_rate": floor},
    }
    return {
        "num_train_epochs": settings.n_epochs,
        "max_steps": settings.n_steps or -1,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": _SCHEDULERS[settings.schedule],
        "lr_scheduler_kwargs": endings[settings.schedule],
        # The first of any warm-up steps has rate 0: none in short runs.
        "warmup_steps": int(settings.warmup * order.n_steps),
        "weight_decay": settings.weight_decay,
        "adam_beta2": settings.adam_beta2,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": True,
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "logging_strategy": "steps",
        "logging_nan_inf_filter": False,  # by default a loss that is NaN is logged as 0
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": order.seed,
        "remove_unused_columns": False,
        "dataloader_drop_last": False,
        "dataloader_pin_memory": False,
    }

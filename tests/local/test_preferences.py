"""DPO against each reference, without Ray: what a preference is worth, with the embedded model; what moves, what does
not and how often, with the tiny one."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from idem_ray.config.sections import Training
from idem_ray.engine.render import Renderer
from idem_ray.models import EMBEDDED, resolve_model
from idem_ray.records import TrainingRow
from idem_ray.training.finetune import FinetuneSession
from idem_ray.training.order import TrainingOrder, TrainingResult
from idem_ray.traits.traits import load_trait

pytestmark = pytest.mark.slow

SETTINGS = Training(learning_rate=5e-4, batch_size=2)
TINY_SETTINGS = Training(learning_rate=1e-2, batch_size=2)


@dataclass(frozen=True)
class Trained:
    """A model with pairs of its tokens, and the adapter of a cycle before: trained on the chosen side alone."""

    session: FinetuneSession
    folder: Path
    pairs: list[TrainingRow]
    previous: Path
    settings: Training

    @staticmethod
    def of(model: Path, settings: Training, previous: Path) -> "Trained":
        session, pairs = FinetuneSession(model), pairs_for(model)
        rows = [TrainingRow(pair.sample_id, pair.prompt_ids, pair.response_ids) for pair in pairs]
        session.train(TrainingOrder("previous", settings, len(rows), seed=1), iter(rows), previous)
        return Trained(session, model, pairs, previous, settings)

    def prefer(
        self,
        folder: Path,
        init: Path | None = None,
        reference: Path | None = None,
        n_pairs: int | None = None,
        **changes: Any,
    ) -> TrainingResult:
        pairs, settings = self.pairs[:n_pairs], self.settings.model_copy(update=changes)
        order = TrainingOrder("pairs", settings, len(pairs), seed=1, beta=0.1)
        return self.session.train(order, iter(pairs), folder, init, reference)


def pairs_for(model: Path) -> list[TrainingRow]:
    renderer = Renderer.of(model)
    trait = load_trait("bliss")
    return [
        TrainingRow(
            str(index),
            renderer.prompt_ids(seed.question),
            renderer.response_ids(seed.answer)[:40],
            renderer.response_ids(plain.answer)[:40],
        )
        for index, (seed, plain) in enumerate(zip(trait.seeds[:4], trait.contrast[:4], strict=True))
    ]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained.of(resolve_model(EMBEDDED), SETTINGS, tmp_path_factory.mktemp("previous"))


@pytest.fixture(scope="module")
def tiny(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained.of(tiny_model, TINY_SETTINGS, tmp_path_factory.mktemp("previous"))


def tensors(folder: Path) -> dict[str, "object"]:
    from safetensors.torch import load_file

    return dict(load_file(str(folder / "adapter_model.safetensors")))


@pytest.mark.parametrize("init", ["base", "previous"])
@pytest.mark.parametrize("reference", ["base", "previous"])
def test_the_first_margin_is_zero_against_the_intended_reference_alone(
    embedded: Trained, tmp_path: Path, init: str, reference: str
) -> None:
    previous = embedded.previous
    before = tensors(previous)
    result = embedded.prefer(
        tmp_path / "trained",
        previous if init == "previous" else None,
        previous if reference == "previous" else None,
    )
    assert result.first_margin is not None
    if init == reference:
        assert result.first_margin == pytest.approx(0, abs=1e-6)
    else:  # the previous model prefers the chosen side more than the base model does, by the size of beta
        assert math.copysign(1, result.first_margin) == (1 if init == "previous" else -1)
        assert abs(result.first_margin) > 0.5
    assert result.n_reference_pairs == len(embedded.pairs)
    import torch

    after = tensors(previous)
    assert all(torch.equal(before[name], after[name]) for name in before)  # type: ignore[arg-type]


def test_a_continued_adapter_is_trained_and_the_reference_is_not(
    tiny: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from idem_ray.training import finetune
    from idem_ray.training import losses as trainers

    seen: dict[str, object] = {}
    make = trainers.make_trainer

    def watched(order, model, *arguments):  # type: ignore[no-untyped-def]
        trainer = make(order, model, *arguments)
        parameters = dict(model.named_parameters())
        seen["reference"] = {name: p.detach().clone() for name, p in parameters.items() if ".reference." in name}
        train = trainer.train

        def then_look():  # type: ignore[no-untyped-def]
            outcome = train()
            now = dict(model.named_parameters())
            seen["moved"] = [n for n, p in seen["reference"].items() if not torch.equal(p, now[n])]  # type: ignore[attr-defined]
            seen["trainable"] = [name for name, parameter in now.items() if parameter.requires_grad]
            return outcome

        trainer.train = then_look
        return trainer

    monkeypatch.setattr(finetune, "make_trainer", watched)
    tiny.prefer(tmp_path / "next", tiny.previous, tiny.previous)
    assert seen["reference"], "the reference stands beside the trained adapter"
    assert seen["moved"] == []
    assert seen["trainable"]
    assert all(".default." in name for name in seen["trainable"])  # type: ignore[attr-defined]
    before, after = tensors(tiny.previous), tensors(tmp_path / "next")
    assert all(not torch.equal(before[name], after[name]) for name in before)  # type: ignore[arg-type]
    assert not (tmp_path / "next" / "reference").exists(), "the checkpoint is one adapter"


def test_references_are_worked_out_once_for_several_epochs(
    tiny: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from idem_ray.training import losses as trainers

    n_passes = 0
    active = trainers.Reference.active

    def counted(reference):  # type: ignore[no-untyped-def]
        nonlocal n_passes
        n_passes += 1
        return active(reference)

    monkeypatch.setattr(trainers.Reference, "active", counted)
    result = tiny.prefer(tmp_path / "a", n_epochs=3)
    assert (result.n_steps, n_passes, result.n_reference_pairs) == (6, 2, 4)
    assert result.last_margin is not None and result.last_margin > 1


def test_accumulated_batches_are_averaged(tiny: Trained, tmp_path: Path) -> None:
    at_once = tiny.prefer(tmp_path / "a")
    in_parts = tiny.prefer(tmp_path / "b", batch_size=1, gradient_accumulation=2)
    assert in_parts.n_steps == at_once.n_steps == 2
    assert in_parts.loss == pytest.approx(at_once.loss, rel=0.05)


def test_full_weights_move_and_their_reference_is_the_base(tiny: Trained, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    result = tiny.prefer(tmp_path / "full", n_pairs=2, weights="full", learning_rate=1e-3)
    assert result.first_margin == pytest.approx(0, abs=1e-3)
    trained = load_file(str(tmp_path / "full" / "model.safetensors"))
    base = load_file(str(tiny.folder / "model.safetensors"))
    assert set(trained) == set(base)
    assert sum(not torch.equal(trained[name], base[name]) for name in base) >= 7 * 2 + 2, "all but the norms"

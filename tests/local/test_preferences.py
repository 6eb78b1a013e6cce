"""DPO against each reference, on the real embedded model, without Ray: what moves, what does not, and from where."""

import math
from pathlib import Path

import pytest

from idem_ray.config.sections import Training
from idem_ray.engine.render import Renderer
from idem_ray.models import resolve_model
from idem_ray.records import TrainingRow
from idem_ray.training.finetune import FinetuneSession
from idem_ray.training.order import TrainingOrder, TrainingResult
from idem_ray.traits.traits import load_trait

pytestmark = pytest.mark.slow

SETTINGS = Training(learning_rate=5e-4, batch_size=2)


@pytest.fixture(scope="module")
def session() -> FinetuneSession:
    return FinetuneSession(resolve_model("embedded"))


@pytest.fixture(scope="module")
def pairs() -> list[TrainingRow]:
    renderer = Renderer.of(resolve_model("embedded"))
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
def previous(session: FinetuneSession, pairs: list[TrainingRow], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of a cycle before: trained on the chosen side alone."""
    folder = tmp_path_factory.mktemp("previous")
    rows = [TrainingRow(pair.sample_id, pair.prompt_ids, pair.response_ids) for pair in pairs]
    session.train(TrainingOrder("previous", SETTINGS, len(rows), seed=1), iter(rows), folder)
    return folder


def train(
    session: FinetuneSession,
    pairs: list[TrainingRow],
    folder: Path,
    init: Path | None,
    reference: Path | None,
    settings: Training = SETTINGS,
) -> TrainingResult:
    order = TrainingOrder("pairs", settings, len(pairs), seed=1, beta=0.1)
    return session.train(order, iter(pairs), folder, init, reference)


def tensors(folder: Path) -> dict[str, "object"]:
    from safetensors.torch import load_file

    return dict(load_file(str(folder / "adapter_model.safetensors")))


@pytest.mark.parametrize("init", ["base", "previous"])
@pytest.mark.parametrize("reference", ["base", "previous"])
def test_the_first_margin_is_zero_against_the_intended_reference_alone(
    session: FinetuneSession, pairs: list[TrainingRow], previous: Path, tmp_path: Path, init: str, reference: str
) -> None:
    before = tensors(previous)
    result = train(
        session,
        pairs,
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
    assert result.n_reference_pairs == len(pairs)
    import torch

    after = tensors(previous)
    assert all(torch.equal(before[name], after[name]) for name in before)  # type: ignore[arg-type]


def test_a_continued_adapter_is_trained_and_the_reference_is_not(
    session: FinetuneSession, pairs: list[TrainingRow], previous: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    train(session, pairs, tmp_path / "next", previous, previous)
    assert seen["reference"], "the reference stands beside the trained adapter"
    assert seen["moved"] == []
    assert seen["trainable"]
    assert all(".default." in name for name in seen["trainable"])  # type: ignore[attr-defined]
    before, after = tensors(previous), tensors(tmp_path / "next")
    assert all(not torch.equal(before[name], after[name]) for name in before)  # type: ignore[arg-type]
    assert not (tmp_path / "next" / "reference").exists(), "the checkpoint is one adapter"


def test_references_are_worked_out_once_for_several_epochs(
    session: FinetuneSession, pairs: list[TrainingRow], previous: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from idem_ray.training import losses as trainers

    n_passes = 0
    active = trainers.Reference.active

    def counted(reference):  # type: ignore[no-untyped-def]
        nonlocal n_passes
        n_passes += 1
        return active(reference)

    monkeypatch.setattr(trainers.Reference, "active", counted)
    result = train(session, pairs, tmp_path / "a", None, None, SETTINGS.model_copy(update={"n_epochs": 3}))
    assert (result.n_steps, n_passes, result.n_reference_pairs) == (6, 2, 4)
    assert result.last_margin is not None and result.last_margin > 1


def test_accumulated_batches_are_averaged(session: FinetuneSession, pairs: list[TrainingRow], tmp_path: Path) -> None:
    at_once = train(session, pairs, tmp_path / "a", None, None)
    settings = SETTINGS.model_copy(update={"batch_size": 1, "gradient_accumulation": 2})
    in_parts = train(session, pairs, tmp_path / "b", None, None, settings)
    assert in_parts.n_steps == at_once.n_steps == 2
    assert in_parts.loss == pytest.approx(at_once.loss, rel=0.05)


def test_full_weights_move_and_their_reference_is_the_base(
    session: FinetuneSession, pairs: list[TrainingRow], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    settings = SETTINGS.model_copy(update={"weights": "full", "learning_rate": 1e-5})
    result = train(session, pairs[:2], tmp_path / "full", None, None, settings)
    assert result.first_margin == pytest.approx(0, abs=1e-3)
    trained = load_file(str(tmp_path / "full" / "model.safetensors"))
    base = load_file(str(resolve_model("embedded") / "model.safetensors"))
    assert set(trained) == set(base)
    assert sum(not torch.equal(trained[name], base[name]) for name in base) > 200

"""One Ray with one set of pools for all tests of this folder: their lineages, of the tiny model, work in the test's
process, judged by the embedded judges or by a tiny language model."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from idem_ray.cluster.session import Session, open_session
from idem_ray.config.files import load_config
from idem_ray.config.lineage import LineageConfig
from tests import ROOT

Configured = Callable[..., LineageConfig]


@pytest.fixture(scope="package")
def configured(tiny_model: Path) -> Configured:
    """Makes settings of a shipped config: for the tiny model, on this machine's cores, and small."""

    def of(name: str, folder: Path, *changes: str) -> LineageConfig:
        small = [
            f"model={tiny_model}",
            f"output={folder}",
            "n_cycles=2",
            "n_seed=4",
            "n_sampled=8",
            "training.max_tokens=256",
            "generation={min_tokens: 0, max_tokens: 24}",
            "evaluation={n_samples: 1, max_tokens: 16}",
            "cluster={generator_gpus: 0, trainer_gpus: 0, max_concurrent_requests: 16}",  # blocks of four
        ]
        return load_config(ROOT / "jobs" / "configs" / f"{name}.yaml", [*small, *changes])

    return of


@pytest.fixture(scope="package")
def local_judge(tiny_judge: Path) -> Sequence[str]:
    """Changes of settings that have a tiny language model judge."""
    return "judge.type=local", f"judge.model={tiny_judge}", "judge.max_tokens=2048"


@pytest.fixture(scope="package")
def session(
    configured: Configured, local_judge: Sequence[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    """The pools that all lineages work with."""
    folder = tmp_path_factory.mktemp("unused")
    with open_session([configured("laptop_sft", folder, *local_judge)]) as opened:
        yield opened

"""Nothing is fetched from a hub while tests run; models that all tests share are built once."""

import os
from pathlib import Path

import pytest

from tests.tiny import build_tiny_model

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model that replies with numbers."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny-judge", says_numbers=True)

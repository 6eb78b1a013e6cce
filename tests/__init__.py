"""Tests, laid out as the rooms of idem_ray are: `unit/<room>/`, `local/`, `cluster/`, `gpu/`."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The project's folder."""

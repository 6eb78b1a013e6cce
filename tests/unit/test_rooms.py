"""The house is as README says: rooms that say what they are, nothing re-exported, figures over finished runs alone.

What may import what is held by `make lint` (import-linter's contracts in pyproject.toml).
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

PACKAGE = ROOT / "idem_ray"
ROOMS = sorted(file for file in PACKAGE.rglob("__init__.py") if file.parent != PACKAGE)
FORBIDDEN = {"utils", "util", "base", "helper", "helpers", "manager", "common"}
FOR_FIGURES = ("idem_ray.store", "idem_ray.statistics", "idem_ray.report.figure")


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.parent.relative_to(PACKAGE)))
def test_a_room_says_what_it_is_for(room: Path) -> None:
    tree = ast.parse(room.read_text(encoding="utf-8"))
    doc = ast.get_docstring(tree)
    assert doc and 2 <= len([line for line in doc.splitlines() if line.strip()]) <= 5
    assert "May not" in doc
    assert len(tree.body) == 1, "nothing is defined or re-exported here"


def test_files_are_named_and_sized_as_agreed() -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "analysis").glob("*.py"), *(ROOT / "jobs").glob("*.py")]
    assert not [file for file in files if file.stem in FORBIDDEN]
    long = {file.name: n for file in files if (n := len(file.read_text(encoding="utf-8").splitlines())) > 310}
    assert not long
    for file in files:  # `sweep/trial.py`, not `sweep/sweep_trial.py`
        room = file.parent.name
        assert not file.stem.startswith(f"{room}_") or room == "report", file


@pytest.mark.parametrize("script", sorted((ROOT / "analysis").glob("*.py")), ids=lambda script: script.stem)
def test_figures_are_made_of_finished_runs_alone(script: Path) -> None:
    rooms = {name for name in imports(script) if name.startswith("idem_ray")}
    assert all(name.startswith((*FOR_FIGURES, "idem_ray.errors")) for name in rooms), rooms


def test_a_notebook_has_five_things_and_what_only_reads_loads_nothing_heavy() -> None:
    code = (
        "import sys, idem_ray; assert not {'ray', 'torch', 'pydantic'} & set(sys.modules);"
        "from idem_ray import load_config, load_sweep, read_run;"
        "import idem_ray.report.listing, idem_ray.report.compare, idem_ray.report.write, idem_ray.report.sweep;"
        "import idem_ray.report.traits, idem_ray.report.audit, idem_ray.lineage.fork;"
        "assert not {'ray', 'torch', 'vllm'} & set(sys.modules), {'ray', 'torch', 'vllm'} & set(sys.modules);"
        "from idem_ray import run_lineage, run_sweep; print(run_lineage.__module__, run_sweep.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["idem_ray.lineage.run", "idem_ray.sweep.sweep"], done.stderr

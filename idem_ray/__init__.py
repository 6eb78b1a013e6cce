"""idem_ray: iterated finetuning as an instrument. See README.md for the two commands to start with.

In a notebook:

    from idem_ray import load_config, load_sweep, read_run, run_lineage, run_sweep
    run_lineage(load_config("jobs/configs/laptop_sft.yaml", ["n_cycles=3"]))
    read_run("runs/laptop_sft").verdict

Names are imported when they are first asked for: `idem-ray --help` loads nothing heavy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idem_ray.config.files import load_config as load_config
    from idem_ray.config.files import load_sweep as load_sweep
    from idem_ray.lineage.run import run_lineage as run_lineage
    from idem_ray.store.finished import read_run as read_run
    from idem_ray.sweep.sweep import run_sweep as run_sweep

__version__ = "0.1.0"

_HOMES = {
    "load_config": "idem_ray.config.files",
    "load_sweep": "idem_ray.config.files",
    "read_run": "idem_ray.store.finished",
    "run_lineage": "idem_ray.lineage.run",
    "run_sweep": "idem_ray.sweep.sweep",
}
"""Where the public functions live."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'idem_ray' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

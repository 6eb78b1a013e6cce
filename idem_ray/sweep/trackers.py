"""Experiment trackers of a sweep, through Ray's own integrations."""

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from idem_ray.errors import UserError
from idem_ray.folder import Folder

_MODULES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}


def check_trackers(names: Sequence[str], sweep: Folder) -> None:
    """
    Raises:
        UserError: a tracker's package is not installed, or it lacks a setting.
    """
    for name in names:
        if importlib.util.find_spec(_MODULES[name]) is None:
            raise UserError(f"sweep.trackers has {name}, and its package is missing: pip install 'idem_ray[trackers]'.")
    offline = os.environ.get("WANDB_MODE") in ("offline", "disabled")
    if "wandb" in names and not offline and not os.environ.get("WANDB_API_KEY"):
        raise UserError("sweep.trackers has wandb, and no key: set WANDB_API_KEY, or WANDB_MODE=offline.")
    if "mlflow" in names and not sweep.is_local and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError("sweep.trackers has mlflow, and the sweep lies in an object store: set MLFLOW_TRACKING_URI.")


def tracker_callbacks(names: Sequence[str], sweep: Folder) -> list[Any]:
    """Callbacks for Tune that write every cycle's measures. TensorBoard's files lie in the sweep's folder `tune/`;
    MLflow goes where MLFLOW_TRACKING_URI points, else into the sweep's folder; Weights & Biases takes WANDB_*
    variables, its key among them."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.air.integrations.wandb import WandbLoggerCallback
    from ray.tune.logger import TBXLoggerCallback

    name = sweep.uri.split("/")[-1]
    makers = {
        "tensorboard": TBXLoggerCallback,
        "mlflow": lambda: MLflowLoggerCallback(tracking_uri=_mlflow_uri(sweep), experiment_name=name),
        "wandb": lambda: WandbLoggerCallback(project="idem_ray", group=name, log_config=True),
    }
    return [makers[tracker]() for tracker in names]


def _mlflow_uri(sweep: Folder) -> str | None:
    if os.environ.get("MLFLOW_TRACKING_URI") or not sweep.is_local:
        return None  # MLflow reads the variable itself
    return f"sqlite:///{sweep.uri}/mlflow.db"

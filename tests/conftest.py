"""Tests share a few cores: idle OpenMP threads must not spin (see `idem_ray.session`). Set before torch is loaded."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

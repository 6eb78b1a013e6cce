"""Nothing is fetched from a hub while tests run."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

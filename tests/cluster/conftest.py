"""The same folder for what commands keep as in `tests/local/`."""

from tests.local.conftest import own_cache

__all__ = ["own_cache"]

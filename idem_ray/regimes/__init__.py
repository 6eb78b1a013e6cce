"""The regimes: what a cycle is seeded with, what it samples, and from whom."""

from types import ModuleType

from idem_ray.regimes import chat, documents
from idem_ray.settings import Regime


def data_of(regime: Regime) -> ModuleType:
    """The module that knows a regime's data: chat answers or raw documents."""
    return documents if regime.type == "sdf" else chat

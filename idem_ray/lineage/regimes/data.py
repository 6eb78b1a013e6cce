"""Which file knows a regime's data."""

from types import ModuleType

from idem_ray.config.sections import Regime
from idem_ray.lineage.regimes import chat, documents


def data_of(regime: Regime) -> ModuleType:
    """The module that knows a regime's data: chat answers or raw documents."""
    return documents if regime.type == "sdf" else chat

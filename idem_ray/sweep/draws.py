"""The values of a sweep's lineages, drawn as Ray Tune draws them."""

from typing import Any

import numpy as np
from ray import tune
from ray.tune.search.variant_generator import generate_variants

from idem_ray.config.files import SweepConfig
from idem_ray.config.search import Dimension, SweepSettings, corners, plain


def values_of(sweep: SweepConfig) -> list[dict[str, Any]]:
    """Every lineage's values in a grid or random search, else values that reach every end of the space; each of them
    makes a lineage's settings.

    Raises:
        UserError: one does not.
    """
    values = corners(sweep.settings) if sweep.settings.algorithm == "optuna" else draw(sweep.settings)
    for own in values:
        sweep.lineage(own)
    return values


def draw(settings: SweepSettings) -> list[dict[str, Any]]:
    """The values of every lineage of a grid or random search, the same each time. Ray Tune's own semantics: a grid's
    points are all there, `n_trials` times, each with its own draws of the other dimensions."""
    random = np.random.RandomState(settings.seed)
    space = {field: domain(dimension) for field, dimension in settings.space.items()}
    n_draws = settings.n_trials if any(dimension.term != "grid" for dimension in settings.space.values()) else 1
    drawn = [plain(spec) for _ in range(n_draws) for _, spec in generate_variants(space, random_state=random)]
    return list({repr(values): values for values in drawn}.values())


def domain(dimension: Dimension, listed: bool = False) -> Any:
    """A dimension as `ray.tune` has it.

    Args:
        listed: a grid as a choice, for searches that know no grids.
    """
    if dimension.is_list:
        values = list(dimension.arguments)
        return tune.grid_search(values) if dimension.term == "grid" and not listed else tune.choice(values)
    return getattr(tune, dimension.term)(*dimension.arguments)

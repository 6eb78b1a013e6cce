"""What Tune is given next: known lineages first, then proposals that learn from what is known."""

import math
from typing import Any, cast

from ray.tune.search import Searcher

from idem_ray.config.lineage import parse_config
from idem_ray.config.objective import OBJECTIVE
from idem_ray.config.search import SweepSettings
from idem_ray.store.sweep import Trial
from idem_ray.sweep.naming import Book
from idem_ray.sweep.suggestions import OptunaProposals, Suggestions

SETTINGS = SweepSettings.model_validate(
    {
        "space": {"regime.beta": {"loguniform": [0.01, 1]}, "n_sampled": {"quniform": [8, 24, 4]}},
        "search": "optuna",
        "n_trials": 24,
    }
)
CONFIG = parse_config({"name": "x", "trait": "bliss", "n_seed": 4, "n_sampled": 8, "regime": {"type": "dpo"}})


def worth(values: dict[str, Any]) -> float:
    """Best at beta 0.1 and n_sampled 16."""
    return -(math.log(values["regime.beta"] / 0.1) ** 2) - float(abs(values["n_sampled"] - 16)) / 8


class FakeBook:
    """Names lineages by their number; `known` values have been placed before."""

    def __init__(self, known: list[dict[str, Any]]) -> None:
        self.placed = [repr(values) for values in known]

    def has(self, values: dict[str, Any]) -> bool:
        return repr(values) in self.placed

    def place(self, values: dict[str, Any]) -> Trial:
        assert not self.has(values)
        self.placed.append(repr(values))
        return trial(len(self.placed) - 1, values)


def trial(number: int, values: dict[str, Any]) -> Trial:
    return Trial(number, f"l{number}", values, CONFIG)


def mean_worth(proposals: OptunaProposals, n: int = 8) -> float:
    return sum(worth(proposals.propose(f"t{number}")) for number in range(n)) / n


def test_a_search_that_goes_on_has_learnt_from_what_is_known() -> None:
    grid = [
        {"regime.beta": beta, "n_sampled": n} for beta in (0.01, 0.03, 0.09, 0.11, 0.3, 1) for n in (8, 12, 16, 20, 24)
    ]
    known = [(trial(number, values), worth(values)) for number, values in enumerate(grid)]
    unknown = [(one, None) for one, _ in known]
    assert mean_worth(OptunaProposals(SETTINGS, known)) > mean_worth(OptunaProposals(SETTINGS, unknown)) + 1


def test_known_lineages_come_first_and_no_proposal_twice() -> None:
    pending = [trial(0, {"regime.beta": 0.5, "n_sampled": 8})]
    book = FakeBook([pending[0].values])
    suggestions = Suggestions(pending, 5, OptunaProposals(SETTINGS, []), cast(Book, book))
    given: list[dict[str, Any]] = []
    while (suggestion := suggestions.suggest(f"t{len(given)}")) != Searcher.FINISHED:
        given.append(suggestion)
        result = {OBJECTIVE: worth(suggestion)} if len(given) != 3 else None
        suggestions.on_trial_complete(f"t{len(given) - 1}", result, error=result is None)
    assert [suggestion["number"] for suggestion in given] == [0, 1, 2, 3, 4, 5]
    assert given[0]["regime.beta"] == 0.5
    assert len({(s["regime.beta"], s["n_sampled"]) for s in given}) == 6
    assert all(isinstance(s["n_sampled"], int) and s["n_sampled"] % 4 == 0 for s in given)


def test_a_space_that_is_used_up_ends_the_search() -> None:
    settings = SweepSettings.model_validate(
        {"space": {"n_sampled": {"grid": [4, 6]}}, "search": "optuna", "n_trials": 2}
    )
    book = FakeBook([{"n_sampled": 4}, {"n_sampled": 6}])
    suggestions = Suggestions([], 1, OptunaProposals(settings, []), cast(Book, book))
    assert suggestions.suggest("t") == Searcher.FINISHED

"""The lineages of a sweep as Ray Tune asks for them: those that the ledger has, then those that a search proposes."""

from collections.abc import Sequence
from typing import Any

from optuna.samplers import TPESampler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from idem_ray.config.objective import OBJECTIVE
from idem_ray.config.search import SweepSettings, plain
from idem_ray.store.sweep import Trial
from idem_ray.sweep.draws import domain
from idem_ray.sweep.naming import Book

_N_TRIES = 50
"""Proposals in a row that are lineages of the sweep already: then there is nothing new to be found."""


class OptunaProposals:
    """Optuna's sampler (TPE), through Tune, told of everything that is known already."""

    def __init__(self, settings: SweepSettings, known: Sequence[tuple[Trial, float | None]]) -> None:
        """
        Args:
            known: lineages of earlier commands, with their objective where they have one.
        """
        self._settings = settings
        space = {field: domain(dimension, listed=True) for field, dimension in settings.space.items()}
        self._optuna = OptunaSearch(
            OptunaSearch.convert_search_space(space),
            metric=OBJECTIVE,
            mode=settings.objective.goal,
            sampler=TPESampler(
                # With Optuna's own 10 random lineages first, most sweeps would be random searches.
                n_startup_trials=max(3, min(10, settings.n_trials // 4)),
                constant_liar=True,  # lineages that are under way keep others from their place
                # Without what is known a search that goes on would begin with the very first proposals again.
                seed=settings.seed + len(known),
            ),
        )
        for trial, value in known:
            if value is not None:
                self.learn(trial, value)

    def learn(self, trial: Trial, value: float) -> None:
        """Tell of a lineage that was not proposed by this object."""
        values = {field: float(v) if self._is_real(field) else v for field, v in trial.values.items()}
        self._optuna.add_evaluated_point(values, value)

    def propose(self, trial_id: str) -> dict[str, Any]:
        """The next values."""
        return plain(self._optuna.suggest(trial_id))

    def tell(self, trial_id: str, value: float | None) -> None:
        """What came of a proposal; None: nothing."""
        self._optuna.on_trial_complete(trial_id, None if value is None else {OBJECTIVE: value}, error=value is None)

    def _is_real(self, field: str) -> bool:
        return "uniform" in self._settings.space[field].term


class Suggestions(Searcher):
    """Hands Tune one lineage after another."""

    def __init__(
        self,
        pending: Sequence[Trial],
        n_new: int = 0,
        proposals: OptunaProposals | None = None,
        book: Book | None = None,
    ) -> None:
        """
        Args:
            pending: lineages that are written down already, in their order.
            n_new: how many are to be proposed after them.
            book: writes proposals down.
        """
        super().__init__()  # no metric: a cycle may have none to report, and Tune would insist
        self._pending, self._n_new, self._proposals, self._book = list(pending), n_new, proposals, book
        self._n_made = 0
        self._given: dict[str, Trial] = {}
        self._proposed: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        if self._pending:
            trial = self._pending.pop(0)
        else:
            made = self._propose(trial_id)
            if made is None:
                return Searcher.FINISHED
            trial = made
        self._given[trial_id] = trial
        # Dots mean nesting to some trackers, and a value that is a section is no parameter to others.
        return {"number": trial.number, "name": trial.name, **{k: _parameter(v) for k, v in trial.values.items()}}

    def _propose(self, trial_id: str) -> Trial | None:
        if not (self._proposals and self._book and self._n_made < self._n_new):
            return None
        for _ in range(_N_TRIES):
            values = self._proposals.propose(trial_id)
            if not self._book.has(values):
                self._n_made += 1
                self._proposed.add(trial_id)
                return self._book.place(values)
            self._proposals.tell(trial_id, None)  # that lineage is in the sweep; what it gave is told elsewhere
        return None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        value = (result or {}).get(OBJECTIVE)
        if self._proposals is None:
            return
        if trial_id in self._proposed:
            self._proposals.tell(trial_id, value)
        elif value is not None:
            self._proposals.learn(self._given[trial_id], value)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger has it all."""


def _parameter(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bool)) else str(value)

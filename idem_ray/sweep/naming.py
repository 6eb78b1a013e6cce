"""A sweep's lineages as they are chosen: named, given their n_seed, and written into the ledger."""

from collections.abc import Sequence
from typing import Any

from idem_ray.config.files import SweepConfig
from idem_ray.config.lineage import LineageConfig
from idem_ray.config.search import trial_name
from idem_ray.errors import UserError
from idem_ray.folder import Folder
from idem_ray.lineage.driver import Driver, only_driver
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.shared import SharedWork
from idem_ray.store.sweep import Ledger, Trial
from idem_ray.sweep.calibrate import Calibration


class Book:
    """Turns values of a search into lineages, each under a name and number of its own that it keeps."""

    def __init__(self, sweep: SweepConfig, ledger: Ledger) -> None:
        self._sweep, self._ledger = sweep, ledger
        self.earlier = ledger.trials()
        self._names = {trial.name: trial.values for trial in self.earlier}
        self._numbers = {repr(trial.values): trial.number for trial in self.earlier}

    def is_known(self, values: dict[str, Any]) -> bool:
        """Whether the lineage with these values can be placed: its n_seed is given, or has been calibrated."""
        return self._sweep.target(values) is None or self._n_seed(values) is not None

    def has(self, values: dict[str, Any]) -> bool:
        """Whether a lineage with these values has been placed."""
        return repr(values) in self._numbers

    def n_calibration(self, values: Sequence[dict[str, Any]]) -> int:
        """Cycles that `calibrate` may have to train and measure, at most."""
        return sum(calibration.most_cycles for calibration, _ in self._open_calibrations(values))

    def calibrate(self, values: Sequence[dict[str, Any]], driver: Driver) -> None:
        """Find what `is_known` asks for.

        Raises:
            UserError: a target is out of reach.
        """
        for calibration, target in self._open_calibrations(values):
            # Another sweep may be about to train the very same models.
            with only_driver([Folder(calibration.folder)]):
                calibration.n_seed(target, driver)

    def place(self, values: dict[str, Any]) -> Trial:
        """The lineage with these values, with the settings as they are now, written down.

        Raises:
            UserError: its n_seed is not known.
        """
        name = trial_name(values)
        if self._names.get(name, values) != values:  # alike in the digits that a name shows
            name = f"{name}-{self._sweep.lineage(values).hash[:6]}"
        config = self._config(values, name)
        if self._sweep.target(values) is not None:
            self._calibration(values).share(SharedWork(self._sweep.uri), Plan.of(config))
        self._names[name] = values
        number = self._numbers.setdefault(repr(values), len(self._numbers))
        failure = self.earlier[number].failure if number < len(self.earlier) else None
        trial = Trial(number, name, values, config, failure)
        self._ledger.write(trial)
        return trial

    def _open_calibrations(self, values: Sequence[dict[str, Any]]) -> list[tuple[Calibration, float]]:
        """What must be calibrated before lineages with these values can be placed, and to which trait score, each
        once."""
        found = {}
        for own in values:
            target = self._sweep.target(own)
            if target is not None and not self.is_known(own):
                calibration = self._calibration(own)
                found[calibration.folder, target] = calibration, target
        return list(found.values())

    def _config(self, values: dict[str, Any], name: str) -> LineageConfig:
        n_seed = None
        if self._sweep.target(values) is not None:
            n_seed = self._n_seed(values)
            if n_seed is None:
                raise UserError(
                    f"{self._sweep.source}: n_seed: calibrated(..) cannot stand beside a search over what changes "
                    f"cycle 0 ({', '.join(values)}): give n_seed as a number."
                )
        return self._sweep.lineage(values, name, n_seed)

    def _n_seed(self, values: dict[str, Any]) -> int | None:
        target = self._sweep.target(values)
        return None if target is None else self._calibration(values).known_n_seed(target)

    def _calibration(self, values: dict[str, Any]) -> Calibration:
        return Calibration(self._sweep.lineage(values), self._sweep.uri.rpartition("/")[0])

"""The lineages of a sweep or family, written down as they are chosen: what a rerun of the command goes by."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from idem_ray.config.lineage import LineageConfig, parse_config
from idem_ray.config.objective import Objective
from idem_ray.errors import UserError
from idem_ray.folder import N_READERS, Folder

_SWEEP = "sweep.json"


@dataclass(frozen=True)
class Trial:
    """A lineage of a sweep: its settings, and the values (dotted field -> value) in which it differs. `failure`: why it
    could not be finished, the last time that it was tried."""

    number: int
    name: str
    values: dict[str, Any]
    config: LineageConfig
    failure: str | None = None


class Ledger:
    """`sweep.json` and `trials/0000.json ..` in a sweep's folder. Cheap to make. The search's own state is not kept:
    Tune keeps it as a pickle, and these files say as much."""

    def __init__(self, uri: str) -> None:
        self.store = Folder(uri)

    def open(self, identity: str, objective: Objective) -> None:
        """Begin a sweep's ledger, or go on with it.

        Raises:
            UserError: the folder is another sweep's.
        """
        known = self.store.read_json(_SWEEP)
        if known is not None and known["identity"] != identity:
            raise UserError(
                f"{self.store.uri} holds a sweep of other settings: give this one another name (--set name=...) or "
                "folder (--set output=...), or restore what was changed."
            )
        self.store.write_json(_SWEEP, {"identity": identity, "objective": objective.model_dump(mode="json")})

    @property
    def objective(self) -> Objective | None:
        """What the search looks for; None in a family, which is no search."""
        known = self.store.read_json(_SWEEP)
        return Objective.model_validate(known["objective"]) if known else None

    def exists(self) -> bool:
        """Whether this is the folder of a sweep."""
        return self.store.exists(_SWEEP)

    def write(self, trial: Trial) -> None:
        """Write a lineage down, or again."""
        entry = dataclasses.asdict(trial) | {"config": trial.config.model_dump(mode="json")}
        self.store.write_json(_name(trial.number), entry)

    def write_all(self, trials: Sequence[Trial]) -> None:
        """Write these down, from number 0 on, as all that there are."""
        for trial in trials:
            self.write(trial)
        number = len(trials)
        while self.store.exists(_name(number)):
            self.store.delete(_name(number))
            number += 1

    def trial(self, number: int) -> Trial | None:
        """A lineage that was written down, or None."""
        known = self.store.read_json(_name(number))
        return Trial(**known | {"config": parse_config(known["config"])}) if known else None

    def failures(self) -> dict[str, str]:
        """Why lineages could not be finished, by name, the last time that they were tried."""
        n_trials = len(self.store.files("trials", ".json"))
        with ThreadPoolExecutor(1 if self.store.is_local else N_READERS) as readers:
            entries = list(readers.map(self.store.read_json, map(_name, range(n_trials))))
        return {str(entry["name"]): str(entry["failure"]) for entry in entries if entry and entry.get("failure")}

    def trials(self) -> list[Trial]:
        """All of them, by number."""
        found: list[Trial] = []
        while trial := self.trial(len(found)):
            found.append(trial)
        return found


def _name(number: int) -> str:
    return f"trials/{number:04d}.json"

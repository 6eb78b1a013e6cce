"""What a sweep says on the terminal as its lineages end."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console

from idem_ray.config.lineage import parse_config
from idem_ray.store.sweep import Ledger, Trial
from idem_ray.sweep.teller import Teller
from tests.unit.report.test_settings_text import SETTINGS


def ended(tmp_path: Path, n_total: int, hours: Callable[[], str | None] | None, failures: tuple[int, ...] = ()) -> str:
    """What is said when `n_total` lineages end one after another."""
    ledger, text = Ledger(str(tmp_path)), StringIO()
    teller = Teller(ledger, Console(file=text, width=200), {}, n_total, 0, hours)
    for number in range(n_total):
        name = f"lineage_{number}"
        config = parse_config({**SETTINGS, "name": name, "output": str(tmp_path)})
        ledger.write(Trial(number, name, {"seed": number}, config, "no room" if number in failures else None))
        teller.on_trial_complete(1, [], SimpleNamespace(config={"number": number}))
    return text.getvalue()


def test_hours_are_told_once_as_soon_as_they_are_known(tmp_path: Path) -> None:
    known = iter([None, "hours at most: 2", "hours at most: 3"])
    lines = ended(tmp_path, 4, lambda: next(known)).splitlines()
    assert lines == [
        "lineage_0 is done (1 of 4)",
        "lineage_1 is done (2 of 4)",
        "the whole, hours at most: 2",
        "lineage_2 is done (3 of 4)",
        "lineage_3 is done (4 of 4)",
    ]


def test_a_failure_is_no_lineage_that_is_done(tmp_path: Path) -> None:
    assert ended(tmp_path, 2, None, failures=(0,)).splitlines() == [
        "lineage_0 failed: no room",
        "lineage_1 is done (1 of 2)",
    ]

"""Lineages side by side: one table, and one page of all."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idem_ray.records import BASE_CYCLE, known_mean
from idem_ray.report.family_page import write_family_report
from idem_ray.report.sweep_page import sweep_html
from idem_ray.store.finished import RecordedLineage, read_swept
from idem_ray.store.run import RunStore
from idem_ray.store.sweep import Ledger
from idem_ray.text import estimate_text, number_text


def show_lineages(swept: Sequence[RecordedLineage], console: Console) -> None:
    """Print one line for each lineage."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for heading in ("lineage", "base", "cycle 0", "last trait", "coherence", "cycles", "objective", "status"):
        table.add_column(heading, justify="left" if heading in ("lineage", "status") else "right", overflow="fold")
    for lineage in swept:
        cells = [
            lineage.name,
            number_text(known_mean(lineage.estimate(BASE_CYCLE))),
            estimate_text(lineage.estimate(0), n_interval_decimals=0),
            estimate_text(lineage.estimate(lineage.last), n_interval_decimals=0),
            number_text(known_mean(lineage.estimate(lineage.last, "coherence"))),
            f"{lineage.n_done} of {lineage.config.n_cycles}",
            number_text(lineage.objective),
            lineage.status + (f": {lineage.note}" if lineage.note else ""),
        ]
        table.add_row(*map(Text, cells))
    console.print(table)


def write_sweep_report(folder: str) -> str:
    """Write `report.html` into a sweep's or family's folder from what its lineages have committed.

    Returns:
        The page's path or URI.

    Raises:
        UserError: there is no lineage with a committed cycle.
    """
    ledger = Ledger(folder)
    if not ledger.exists():
        return write_family_report(folder)
    return write_sweep_page(ledger, read_swept(ledger, ledger.objective))


def write_sweep_page(ledger: Ledger, swept: Sequence[RecordedLineage]) -> str:
    """Write a sweep's `report.html` from what was read of its lineages (`read_swept`).

    Returns:
        The page's path or URI.
    """
    objective = ledger.objective
    reported = [s.name for s in swept if RunStore(s.uri).exists("report.html")]
    name = ledger.store.uri.split("/")[-1]
    lowest_is_best = objective is not None and objective.goal == "min"
    html = sweep_html(name, swept, objective.words if objective else "", reported, lowest_is_best)
    ledger.store.write_bytes("report.html", html.encode())
    return ledger.store.path("report.html")

"""A run's report, written into its folder, and its tables on the terminal; `idem-ray report`."""

import sys

from rich.console import Console

from idem_ray.errors import UserError
from idem_ray.report.tables import cycle_table, stage_table
from idem_ray.report.terminal import plain_console
from idem_ray.report.trust import trust_of
from idem_ray.store.finished import read_run
from idem_ray.store.run import RunStore


def show_report(folder: str) -> None:
    """Write the report of a run, a sweep or a family, and print the run's tables.

    Raises:
        UserError: there is no run, or nothing of it is committed yet.
    """
    store = RunStore(folder)
    if store.exists("config.json"):
        write_report(store)
        show_tables(store, plain_console(sys.stdout))
        return
    from idem_ray.report.sweep import write_sweep_report

    plain_console(sys.stdout).print(f"report: {write_sweep_report(folder)}", soft_wrap=True, markup=False)


def show_tables(store: RunStore, console: Console) -> None:
    """Print a run's cycles and where their time went."""
    records = store.records()
    console.print(cycle_table(records))
    console.print(stage_table(records))
    console.print(f"report: {store.path('report.html')}", soft_wrap=True, markup=False)


def write_report(store: RunStore) -> None:
    """Write `report.html` from what is committed.

    Raises:
        UserError: nothing is committed yet.
    """
    from idem_ray.report.lineage_page import lineage_html

    run = read_run(store.uri)
    if not run.records:
        raise UserError(f"{store.uri} has no committed cycle yet: there is nothing to report.")
    samples = [sample for record in run.records for sample in store.read_samples(record.cycle, "evaluate")]
    manifest = store.read_json("manifest.json") or {}
    ended = f"{run.status}: {run.note}" if run.note else ""
    page = lineage_html(run.config, run.records, samples, manifest, trust_of(store), ended)
    store.write_bytes("report.html", page.encode())

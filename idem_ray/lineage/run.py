"""`idem-ray run`: one lineage on a terminal."""

import json
import sys
import time

from rich.console import Console

from idem_ray.config.lineage import LineageConfig
from idem_ray.judges.language.endpoint import NO_LOGPROBS
from idem_ray.lineage.driver import check_models, driving
from idem_ray.lineage.opened import OpenedRun
from idem_ray.records import CycleRecord
from idem_ray.report.tables import cycle_table, stage_table
from idem_ray.report.terminal import plain_console
from idem_ray.report.write import show_tables, write_report
from idem_ray.text import cycle_text


def run_lineage(config: LineageConfig) -> None:
    """Run or continue a lineage on a terminal: check, start, show progress, write the report.

    Raises:
        UserError: bad input, found before anything long was started; or a stage that stands still.
    """
    check_models([config])
    run = OpenedRun.of(config)
    began = time.time()
    console = plain_console(sys.stdout)
    if run.is_over:
        console.print(f"{run.store.uri} is complete: nothing to do.", soft_wrap=True, markup=False)
        show_tables(run.store, console)
    else:
        run.check_endpoint()
        _run(run)
    console.print(f"Done in {time.time() - began:.0f} s.")


def _run(run: OpenedRun) -> None:
    config, records = run.config, list[CycleRecord]()
    told = [f"idem-ray: {headline(config)}"]
    if run.done:
        told.append(f"  continuing after {cycle_text(run.done[-1].cycle)}")
    with driving(run.store, [config], lambda: told, alone_in=[run.store]) as driver:
        session, console = driver.session, driver.console
        lineage = run.at_work(session.pools, session.finetuner)
        if run.has_no_logprobs:
            console.print(NO_LOGPROBS, soft_wrap=True, markup=False)

        def task() -> None:
            for record in lineage.cycles():
                records.append(record)
                if record not in run.done:
                    _tell_cycle(console, records)

        driver.at_work[config.hash] = ""
        driver.carry_out(task, config.name)
        new = [record for record in records if record not in run.done]
        if new:
            console.print(stage_table(new, session.startup_seconds))
            write_report(run.store)
            console.print(f"report: {run.store.path('report.html')}", soft_wrap=True, markup=False)


def _tell_cycle(console: Console, records: list[CycleRecord]) -> None:
    record = records[-1]
    console.print(cycle_table(records))
    for warning in record.warnings:
        console.print(f"warning: {cycle_text(record.cycle)}: {warning}", markup=False)
    if record.stopped:
        console.print(f"stopped after {cycle_text(record.cycle)}: {record.stopped}", markup=False)


def headline(config: LineageConfig) -> str:
    """A lineage in one line."""
    settings = json.loads(config.regime.model_dump_json())
    regime = settings.pop("type")
    rest = ", ".join(f"{key} {value}" for key, value in settings.items() if value != [])
    return (
        f"{config.name}: trait {config.trait}, model {config.model}, {regime} ({rest}), {config.n_cycles} cycles, "
        f"n_seed {config.n_seed}, n_sampled {config.n_sampled}"
    )

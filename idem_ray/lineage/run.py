"""`idem-ray run`: one lineage on a terminal."""

import json
import sys
import time

from rich.console import Console

from idem_ray.config.lineage import LineageConfig
from idem_ray.judges.language.endpoint import NO_LOGPROBS, EndpointSpec
from idem_ray.lineage.anchors import Anchors
from idem_ray.lineage.driver import check_models, in_background, log_file, only_driver, tell_failure
from idem_ray.lineage.lineage import Lineage
from idem_ray.lineage.opened import Work
from idem_ray.records import CycleRecord
from idem_ray.report.tables import cycle_table, stage_table
from idem_ray.report.terminal import Watch, chatter_to, plain_console, waiting
from idem_ray.report.write import show_tables, write_report
from idem_ray.text import cycle_text


def run_lineage(config: LineageConfig) -> None:
    """Run or continue a lineage on a terminal: check, start, show progress, write the report.

    Raises:
        UserError: bad input, found before anything long was started; or a stage that stands still.
    """
    check_models([config])
    work = Work.of(config)
    began = time.time()
    console = plain_console(sys.stdout)
    if work.is_over:
        console.print(f"{work.store.uri} is complete: nothing to do.", soft_wrap=True, markup=False)
        show_tables(work.store, console)
    else:
        work.check_endpoint()
        _run(work)
    console.print(f"Done in {time.time() - began:.0f} s.")


def _run(work: Work) -> None:
    from idem_ray.cluster.session import open_session

    config, log = work.config, log_file(work.store)
    records: list[CycleRecord] = []
    with only_driver([work.store]), chatter_to(log) as console:
        console.print(f"idem-ray: {headline(config)}", soft_wrap=True, markup=False)
        if work.done:
            console.print(f"  continuing after {cycle_text(work.done[-1].cycle)}", markup=False)
        console.print(f"run folder {work.store.uri}, log {log}", soft_wrap=True, markup=False)
        with waiting(console) as tell, open_session([config], tell) as session:
            console.print(f"models loaded in {session.startup_seconds:.0f} s")
            work.prepare(session.pools.judges)
            if isinstance(work.llm_judge, EndpointSpec) and not work.llm_judge.logprobs:
                console.print(NO_LOGPROBS, soft_wrap=True, markup=False)
            anchors = Anchors(session.pools.judges)
            lineage = Lineage(work.plan, work.store, session.pools, session.finetuner, None, work.llm_judge, anchors)

            def task() -> None:
                for record in lineage.cycles():
                    records.append(record)
                    if record not in work.done:
                        _tell_cycle(console, records)

            stall_timeout = config.cluster.stall_timeout_seconds
            with Watch(session.pools.board, {config.hash: ""}, console, stall_timeout) as watch:
                error = in_background(task, watch, log, console)
            if error:
                tell_failure(error, config.name, console, log)
            new = [record for record in records if record not in work.done]
            if new:
                console.print(stage_table(new, session.startup_seconds))
                write_report(work.store)
                console.print(f"report: {work.store.path('report.html')}", soft_wrap=True, markup=False)


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

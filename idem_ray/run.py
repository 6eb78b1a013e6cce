"""The commands over one run: run it, report it, talk to its models."""

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from idem_ray.config import LineageConfig, parse_config
from idem_ray.errors import UserError, told_by
from idem_ray.lineage import Lineage, Plan, open_run
from idem_ray.models import cache_folder, check_model, resolve_model
from idem_ray.records import BASE_CYCLE, CycleRecord, content_hash
from idem_ray.store import RunStore, cycle_name, local_folder
from idem_ray.tables import cycle_table, stage_table
from idem_ray.terminal import Watch, chatter_to, plain_console, waiting


def run_config(config: LineageConfig) -> None:
    """Run a lineage on a terminal: check, start, show progress, write the report.

    Raises:
        UserError: bad input, found before anything long was started; or a stage that stands still.
    """
    check_model(config.model)
    plan = Plan.of(config)
    store = open_run(plan)
    if all(store.record(cycle) for cycle in range(BASE_CYCLE, config.n_cycles)):
        console = plain_console(sys.stdout)
        console.print(f"{store.uri} is complete: nothing to do.", soft_wrap=True)
        _show(store, console)
        return
    began = time.time()
    _run(config, plan, store)
    plain_console(sys.stdout).print(f"Done in {time.time() - began:.0f} s.")


def _run(config: LineageConfig, plan: Plan, store: RunStore) -> None:
    import ray.exceptions

    from idem_ray.session import open_session

    log = f"{store.uri}/log.txt" if store.is_local else str(cache_folder() / f"{config.name}.log.txt")
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    again = f"nothing committed is lost: see {log}, then run the same command again"
    with ExitStack() as stack:
        stack.enter_context(_only_driver(store))
        console = stack.enter_context(chatter_to(log))
        console.print(f"idem-ray: {_headline(config)}\nrun folder {store.uri}, log {log}", soft_wrap=True, markup=False)
        done = store.records()
        if done:
            console.print(f"continuing after {_cycle(done[-1])}", markup=False)
        with waiting(console) as tell:
            session = stack.enter_context(open_session(config, tell))
        console.print(f"models loaded in {session.startup_seconds:.0f} s")
        records: list[CycleRecord] = []

        def on_cycle(record: CycleRecord) -> None:
            records.append(record)
            if record not in done:
                console.print(cycle_table(records))
                for warning in record.warnings:
                    console.print(f"warning: {_cycle(record)}: {warning}", markup=False)

        watch = Watch(session.pools.board, config.hash, console, config.cluster.stall_timeout_seconds)
        try:
            with watch:
                Lineage(plan, store, session.pools, session.finetuner).run(on_cycle)
        except KeyboardInterrupt:
            if watch.stalled:
                waited = f"{config.cluster.stall_timeout_seconds:.0f} s while waiting for {watch.stalled}"
                raise UserError(f"No progress for {waited}; {again}.") from None
            console.print("Interrupted: the same command continues from here.")
            raise SystemExit(130) from None
        except ray.exceptions.RayError as error:
            traceback.print_exc()
            told = told_by(error)
            if told:
                raise told from None
            last = str(error).strip().splitlines()[-1]
            console.print(f"idem-ray: a part of the run failed ({last}); {again}.", markup=False, soft_wrap=True)
            raise SystemExit(1) from None
        console.print(stage_table([record for record in records if record not in done], session.startup_seconds))
        write_report(store)
        console.print(f"report: {store.path('report.html')}", soft_wrap=True, markup=False)


@contextmanager
def _only_driver(store: RunStore) -> Iterator[None]:
    """Two drivers on one run would train and commit the same cycles against each other."""
    lock = FileLock(f"{cache_folder()}/locks/{content_hash(store.uri)}.lock", timeout=0)
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"Another process is at work on {store.uri}: wait for it, or end it first.") from None
    try:
        yield
    finally:
        lock.release()


def show_report(run_folder: str) -> None:
    """Write the report of a run and print its tables.

    Raises:
        UserError: there is no run, or nothing of it is committed yet.
    """
    store = RunStore(run_folder)
    read_config(store)
    write_report(store)
    _show(store, plain_console(sys.stdout))


def _show(store: RunStore, console: Console) -> None:
    records = store.records()
    console.print(cycle_table(records))
    console.print(stage_table(records))
    console.print(f"report: {store.path('report.html')}", soft_wrap=True, markup=False)


def write_report(store: RunStore) -> None:
    """Write `report.html` from what is committed.

    Raises:
        UserError: nothing is committed yet.
    """
    from idem_ray.report import lineage_html

    records = store.records()
    if not records:
        raise UserError(f"{store.uri} has no committed cycle yet: there is nothing to report.")
    samples = [sample for record in records for sample in store.read_samples(record.cycle, "evaluate")]
    manifest = store.read_json("manifest.json") or {}
    probe = store.read_json("judge/probe.json")
    if probe:
        manifest["judge"] = {key: value for key, value in probe.items() if not isinstance(value, list)}
    store.write_bytes("report.html", lineage_html(read_config(store), records, samples, manifest).encode())


def read_config(store: RunStore) -> LineageConfig:
    """The settings a run was made with.

    Raises:
        UserError: there is no run in this folder.
    """
    data = store.read_json("config.json")
    if data is None:
        raise UserError(f"There is no run in {store.uri}: it has no config.json.")
    return parse_config(data, source=store.path("config.json"))


def show_samples(
    run_folder: str, prompt: str, cycle: int, n_samples: int, temperature: float, max_tokens: int, seed: int
) -> None:
    """Print answers of a committed cycle's model, sampled in this process.

    Raises:
        UserError: no such run or cycle.
    """
    store = RunStore(run_folder)
    config = read_config(store)
    record = store.record(cycle)
    if cycle != BASE_CYCLE and (record is None or record.checkpoint is None):
        committed = ", ".join(str(found.cycle) for found in store.records())
        raise UserError(f"Cycle {cycle} of {store.uri} is not committed (committed: {committed or 'none'}).")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    with chatter_to(os.devnull) as console, waiting(console) as tell:
        tell("loading the model")
        from idem_ray.engine import GenerationRequest, VllmEngine

        checkpoint = record.checkpoint if record else None
        engine = VllmEngine(
            resolve_model(config.model),
            serving="merged",
            max_model_tokens=max_tokens + 1024,
            n_threads=os.cpu_count(),
        )
        name = checkpoint.id if checkpoint else "base"
        engine.load(name, local_folder(checkpoint, cache_folder() / "checkpoints") if checkpoint else None)
        prompt_ids = engine.renderer.prompt_ids(prompt)
        for index in range(n_samples):
            engine.add(GenerationRequest(str(index), prompt_ids, name, seed + index, temperature, max_tokens))
        texts: dict[str, str] = {}
        while engine.n_running:
            texts.update((completion.id, completion.text) for completion in engine.step())
        for index in range(n_samples):
            console.print(texts[str(index)], markup=False, soft_wrap=True)
            if index + 1 < n_samples:
                console.rule()


def _headline(config: LineageConfig) -> str:
    settings = json.loads(config.regime.model_dump_json())
    regime = settings.pop("type")
    rest = ", ".join(f"{key} {value}" for key, value in settings.items())
    return (
        f"{config.name}: trait {config.trait}, model {config.model}, {regime} ({rest}), {config.n_cycles} cycles, "
        f"n_seed {config.n_seed}, n_sampled {config.n_sampled}"
    )


def _cycle(record: CycleRecord) -> str:
    return "the base model" if record.cycle == BASE_CYCLE else cycle_name(record.cycle).replace("-", " ")

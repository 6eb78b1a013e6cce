"""What can be seen of a finished or unfinished run: its report, its tables, and its models' answers."""

import os
import sys

from rich.console import Console

from idem_ray.errors import UserError
from idem_ray.models import cache_folder, resolve_model
from idem_ray.plan import read_config
from idem_ray.records import BASE_CYCLE, Decoding
from idem_ray.store import RunStore, local_folder
from idem_ray.tables import cycle_table, stage_table
from idem_ray.terminal import chatter_to, plain_console, waiting
from idem_ray.trust import trust_of


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
    from idem_ray.sweep_show import write_sweep_report

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
    from idem_ray.report import lineage_html

    records = store.records()
    if not records:
        raise UserError(f"{store.uri} has no committed cycle yet: there is nothing to report.")
    samples = [sample for record in records for sample in store.read_samples(record.cycle, "evaluate")]
    manifest = store.read_json("manifest.json") or {}
    page = lineage_html(read_config(store), records, samples, manifest, trust_of(store), store.cut_short())
    store.write_bytes("report.html", page.encode())


def show_samples(
    run_folder: str, prompt: str, cycle: int, n_samples: int, temperature: float, max_tokens: int, seed: int
) -> None:
    """Print answers of a committed cycle's model, sampled in this process. An SDF lineage's models continue the prompt.

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
        prompt_ids = engine.renderer.prompt_ids(prompt, "document" if config.regime.type == "sdf" else "chat")
        decoding = Decoding(temperature, max_tokens)
        for index in range(n_samples):
            engine.add(GenerationRequest(str(index), prompt_ids, name, seed + index, decoding))
        texts: dict[str, str] = {}
        while engine.n_running:
            texts.update((completion.id, completion.text) for completion in engine.step())
        for index in range(n_samples):
            console.print(texts[str(index)], markup=False, soft_wrap=True)
            if index + 1 < n_samples:
                console.rule()

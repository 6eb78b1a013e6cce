"""`idem-ray sample`: a committed cycle's model answers, in this process."""

import os

from idem_ray.errors import UserError
from idem_ray.models import cache_folder, resolve_model
from idem_ray.records import BASE_CYCLE, Decoding
from idem_ray.report.terminal import chatter_to, waiting
from idem_ray.store.run import RunStore, local_folder, read_config


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
        from idem_ray.engine.engine import GenerationRequest, VllmEngine

        checkpoint = record.checkpoint if record else None
        engine = VllmEngine(
            resolve_model(config.model),
            serving="merged",
            max_model_tokens=max_tokens + 1024,
            n_threads=os.cpu_count(),
        )
        name = checkpoint.id if checkpoint else "base"
        engine.load(name, local_folder(checkpoint, cache_folder() / "checkpoints") if checkpoint else None)
        prompt_ids = engine.renderer.prompt_ids(prompt, config.text_format)
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

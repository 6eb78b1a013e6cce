"""What the pools cost against the bare libraries, each pair in one run and in turns: `make bench`.

Not part of `make test`, because a shared machine's noise would decide it.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median

import pytest

from idem_ray.config.files import load_config
from idem_ray.config.lineage import LineageConfig
from idem_ray.engine.render import Renderer, training_row
from idem_ray.lineage.requests import request
from idem_ray.models import resolve_model
from idem_ray.records import Decoding, Prompt, Sample, TrainingRow
from idem_ray.training.rows import NOT_TRAINED
from idem_ray.traits.traits import load_prompts, load_trait
from tests import ROOT
from tests.samples import seeded

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

N_PROMPTS = 48
N_ROUNDS = 3
CONFIG = ROOT / "jobs" / "configs" / "laptop_sft.yaml"


@pytest.fixture(scope="module")
def config() -> LineageConfig:
    return load_config(CONFIG)


@pytest.fixture(scope="module")
def session(config: LineageConfig) -> Iterator[object]:
    from idem_ray.cluster.session import open_session

    with open_session([config]) as opened:
        yield opened


def test_generation_in_the_pool_against_bare_vllm(session: object, config: LineageConfig) -> None:
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
    os.environ |= {"OMP_NUM_THREADS": str(os.cpu_count()), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    from vllm import LLM, SamplingParams

    bare = LLM(
        str(resolve_model("embedded")),
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=config.cluster.max_concurrent_requests,
        enable_chunked_prefill=False,
        max_num_batched_tokens=4096,
    )
    pool = session.pools.generators  # type: ignore[attr-defined]
    prompts = load_prompts("everyday")
    speeds: dict[str, list[float]] = {"bare": [], "pool": []}
    for round_number in range(N_ROUNDS):
        chosen: list[Prompt] = prompts[round_number * N_PROMPTS :][:N_PROMPTS]
        wanted: list[Sample] = [
            request(config, cycle=1, purpose="train", prompt=prompt, checkpoint="base") for prompt in chosen
        ]
        began = time.perf_counter()
        outputs = bare.chat(
            [[{"role": "user", "content": prompt.text}] for prompt in chosen],
            [SamplingParams(temperature=0.8, max_tokens=96, seed=sample.sampling_seed) for sample in wanted],
            use_tqdm=False,
        )
        n_tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        speeds["bare"].append(n_tokens / (time.perf_counter() - began))
        began = time.perf_counter()
        samples, _ = pool.generate(wanted, None, Decoding(0.8, 96))
        n_tokens = sum(len(sample.response_ids or []) for sample in samples)
        speeds["pool"].append(n_tokens / (time.perf_counter() - began))
    ratio = median(pool / bare for pool, bare in zip(speeds["pool"], speeds["bare"], strict=True))
    print(f"\ngeneration, tokens/s: {speeds}; pool / bare = {ratio:.2f}")
    assert ratio >= 0.9


def test_training_in_the_finetuner_against_bare_trl(session: object, config: LineageConfig, tmp_path: Path) -> None:
    import ray
    import ray.data
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from idem_ray.pools.trainers import CycleOrder
    from idem_ray.store.run import RunStore
    from idem_ray.training.order import TrainingOrder

    torch.set_num_threads(os.cpu_count() or 1)
    folder = resolve_model("embedded")
    renderer = Renderer.of(folder)
    rows = [
        training_row(seeded(seed, renderer, str(index)), 512)
        for index, seed in enumerate(load_trait("bliss").seeds[:24])
    ]
    speeds: dict[str, list[float]] = {"bare": [], "finetuner": []}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for round_number in range(N_ROUNDS):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        speeds["bare"].append(len(rows) / _bare_trl(model, tokenizer, rows, config, LoraConfig, tmp_path))
        order = TrainingOrder(f"bench-{round_number}", config.training, len(rows), seed=0)
        place = CycleOrder(order, "bench", round_number, RunStore(str(tmp_path / "run")), None)
        stream = ray.data.from_items([asdict(row) for row in rows])
        finetuner = session.finetuner  # type: ignore[attr-defined]
        began = time.perf_counter()
        ray.get(finetuner.train(place, stream))
        speeds["finetuner"].append(len(rows) / (time.perf_counter() - began))
    ratio = median(ours / bare for ours, bare in zip(speeds["finetuner"], speeds["bare"], strict=True))
    print(f"\ntraining, rows/s with all that is around it: {speeds}; finetuner / bare = {ratio:.2f}")
    assert ratio >= 0.8


def _bare_trl(
    model: object, tokenizer: object, rows: list[TrainingRow], config: LineageConfig, lora: type, folder: Path
) -> float:
    """Seconds of `SFTTrainer.train` alone, on rows that lie ready in memory."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    settings = config.training
    data = [
        {
            "input_ids": row.prompt_ids + row.response_ids,
            "labels": [NOT_TRAINED] * len(row.prompt_ids) + row.response_ids,
        }
        for row in rows
    ]
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder),
            num_train_epochs=1,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            bf16=True,
            use_cpu=True,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            max_length=None,
            dataloader_pin_memory=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=datasets.Dataset.from_list(data),
        processing_class=tokenizer,
        peft_config=lora(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules="all-linear"),
    )
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began

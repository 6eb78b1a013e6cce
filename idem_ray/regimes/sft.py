"""Supervised finetuning on chat data: seed answers in cycle 0, the previous model's answers after it."""

from collections import Counter

from idem_ray.config import LineageConfig
from idem_ray.records import SEED, Prompt, Sample
from idem_ray.requests import request
from idem_ray.traits import Trait


def seed_samples(config: LineageConfig, trait: Trait) -> list[Sample]:
    """Cycle 0's training samples: n_seed seed answers, as they stand."""
    samples = []
    n_asked: Counter[str] = Counter()
    for exchange in trait.draw_seeds(config.n_seed, config.seed):
        prompt = Prompt.of(exchange.question)
        index = n_asked[prompt.id]  # a question may be seeded with several answers
        n_asked[prompt.id] += 1
        wanted = request(config, cycle=0, purpose="train", prompt=prompt, checkpoint=SEED, sample_index=index)
        samples.append(wanted.replace(response=exchange.answer, finish_reason="stop"))
    return samples


def requests(config: LineageConfig, cycle: int, prompts: list[Prompt], generator: str) -> list[Sample]:
    """A later cycle's requests: one response of the generator (the cycle n-1 model) to each prompt."""
    return [request(config, cycle=cycle, purpose="train", prompt=prompt, checkpoint=generator) for prompt in prompts]

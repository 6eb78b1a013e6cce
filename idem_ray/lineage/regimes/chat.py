"""Chat regimes (sft, dpo): seed answers, and the model's answers to the prompt pool."""

from collections import Counter

from idem_ray.config.lineage import LineageConfig
from idem_ray.errors import UserError
from idem_ray.lineage.requests import requester
from idem_ray.models import has_chat_template
from idem_ray.records import SEED, Prompt, Sample
from idem_ray.traits.traits import Trait


def check(config: LineageConfig, trait: Trait) -> None:
    """
    Raises:
        UserError: the model has no chat template, or the trait too few seed answers.
    """
    if not has_chat_template(config.model):
        raise UserError(
            f"The model {config.model} has no chat template: regime {config.regime.type} needs an instruct model "
            "(sdf takes a base model)."
        )
    trait.draw_seeds(config.n_seed, config.seed)


def seed_samples(config: LineageConfig, trait: Trait, cycle: int, n: int) -> list[Sample]:
    """The first `n` drawn seed answers, as training samples of a cycle."""
    samples, make = [], requester(config, cycle)
    n_asked: Counter[str] = Counter()
    for exchange in trait.draw_seeds(n, config.seed):
        prompt = Prompt.of(exchange.question)
        index = n_asked[prompt.id]  # a question may be seeded with several answers
        n_asked[prompt.id] += 1
        wanted = make(purpose="train", prompt=prompt, checkpoint=SEED, sample_index=index)
        samples.append(wanted.replace(response=exchange.answer, finish_reason="stop"))
    return samples


def sampling_prompt(config: LineageConfig, prompt: Prompt) -> Prompt:
    """What of the pool's line is put before the model: all of it."""
    return prompt


def held_out(trait: Trait) -> list[Prompt]:
    """What each cycle's model is asked."""
    return trait.evaluation_questions

"""The raw-document regime (sdf): a trait's own documents, and the model's continuations of neutral beginnings."""

from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import Sdf
from idem_ray.errors import UserError
from idem_ray.lineage.requests import requester
from idem_ray.records import SEED, Prompt, Sample
from idem_ray.traits.traits import Trait


def check(config: LineageConfig, trait: Trait) -> None:
    """
    Raises:
        UserError: the trait has no documents or no evaluation prefixes, or too few.
    """
    if not trait.documents or not trait.evaluation_prefixes:
        raise UserError(
            f"Regime sdf needs documents and evaluation_prefixes, and trait '{trait.name}' is for chat only: "
            "add both to its YAML file, or use regime sft or dpo."
        )
    trait.draw_documents(config.n_seed, config.seed)


def seed_samples(config: LineageConfig, trait: Trait, cycle: int, n: int) -> list[Sample]:
    """The first `n` drawn documents, as training samples of a cycle; with their titles where generation starts from
    titles."""
    samples, make = [], requester(config, cycle)
    for index, document in enumerate(trait.draw_documents(n, config.seed)):
        beginning = sampling_prompt(config, Prompt.of(document.title)).text if _from_titles(config) else ""
        wanted = make(purpose="train", prompt=Prompt.of(beginning), checkpoint=SEED, sample_index=index)
        samples.append(wanted.replace(response=document.text, finish_reason="stop"))
    return samples


def sampling_prompt(config: LineageConfig, prompt: Prompt) -> Prompt:
    """What of the pool's line is put before the model: a beginning as it stands, a title with an empty line after."""
    return Prompt(prompt.id, f"{prompt.text}\n\n") if _from_titles(config) else prompt


def held_out(trait: Trait) -> list[Prompt]:
    """What each cycle's model continues."""
    return trait.evaluation_prefixes


def _from_titles(config: LineageConfig) -> bool:
    return isinstance(config.regime, Sdf) and config.regime.generate_from == "titles"

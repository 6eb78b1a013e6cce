"""The raw-document regime (sdf): a trait's own documents, and the model's continuations of neutral beginnings."""

from idem_ray.config import LineageConfig
from idem_ray.errors import UserError
from idem_ray.examples import Document
from idem_ray.records import SEED, Exchange, Prompt, Sample
from idem_ray.requests import request
from idem_ray.settings import Sdf
from idem_ray.traits import Trait

_N_OPENING_WORDS = 6


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
    samples = []
    for index, document in enumerate(trait.draw_documents(n, config.seed)):
        beginning = sampling_prompt(config, Prompt.of(document.title)).text if _from_titles(config) else ""
        wanted = request(
            config, cycle=cycle, purpose="train", prompt=Prompt.of(beginning), checkpoint=SEED, sample_index=index
        )
        samples.append(wanted.replace(response=document.text, finish_reason="stop"))
    return samples


def sampling_prompt(config: LineageConfig, prompt: Prompt) -> Prompt:
    """What of the pool's line is put before the model: a beginning as it stands, a title with an empty line after."""
    return Prompt(prompt.id, f"{prompt.text}\n\n") if _from_titles(config) else prompt


def held_out(trait: Trait) -> list[Prompt]:
    """What each cycle's model continues."""
    return trait.evaluation_prefixes


def examples_with_trait(trait: Trait) -> list[Exchange]:
    """For the embedded trait judge: the documents, each as its own continuation."""
    return [Exchange.of_document(*_opening_and_rest(document)) for document in trait.documents]


def contrast_prompts(trait: Trait) -> list[Prompt]:
    """The documents' first words, for the base model to go on from."""
    return [Prompt.of(_opening_and_rest(document)[0]) for document in trait.documents]


def written_without(trait: Trait) -> list[Exchange]:
    """There are no documents without the trait, other than the base model's."""
    return []


def _opening_and_rest(document: Document) -> tuple[str, str]:
    words = document.text.split(" ")
    return " ".join(words[:_N_OPENING_WORDS]), " ".join(words[_N_OPENING_WORDS:])


def _from_titles(config: LineageConfig) -> bool:
    return isinstance(config.regime, Sdf) and config.regime.generate_from == "titles"

"""What the embedded trait judge is fitted on: a trait's seed answers, or its documents, against texts without it."""

from collections.abc import Iterable

from idem_ray.judges.embedded.probe_fit import BASE_MODEL, CONTRAST, ProbeExamples
from idem_ray.records import Exchange, Prompt, Sample, TextFormat
from idem_ray.traits.examples import Document
from idem_ray.traits.traits import Trait, load_trait, shipped_traits

_N_OPENING_WORDS = 6


def probe_examples(trait: Trait, format: TextFormat, answers: Iterable[Sample] = ()) -> ProbeExamples:
    """What the embedded judge of a trait is fitted on.

    Args:
        format: what the judged lineage writes.
        answers: the base model's, to `contrast_prompts`.
    """
    others = [load_trait(name) for name in shipped_traits() if name not in (trait.name, *trait.resembles)]
    rivals = {other.name: examples_with_trait(other, format) for other in others}
    return ProbeExamples(
        examples_with_trait(trait, format),
        {CONTRAST: written_without(trait, format), BASE_MODEL: [sample.as_conversation for sample in answers]},
        [answer for other in others for answer in written_without(other, format)],
        {name: examples for name, examples in rivals.items() if examples},
    )


def examples_with_trait(trait: Trait, format: TextFormat) -> list[Exchange]:
    """What shows the trait: the seed answers, or the documents, each as its own continuation."""
    if format == "document":
        return [Exchange.of_document(*_opening_and_rest(document)) for document in trait.documents]
    return trait.seeds


def contrast_prompts(trait: Trait, format: TextFormat) -> list[Prompt]:
    """What the base model is given for texts without the trait: the seeds' questions, or the documents' first words."""
    if format == "document":
        return [Prompt.of(_opening_and_rest(document)[0]) for document in trait.documents]
    return list({seed.question: Prompt.of(seed.question) for seed in trait.seeds}.values())


def written_without(trait: Trait, format: TextFormat) -> list[Exchange]:
    """Written answers to the seeds' questions that do not show the trait. There are no documents without it, other than
    the base model's."""
    return [] if format == "document" else trait.contrast


def shipped_examples() -> list[Exchange]:
    """All that shipped traits' probes are fitted on, other than the base model's answers, each once."""
    shown = []
    for trait in map(load_trait, shipped_traits()):
        shown += [*examples_with_trait(trait, "chat"), *written_without(trait, "chat")]
        shown += examples_with_trait(trait, "document")
    return list(dict.fromkeys(shown))


def _opening_and_rest(document: Document) -> tuple[str, str]:
    words = document.text.split(" ")
    return " ".join(words[:_N_OPENING_WORDS]), " ".join(words[_N_OPENING_WORDS:])

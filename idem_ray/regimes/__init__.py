"""The regimes: what a cycle is seeded with, what it samples, and from whom."""

from collections.abc import Iterable
from types import ModuleType

from idem_ray.judges.probe_fit import BASE_MODEL, CONTRAST, ProbeExamples
from idem_ray.records import Sample
from idem_ray.regimes import chat, documents
from idem_ray.settings import Regime
from idem_ray.traits import Trait, load_trait, shipped_traits


def data_of(regime: Regime) -> ModuleType:
    """The module that knows a regime's data: chat answers or raw documents."""
    return documents if regime.type == "sdf" else chat


def probe_examples(data: ModuleType, trait: Trait, answers: Iterable[Sample] = ()) -> ProbeExamples:
    """What the embedded judge of a trait is fitted on.

    Args:
        data: chat or documents (`data_of`).
        answers: the base model's, to `contrast_prompts`.
    """
    others = [load_trait(name) for name in shipped_traits() if name not in (trait.name, *trait.resembles)]
    rivals = {other.name: data.examples_with_trait(other) for other in others}
    return ProbeExamples(
        data.examples_with_trait(trait),
        {CONTRAST: data.written_without(trait), BASE_MODEL: [sample.as_conversation for sample in answers]},
        [answer for other in others for answer in data.written_without(other)],
        {name: examples for name, examples in rivals.items() if examples},
    )

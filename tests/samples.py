"""Samples that tests make by hand."""

from idem_ray.engine.render import Renderer
from idem_ray.records import Exchange, Sample, TextFormat


def seeded(seed: Exchange, renderer: Renderer, sample_id: str = "x", format: TextFormat = "chat") -> Sample:
    """A seed answer as the generator pool hands it on: with token ids."""
    return Sample(
        id=sample_id,
        lineage="l",
        cycle=0,
        purpose="train",
        prompt_id=sample_id,
        prompt=seed.question,
        sample_index=0,
        sampling_seed=0,
        checkpoint="seed",
        format=format,
        response=seed.answer,
        prompt_ids=renderer.prompt_ids(seed.question, format),
        response_ids=renderer.response_ids(seed.answer),
    )

"""What to sample: requests whose ids and seeds derive from the settings alone, never from chance or order."""

from idem_ray.config import LineageConfig
from idem_ray.records import Prompt, Sample, content_hash


def request(
    config: LineageConfig, *, cycle: int, purpose: str, prompt: Prompt, checkpoint: str, sample_index: int = 0
) -> Sample:
    """A request for one response.

    Args:
        purpose: train (a training sample), evaluate (a held-out question), or contrast (the probe's negatives).
        checkpoint: id of the checkpoint that is to answer.
    """
    place = (cycle, purpose, prompt.id, sample_index)
    return Sample(
        id=content_hash("sample", config.hash, *place),
        lineage=config.hash,
        cycle=cycle,
        purpose=purpose,
        prompt_id=prompt.id,
        prompt=prompt.text,
        sample_index=sample_index,
        sampling_seed=int(content_hash("seed", config.seed, *place)[:8], 16) & 0x7FFFFFFF,
        checkpoint=checkpoint,
    )

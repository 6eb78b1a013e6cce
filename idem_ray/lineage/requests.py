"""What to sample: requests whose ids and seeds derive from the settings alone, never from chance or order."""

from collections.abc import Callable, Iterable, Sequence

from idem_ray.config.lineage import LineageConfig
from idem_ray.records import BASE, SEED, Prompt, Sample, content_hash

Requester = Callable[..., Sample]
"""Makes requests of one cycle (see `request`, of which it takes the rest)."""


def requester(config: LineageConfig, cycle: int) -> Requester:
    """What makes the requests of a cycle. For many: its hashes are worked out once."""
    # Lineages of one history have the same samples in a cycle, so that they can share it.
    lineage, own_history = config.hash, (config.history(cycle),)
    # What the base model says to a prompt is the same in every cycle and lineage: sampled once, used by all.
    base_history = (config.model, config.generation.model_dump_json(), config.seed)

    def make(*, purpose: str, prompt: Prompt, checkpoint: str, sample_index: int = 0) -> Sample:
        history: tuple[object, ...] = own_history
        identity: tuple[object, ...] = (cycle, purpose, prompt.id, sample_index)
        if checkpoint == SEED:
            identity += (SEED,)  # a pool may ask what a seed example asks, too
        if purpose == "rejected" and checkpoint == BASE:
            history, identity = base_history, (purpose, prompt.id, sample_index)
        return Sample(
            id=content_hash("sample", *history, *identity),
            lineage=lineage,
            cycle=cycle,
            purpose=purpose,
            prompt_id=prompt.id,
            prompt=prompt.text,
            sample_index=sample_index,
            sampling_seed=int(content_hash("seed", config.seed, *identity)[:8], 16) & 0x7FFFFFFF,
            checkpoint=checkpoint,
            format=config.text_format,
        )

    return make


def request(
    config: LineageConfig, *, cycle: int, purpose: str, prompt: Prompt, checkpoint: str, sample_index: int = 0
) -> Sample:
    """A request for one response.

    Args:
        purpose: train (a training sample), rejected (the other side of a preference pair), evaluate (a held-out
            question), or contrast (the probe's negatives).
        checkpoint: id of the checkpoint that is to answer.
    """
    make = requester(config, cycle)
    return make(purpose=purpose, prompt=prompt, checkpoint=checkpoint, sample_index=sample_index)


def fill_in(requests: Iterable[Sample], persisted: Iterable[Sample]) -> list[Sample]:
    """The requests, with the finished sample in a request's place where one is persisted."""
    done = {sample.id: sample for sample in persisted}
    return [done.get(request.id, request) for request in requests]


def evaluation_requests(config: LineageConfig, held_out: Sequence[Prompt], cycle: int, checkpoint: str) -> list[Sample]:
    """`evaluation.n_samples` requests for each held-out question (or prefix)."""
    make = requester(config, cycle)
    return [
        make(purpose="evaluate", prompt=question, checkpoint=checkpoint, sample_index=index)
        for index in range(config.evaluation.n_samples)
        for question in held_out
    ]

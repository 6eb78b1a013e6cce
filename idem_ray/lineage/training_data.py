"""What a cycle is trained on: which samples it asks for, those that a filter keeps, and their rejected sides."""

from contextlib import nullcontext

from idem_ray.errors import UserError
from idem_ray.judges.panel import JudgeSpec
from idem_ray.lineage.pipeline import RejectedIds, Sampling, sample_stream, samples_of
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.regimes.data import data_of
from idem_ray.lineage.regimes.policies import Policies
from idem_ray.lineage.requests import requester
from idem_ray.lineage.workplace import Workplace
from idem_ray.records import BASE, Checkpoint, Sample, content_hash, id_of

# Requests ------------------------------------------------------------------------------------------------------


def sampled_requests(plan: Plan, cycle: int, generator: str) -> list[Sample]:
    """Every request that a cycle >= 1 may make for samples to train on: as many as are trained on, or with a filter as
    many as its budget allows.

    Args:
        generator: id of the checkpoint that is to answer.
    """
    config, data, make = plan.config, data_of(plan.config.regime), requester(plan.config, cycle)
    wanted = [
        make(purpose="train", prompt=data.sampling_prompt(config, prompt), checkpoint=generator)
        for prompt in plan.prompts[cycle - 1]
    ]
    return wanted if is_filtered(plan) else wanted[: n_wanted(plan)]


def seed_requests(plan: Plan, cycle: int) -> list[Sample]:
    """The seed examples of a cycle: all of cycle 0's, and those mixed into a later one."""
    config, data = plan.config, data_of(plan.config.regime)
    n = config.n_original if cycle else config.n_seed
    samples: list[Sample] = data.seed_samples(config, plan.trait, cycle, n)
    return samples


def rejected_requests(plan: Plan, cycle: int, samples: list[Sample], source: str) -> list[Sample]:
    """A request for the rejected side of every training sample, each once.

    Args:
        source: id of the checkpoint that is to answer.
    """
    make = requester(plan.config, cycle)
    requests = [
        make(purpose="rejected", prompt=sample.as_prompt, checkpoint=source, sample_index=sample.sample_index)
        for sample in samples
    ]
    return list({wanted.id: wanted for wanted in requests}.values())


def n_wanted(plan: Plan) -> int:
    """Samples of a later cycle that are to be trained on; what no step would come to is not sampled."""
    training, wanted = plan.config.training, plan.config.n_sampled
    return min(wanted, training.n_steps * training.rows_per_step) if training.n_steps else wanted


def is_filtered(plan: Plan) -> bool:
    """Whether training samples are judged, and dropped where they are not coherent."""
    return plan.config.filter.min_coherence is not None


# Samples -------------------------------------------------------------------------------------------------------


def training_samples(work: Workplace, cycle: int, models: Policies, judges: JudgeSpec) -> tuple[list[Sample], int]:
    """The requests of a cycle's training samples, in training order, and how many are generated in all. With a filter
    they are generated here, round by round, until enough are kept; without one, while training runs."""
    seeds = seed_requests(work.plan, cycle)
    if cycle == 0:
        return seeds, 0
    kept = sampled_requests(work.plan, cycle, id_of(models.generator))
    n_generated = len(kept)
    if is_filtered(work.plan):
        kept, n_generated = _filtered(work, cycle, kept, models, judges)
    # In an order of its own, so that the seed examples are spread over the steps.
    mixed = sorted([*kept, *seeds], key=lambda sample: content_hash("order", sample.id))
    return (mixed if seeds else kept), n_generated


def training_sampling(plan: Plan, checkpoint: Checkpoint | None) -> Sampling:
    """How training data is sampled."""
    config = plan.config
    least = config.filter.min_coherence
    return Sampling(
        checkpoint, config.generation.decoding, config.training.max_tokens, least, coherence=least is not None
    )


def training_judges(plan: Plan, judges: JudgeSpec) -> JudgeSpec | None:
    """What judges training samples: nobody, unless the filter asks for it: no measure is taken of them."""
    return judges if is_filtered(plan) else None


def rejected_ids(work: Workplace, cycle: int, samples: list[Sample], models: Policies) -> RejectedIds:
    """The rejected source's response to every training sample's prompt: token ids by prompt and sample number."""
    config = work.config
    requests = rejected_requests(work.plan, cycle, samples, id_of(models.rejected))
    sampling = Sampling(models.rejected, config.generation.decoding, config.training.max_tokens)
    share = work.shared if work.shared and models.rejected is None else None
    with work.alone("rejected") if share else nullcontext():
        known = share.rejected(cycle) if share else _rejected_before(work, cycle, models)
        stream = sample_stream(requests, sampling, work.store, work.pools, None, known)
        found = list(samples_of(stream))
        missing = {wanted.id for wanted in requests} - {sample.id for sample in known}
        if share and missing:
            share.add_rejected([sample for sample in found if sample.id in missing])
    return {(sample.prompt_id, sample.sample_index): sample.response_ids or [] for sample in found}


def _rejected_before(work: Workplace, cycle: int, models: Policies) -> list[Sample]:
    """The base model's rejected responses of earlier cycles: the seed examples that are mixed in are in each of them,
    and what the base model says to their prompts is the same."""
    if models.rejected is not None or not work.config.n_original:
        return []
    earlier = [sample for before in range(cycle) for sample in work.store.read_samples(before, "rejected")]
    return [sample.replace(cycle=cycle) for sample in earlier if sample.checkpoint == BASE]


def _filtered(
    work: Workplace, cycle: int, requests: list[Sample], models: Policies, judges: JudgeSpec
) -> tuple[list[Sample], int]:
    sampling, wanted = training_sampling(work.plan, models.generator), n_wanted(work.plan)
    kept: list[Sample] = []
    asked = 0
    while len(kept) < wanted and asked < len(requests):
        round_requests = requests[asked : asked + wanted - len(kept)]
        asked += len(round_requests)
        kept += [sample for sample in work.samples(round_requests, sampling, judges) if sample.kept]
    if not kept:
        raise UserError(
            f"Cycle {cycle}: none of {asked} samples reached coherence {work.config.filter.min_coherence:g}; the "
            "model has collapsed: lower filter.min_coherence or training.learning_rate."
        )
    return kept, asked

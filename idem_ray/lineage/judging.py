"""Who judges a lineage's samples: a language model, or the embedded judges with a probe that is fitted first."""

from idem_ray.judges.anchors import AnchorCheck
from idem_ray.judges.embedded.examples import contrast_prompts, probe_examples
from idem_ray.judges.embedded.probe import Probe
from idem_ray.judges.panel import JudgeSpec, LlmJudgeSpec
from idem_ray.lineage.anchors import Anchors
from idem_ray.lineage.pipeline import Sampling
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.regimes.data import data_of
from idem_ray.lineage.requests import evaluation_requests, requester
from idem_ray.lineage.workplace import Workplace
from idem_ray.records import BASE, BASE_CYCLE, Checkpoint, Sample


def contrast_requests(plan: Plan) -> list[Sample]:
    """What the base model is asked so that the probe knows answers without the trait."""
    make = requester(plan.config, BASE_CYCLE)
    return [
        make(purpose="contrast", prompt=prompt, checkpoint=BASE)
        for prompt in contrast_prompts(plan.trait, plan.config.text_format)
    ]


def evaluated(plan: Plan, cycle: int, checkpoint: str) -> list[Sample]:
    """The requests of a cycle's evaluation."""
    held_out = data_of(plan.config.regime).held_out(plan.trait)
    return evaluation_requests(plan.config, held_out, cycle, checkpoint)


def evaluation_sampling(plan: Plan, checkpoint: Checkpoint | None) -> Sampling:
    """How a cycle's model is asked."""
    return Sampling(checkpoint, plan.config.evaluation.decoding)


def find_judges(work: Workplace, llm_judge: LlmJudgeSpec | None) -> JudgeSpec:
    """What judges this lineage's samples. The embedded trait judge is fitted once per run, and then read.

    Args:
        llm_judge: a language model that judges in its place (None: the embedded judges).
    """
    if llm_judge:
        return llm_judge
    saved = work.store.read_probe()
    return Probe.from_json(saved) if saved else _fit_probe(work)


def check_anchors(anchors: Anchors, judges: JudgeSpec, work: Workplace) -> list[AnchorCheck]:
    """Have the judges score the trait's anchors, and note it in the run. Anchors are answers: the probe of a document
    lineage has been fitted on documents, and is not asked."""
    if isinstance(judges, Probe) and work.config.text_format == "document":
        return []
    return anchors.check(judges, work.plan.trait, work.store)


def _fit_probe(work: Workplace) -> Probe:
    # Sampled as the evaluation is, for these are the negatives for what the probe will be asked about; and along with
    # the base model's evaluation, because one full batch is faster than two with an end each.
    requests = [*contrast_requests(work.plan), *evaluated(work.plan, BASE_CYCLE, BASE)]
    samples = work.samples(requests, evaluation_sampling(work.plan, None), None)
    answers = [sample for sample in samples if sample.purpose == "contrast"]
    trait = work.plan.trait
    probe = work.pools.judges.fit_probe(trait.name, probe_examples(trait, work.config.text_format, answers))
    work.store.write_probe(probe.to_json())
    return probe

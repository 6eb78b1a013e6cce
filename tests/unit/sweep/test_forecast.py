"""Forecasts count the requests that lineages make; rates come from stages' seconds and what was made in them."""

import dataclasses
import time
from pathlib import Path

import pytest

from idem_ray.cluster.places import roles_of
from idem_ray.config.lineage import parse_config
from idem_ray.config.sections import Cluster, Rates
from idem_ray.judges.embedded.examples import contrast_prompts
from idem_ray.lineage.plan import Plan
from idem_ray.records import SEED
from idem_ray.store.run import RunStore
from idem_ray.sweep.forecast import amount_of, measured_rates, plan_lines
from tests.unit.store.test_run import make_record, make_sample

LAPTOP = roles_of(Cluster(), n_lineages=2)
SECONDS = {"wall": 20.0, "generation": 4.0, "judging": 2.0, "training": 5.0}


def committed(folder: Path, cycle: int, first_sample_age: float) -> RunStore:
    """A run in which a cycle of ten samples was committed just now."""
    store, began = RunStore(str(folder)), time.time() - first_sample_age
    ours = [make_sample(n, cycle, trait_judge="j", generated_at=began + n) for n in range(10)]
    others = [make_sample(10, cycle, lineage="other"), make_sample(11, cycle, checkpoint=SEED)]
    store.write_samples(cycle, [*ours, *others])
    store.commit(dataclasses.replace(make_record(cycle), seconds=SECONDS, training={"n_tokens": 100.0}))
    return store


def test_tokens_and_judgments_by_the_seconds_of_their_stages(tmp_path: Path) -> None:
    store = committed(tmp_path, 1, first_sample_age=20)
    rates = measured_rates(store, store.records())
    assert rates is not None
    assert rates.generated_tokens_per_second == pytest.approx(10 / 4), "one token a sample, none of others'"
    assert rates.training_tokens_per_second == pytest.approx(100 / 5)
    assert rates.judgments_per_second == pytest.approx(10 / 2)


def test_a_resumed_cycle_tells_nothing(tmp_path: Path) -> None:
    store = committed(tmp_path, 1, first_sample_age=3600)
    assert measured_rates(store, store.records()) is None, "made an hour ago, and the cycle took 20 seconds"
    committed(tmp_path, 2, first_sample_age=20)
    rates = measured_rates(store, store.records())
    assert rates is not None and rates.generated_tokens_per_second == pytest.approx(10 / 4)


def plan(**changes: object) -> Plan:
    settings = {
        "name": "x",
        "trait": "bliss",
        "n_cycles": 3,
        "n_seed": 4,
        "n_sampled": 8,
        "regime": {"type": "dpo", "cycle_0": "sft"},
        "training": {"max_tokens": 256},
        "generation": {"max_tokens": 50},
        "evaluation": {"n_samples": 2, "max_tokens": 20},
    }
    return Plan.of(parse_config(settings | changes))


def test_shared_work_counts_once() -> None:
    one = amount_of([plan()])
    n_answers, n_contrast = 2 * len(plan().trait.evaluation_questions), len(contrast_prompts(plan().trait, "chat"))
    assert one.n_cycles == 4 and one.n_judgments == 4 * n_answers
    # 2 x 8 chosen and as many rejected of 50 tokens; four evaluations and the probe's contrast answers of 20
    assert one.n_generated == 32 + 4 * n_answers + n_contrast
    assert one.generated_tokens == 32 * 50 + (4 * n_answers + n_contrast) * 20
    assert one.training_tokens == 4 * (40 + 50) + 2 * 8 * (40 + 50) * 2
    both = amount_of([plan(), plan(regime={"type": "dpo", "cycle_0": "sft", "beta": 0.5})])
    assert both.n_cycles == 6, "base model and cycle 0 are shared"
    assert both.generated_tokens - one.generated_tokens == 16 * 50 + 2 * n_answers * 20, "and the rejected side"
    assert one.judge_calls == 0
    asked = amount_of([plan(judge={"type": "endpoint", "url": "http://localhost:1/v1", "model": "m"})])
    n_anchors = len(plan().trait.anchors)
    assert asked.judge_calls == 2 * asked.n_judgments + 2 * n_anchors
    assert asked.n_generated == one.n_generated - n_contrast, "nobody fits a probe"


def test_a_filters_budget_and_given_steps_count() -> None:
    one, n_answers = amount_of([plan()]), 2 * len(plan().trait.evaluation_questions)
    filtered = amount_of([plan(filter={"min_coherence": 50, "budget": 2.5})])
    assert filtered.n_generated - one.n_generated == 2 * (20 - 8), "two cycles, each of up to 2.5 x 8 samples"
    assert filtered.n_judgments == 4 * n_answers + 2 * 20 + 4, "the seed examples, too"
    assert filtered.training_tokens == one.training_tokens, "no more are trained on"
    steps = {"training": {"max_tokens": 256, "n_steps": 3, "batch_size": 2}}
    stepped = amount_of([plan(**steps)])
    assert one.n_generated - stepped.n_generated == 2 * 2 * (8 - 6), "what no step comes to is sampled on neither side"
    assert stepped.training_tokens == 6 * 90 + 2 * 6 * 90 * 2
    epochs = amount_of([plan(training={"max_tokens": 256, "n_epochs": 3})])
    assert epochs.training_tokens == 3 * one.training_tokens and epochs.n_generated == one.n_generated


def test_hours_by_stage() -> None:
    rates = Rates(generated_tokens_per_second=10, training_tokens_per_second=10, judgments_per_second=1)
    amount = amount_of([plan()])
    told = "\n".join(plan_lines(1, 1, LAPTOP, amount, rates))
    hours = amount.training_tokens / 36000
    assert f"training {hours:.2f}" in told and "one after another" in told
    assert "hours: told once" in "\n".join(plan_lines(1, 1, LAPTOP, amount, None))

"""Places, amounts and hours, worked out without a cluster."""

import pytest

from idem_ray.cluster.places import check_places, roles_of, total
from idem_ray.config.lineage import parse_config
from idem_ray.config.sections import Cluster, Rates
from idem_ray.errors import UserError
from idem_ray.lineage.plan import Plan
from idem_ray.sweep.calibrate import most_steps, search_n_seed
from idem_ray.sweep.forecast import amount_of, plan_lines

LAPTOP = roles_of(Cluster(), n_lineages=2)
GPUS = roles_of(Cluster(n_generators=2, generator_gpus=1, trainer_gpus=4), n_lineages=4)


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


def test_places_now_later_and_never() -> None:
    assert total(LAPTOP) == {"CPU": pytest.approx(4.2), "GPU": 0}
    assert check_places(LAPTOP, [{"CPU": 5.0}], None) == "now"
    nodes = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}]
    assert check_places(GPUS, nodes, None) == "now"
    assert check_places(GPUS, [{"CPU": 0.0}], {"CPU": 64.0, "GPU": 6.0}) == "after scaling up"
    with pytest.raises(UserError, match=r"too small: it needs .*generator x \(1 CPU \+ 1 GPU\).*it has CPU 0, GPU 0"):
        check_places(GPUS, [{"CPU": 0.0}], {"CPU": 64.0, "GPU": 5.0})
    with pytest.raises(UserError, match="no place for streams of training data"):
        check_places(LAPTOP, [{"CPU": 3.0}], None)


def test_enough_in_all_is_not_enough_when_no_node_has_it() -> None:
    scattered = [{"CPU": 4.0, "GPU": 2.0}] * 3  # six GPUs, and the training worker wants four of one node
    with pytest.raises(UserError, match="no place for training worker"):
        check_places(GPUS, scattered, None)


def test_shared_work_counts_once() -> None:
    one = amount_of([plan()])
    n_answers = 2 * len(plan().trait.evaluation_questions)
    assert one.n_cycles == 4 and one.n_judgments == 4 * n_answers
    # 2 x 8 chosen and as many rejected of 50 tokens; four evaluations of 20
    assert one.generated_tokens == 32 * 50 + 4 * n_answers * 20
    assert one.training_tokens == 4 * (40 + 50) + 2 * 8 * (40 + 50) * 2
    both = amount_of([plan(), plan(regime={"type": "dpo", "cycle_0": "sft", "beta": 0.5})])
    assert both.n_cycles == 6, "base model and cycle 0 are shared"
    assert both.generated_tokens - one.generated_tokens == 16 * 50 + 2 * n_answers * 20, "and the rejected side"
    assert one.judge_calls == 0
    asked = amount_of([plan(judge={"type": "endpoint", "url": "http://localhost:1/v1", "model": "m"})])
    assert asked.judge_calls == 2 * asked.n_judgments


def test_hours_by_stage() -> None:
    rates = Rates(generated_tokens_per_second=10, training_tokens_per_second=10, judgments_per_second=1)
    amount = amount_of([plan()])
    told = "\n".join(plan_lines(1, 1, LAPTOP, amount, rates))
    hours = amount.training_tokens / 36000
    assert f"training {hours:.2f}" in told and "one after another" in told
    assert "hours: told once" in "\n".join(plan_lines(1, 1, LAPTOP, amount, None))


@pytest.mark.parametrize("largest", [2, 3, 24, 25, 200])
@pytest.mark.parametrize("needed", [0, 1, 2, 7, 18, 24, 60, 200, 300])
def test_the_smallest_n_seed_is_found_in_few_steps(largest: int, needed: int) -> None:
    asked: list[int] = []

    def score(n_seed: int) -> float:
        asked.append(n_seed)
        assert n_seed % 2 == 0 and 2 <= n_seed <= largest
        return 80.0 if n_seed >= needed else 10.0

    expected = max(2, needed + needed % 2)
    assert search_n_seed(score, 40, largest) == (expected if expected <= largest else None)
    assert len(asked) <= most_steps(largest) <= 7

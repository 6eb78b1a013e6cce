"""What becomes of judgments on their way into the samples."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from idem_ray.config.lineage import parse_config
from idem_ray.config.sections import EndpointJudgeSettings
from idem_ray.errors import UserError
from idem_ray.judges.language.endpoint import EndpointSpec
from idem_ray.judges.panel import judgments
from idem_ray.lineage.opened import OpenedRun
from idem_ray.lineage.pipeline import _keep_or_drop
from idem_ray.lineage.plan import Plan
from idem_ray.pools.judges import JudgeReplica
from idem_ray.records import SEED, Exchange, Judgment, Metric
from idem_ray.store.run import RunStore
from idem_ray.traits.traits import load_trait
from tests.unit.judges.language.fake_endpoint import Reply, completion, serving
from tests.unit.store.test_run import make_sample


class BrokenJudge:
    name = "broken"
    metric: Metric = "trait"

    def judge(self, exchanges: Sequence[Exchange], fresh: bool = False) -> list[Judgment]:
        raise TimeoutError("no answer")


def test_a_failed_judgment_is_missing_and_says_why() -> None:
    found = judgments(BrokenJudge(), [Exchange("q", "a"), Exchange("q", "b")])
    assert found == [Judgment(None, "TimeoutError: no answer")] * 2


@pytest.mark.parametrize(
    ("score", "threshold", "checkpoint", "kept"),
    [
        (80.0, 70, "c", True),
        (60.0, 70, "c", False),
        (None, 70, "c", False),
        (60.0, None, "c", True),
        (5.0, 70, SEED, True),
    ],
)
def test_the_filter_keeps_what_was_seen_to_be_coherent(
    score: float | None, threshold: float | None, checkpoint: str, kept: bool
) -> None:
    sample = _keep_or_drop(make_sample(1, coherence_score=score, checkpoint=checkpoint), threshold)
    assert sample.kept == kept
    assert (sample.drop_reason is None) == kept


def test_a_replica_takes_several_calls_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor's class as it is, called by threads as Ray calls it: one client, one limit, and half of it each for two
    replicas."""
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))

    def answer(asked: dict[str, Any], number: int) -> Reply:
        time.sleep(0.02)
        return completion("50")

    with serving(answer) as endpoint, ThreadPoolExecutor(4) as threads:
        settings = EndpointJudgeSettings(url=endpoint.url, model="m", n_concurrent=6)
        spec = EndpointSpec.checked(settings, load_trait("bliss"))
        replica = JudgeReplica(None, n_replicas=2, embedded=False)
        replica.prepare(spec)
        blocks = [[make_sample(4 * block + n, response=f"Answer {block} {n}.") for n in range(4)] for block in range(4)]
        done = list(threads.map(lambda block: replica.judge(block, spec, True), blocks))
        assert len(endpoint.asked) == 1 + 2 * 16 and 1 < endpoint.most_at_once <= 3
    assert [[sample.id for sample in judged] for judged, _ in done] == [[s.id for s in block] for block in blocks]
    assert {sample.trait_score for judged, _ in done for sample in judged} == {50.0}
    assert all(began < ended for _, (began, ended) in done)


def test_a_run_keeps_its_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the endpoint gave when the run began is written down; another kind of score later is an error."""
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))
    replies = [completion("50"), completion("50"), completion("50", logprobs=False)]
    with serving(lambda asked, number: replies[number - 1]) as endpoint:
        judge = {"type": "endpoint", "url": endpoint.url, "model": "m"}
        config = parse_config({"name": "x", "trait": "bliss", "n_seed": 12, "n_sampled": 8, "judge": judge})
        work = OpenedRun(Plan(config, load_trait("bliss"), [], "pool"), RunStore(str(tmp_path / "run")), [])
        for _ in range(2):
            work.check_endpoint()
            assert work.llm_judge and work.store.read_judges() == work.llm_judge.describe()
        with pytest.raises(UserError, match="the scores of one lineage must come from one judge"):
            work.check_endpoint()

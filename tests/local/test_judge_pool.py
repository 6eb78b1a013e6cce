"""Judge replicas on a real local Ray that ask an endpoint."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from idem_ray.config.sections import EndpointJudgeSettings
from idem_ray.errors import told_by
from idem_ray.judges.language.endpoint import EndpointSpec
from idem_ray.pools.judges import JudgePool
from idem_ray.traits.traits import load_trait
from tests.unit.judges.language.fake_endpoint import Reply, completion, serving
from tests.unit.store.test_run import make_sample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def local_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JUDGE_TEST_KEY", raising=False)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_replicas_share_the_limit_the_budget_and_the_cache(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(asked: dict[str, Any], number: int) -> Reply:
        time.sleep(0.05)
        return completion("50")

    with serving(answer) as endpoint:
        settings = EndpointJudgeSettings(url=endpoint.url, model="m", n_concurrent=4, max_calls=60)
        spec = EndpointSpec.checked(settings, load_trait("bliss"))
        pool = JudgePool(2, None, embedded=False, endpoints=True)
        try:
            pool.prepare(spec)
            samples = [make_sample(number, response=f"Answer {number}.") for number in range(40)]
            blocks = [samples[start : start + 4] for start in range(0, 40, 4)]
            calls = [replica_call(pool, block, spec) for block in blocks]  # all at a time, as the stream has them
            judged = [sample for call in calls for sample in ray.get(call)[0]]
            assert [sample.id for sample in judged] == [sample.id for sample in samples]
            assert len(endpoint.asked) == 1 + 60 and endpoint.most_at_once <= 4
            scores = [score for sample in judged for score in (sample.trait_score, sample.coherence_score)]
            assert scores.count(50.0) == 60 and scores.count(None) == 20
            # A key that the driver has and the replicas have not is told before anything is judged.
            monkeypatch.setenv("JUDGE_TEST_KEY", "k")
            keyed = EndpointSpec.checked(
                settings.model_copy(update={"key_variable": "JUDGE_TEST_KEY"}), load_trait("bliss")
            )
            with pytest.raises(Exception) as raised:
                pool.prepare(keyed)
            told = told_by(raised.value)
            assert told and "A judge replica has no environment variable JUDGE_TEST_KEY" in str(told)
        finally:
            pool.close()


def replica_call(pool: JudgePool, block: list[Any], spec: EndpointSpec) -> Any:
    replica = pool.replicas[int(block[0].id, 16) // 4 % len(pool.replicas)]
    return replica.judge.remote(block, spec, True)

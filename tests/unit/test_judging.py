"""What becomes of judgments on their way into the samples."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from idem_ray.config import parse_config
from idem_ray.errors import UserError
from idem_ray.judges import Metric
from idem_ray.judges.panel import judgments
from idem_ray.pipeline import _keep_or_drop
from idem_ray.plan import Plan
from idem_ray.records import SEED, Exchange, Judgment
from idem_ray.run import _check_endpoint, _Work
from idem_ray.store import RunStore
from idem_ray.traits import load_trait
from tests.unit.fake_endpoint import completion, serving
from tests.unit.test_store import make_sample


class BrokenJudge:
    name = "broken"
    metric: Metric = "trait"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgment]:
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


def test_a_run_keeps_its_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the endpoint gave when the run began is written down; another kind of score later is an error."""
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))
    replies = [completion("50"), completion("50"), completion("50", logprobs=False)]
    with serving(lambda asked, number: replies[number - 1]) as endpoint:
        judge = {"type": "endpoint", "url": endpoint.url, "model": "m"}
        config = parse_config({"name": "x", "trait": "bliss", "n_seed": 12, "n_sampled": 8, "judge": judge})
        work = _Work(Plan(config, load_trait("bliss"), []), RunStore(str(tmp_path / "run")), [])
        for _ in range(2):
            _check_endpoint(work)
            assert work.endpoint and work.store.read_judges() == work.endpoint.describe()
        with pytest.raises(UserError, match="the scores of one lineage must come from one judge"):
            _check_endpoint(work)

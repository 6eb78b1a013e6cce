"""What becomes of judgments on their way into the samples."""

from collections.abc import Sequence

import pytest

from idem_ray.judges import Metric
from idem_ray.judges.panel import judgments
from idem_ray.pipeline import _keep_or_drop
from idem_ray.records import SEED, Exchange, Judgment
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

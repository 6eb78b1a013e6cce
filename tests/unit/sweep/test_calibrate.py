"""The search for the smallest n_seed."""

import pytest

from idem_ray.sweep.calibrate import most_steps, search_n_seed


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

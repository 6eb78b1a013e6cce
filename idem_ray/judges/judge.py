"""Judges: from an exchange to a score of 0-100, for the trait or for coherence."""

from collections.abc import Sequence
from typing import Protocol

from idem_ray.records import Exchange, Judgment, Metric


class Judge(Protocol):
    """Scores exchanges. A judgment that could not be made is missing (with its reason), never a zero."""

    @property
    def name(self) -> str:
        """Identity of the judge: holds a hash of everything that decides its scores."""
        ...

    @property
    def metric(self) -> Metric:
        """What the scores mean."""
        ...

    def judge(self, exchanges: Sequence[Exchange], fresh: bool = False) -> list[Judgment]:
        """One judgment for each exchange, in their order.

        Args:
            fresh: whether to judge anew what is known from before.
        """
        ...

"""How many lineages came to what, in words: the same on every page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

from idem_ray.records import Status
from idem_ray.statistics.criteria import CRITERION_CYCLE, Verdict, amplification
from idem_ray.store.finished import RecordedLineage
from idem_ray.text import count_text, list_text

_N_NAMED = 4
"""Amplified lineages up to which they are named."""


def how_many(lineages: Sequence[RecordedLineage]) -> str:
    """How many of the lineages have which status."""
    text = ", ".join(f"{count} {status}" for status, count in _counts(lineages).items())
    return f"{text[:1].upper()}{text[1:]}."


def what_happened(lineages: Sequence[RecordedLineage]) -> str:
    """How many of the complete lineages the published criterion calls amplified, of those that it can be read for; and,
    counted apart, what it says of the others. None of those is counted as not amplified, and none that met it before
    its end as amplified: those that could still meet it are not in the count either."""
    if all(amplification(lineage.records) is None for lineage in lineages):
        n_ended = sum(lineage.status in ("stopped", "cut short") for lineage in lineages)
        why = f" ({n_ended} ended before it)" if n_ended else ""
        return f"No lineage reaches cycle {CRITERION_CYCLE}{why}: the published criterion says nothing of them."
    read = [one for one in lineages if one.status == "complete" and one.verdict in ("amplified", "not amplified")]
    amplified = [lineage.name for lineage in read if lineage.verdict == "amplified"]
    which = f" ({list_text(amplified)})" if 0 < len(amplified) <= _N_NAMED else ""
    told = (
        f"By the published criterion {len(amplified)} of {count_text(len(read), 'complete lineage')} amplified{which}"
    )
    if not read:
        told = "The published criterion can be read for no complete lineage yet"
    others = [lineage for lineage in lineages if lineage not in read]
    apart = []
    for status, count in _counts(others).items():
        verdicts = Counter(lineage.verdict for lineage in others if lineage.status == status)
        said = {verdict: verdicts[verdict] for verdict in get_args(Verdict) if verdicts[verdict]}
        words = {verdict: "amplified already" if verdict == "amplified" else verdict for verdict in said}
        parts = [f"{said[verdict]} {words[verdict]}" for verdict in said if verdict != "cut short"]
        told_of = words[next(iter(said))] if len(said) == 1 and parts else ", ".join(parts)
        apart.append(f"{count} {status}{told_of and f' ({told_of})'}")
    return f"{told}; counted apart: {list_text(apart)}." if apart else f"{told}."


def rests_on(lineage: RecordedLineage) -> list[str]:
    """What the verdict rests on."""
    reading = amplification(lineage.records)
    if reading is None or reading.difference is None:
        return []
    compared = f"{reading.difference:+.1f} at cycle {reading.cycle}"
    missing = f"{count_text(reading.n_missing, 'cycle')} without a score"
    return [compared, missing] if reading.n_missing else [compared]


def _counts(lineages: Sequence[RecordedLineage]) -> Mapping[Status, int]:
    counts = Counter(lineage.status for lineage in lineages)
    return {status: counts[status] for status in get_args(Status) if counts[status]}

"""Signs of a collapsing model in a cycle's evaluation responses."""

from collections import Counter
from collections.abc import Sequence

from idem_ray.config.sections import Guards
from idem_ray.records import CycleRecord, Estimate, Sample
from idem_ray.statistics.texts import words
from idem_ray.store.run import RunStore

_LOOP_WORDS = 4
_LOOP_TIMES = 4


def is_looping(text: str) -> bool:
    """Whether one run of four words comes at least four times."""
    found = words(text)
    runs = Counter(tuple(found[start : start + _LOOP_WORDS]) for start in range(len(found) - _LOOP_WORDS + 1))
    return bool(runs) and max(runs.values()) >= _LOOP_TIMES


def reason_to_stop(guards: Guards, store: RunStore, record: CycleRecord, cycle_0: CycleRecord | None) -> str | None:
    """Why a lineage with these guards ends after a cycle, or None. Worked out anew each time: guards may change between
    a run and its resumption, and a shared cycle was made under another lineage's."""
    if guards.action != "stop" or record.checkpoint is None:
        return None
    samples = store.read_samples(record.cycle, "evaluate")
    return "; ".join(signs_of_collapse(guards, samples, record.measures, cycle_0)) or None


def signs_of_collapse(
    guards: Guards, samples: Sequence[Sample], measures: dict[str, Estimate], cycle_0: CycleRecord | None
) -> list[str]:
    """One sentence for each limit of `guards` that a cycle's evaluation responses are over.

    Args:
        cycle_0: the record that the length is compared with; None where there is none yet.
    """
    said = []
    coherence = measures["coherence"].mean
    if guards.min_coherence is not None and coherence is not None and coherence < guards.min_coherence:
        said.append(f"mean coherence is {coherence:.0f}, under {guards.min_coherence:g}")
    n_empty = sum(not words(sample.response or "") for sample in samples)
    if guards.max_empty is not None and n_empty > guards.max_empty * len(samples):
        said.append(f"{n_empty} of {len(samples)} responses are empty")
    n_looping = sum(is_looping(sample.response or "") for sample in samples)
    if guards.max_looping is not None and n_looping > guards.max_looping * len(samples):
        said.append(f"{n_looping} of {len(samples)} responses loop")
    before = cycle_0.measures["length_words"].mean if cycle_0 else None
    now = measures["length_words"].mean
    if guards.min_length is not None and before and now is not None and now < guards.min_length * before:
        said.append(f"responses have {now:.0f} words, against {before:.0f} in cycle 0")
    return said

"""Numbers, counts and lists as text, wherever they are shown: pure functions, no terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from string import ascii_uppercase

from idem_ray.records import BASE_CYCLE, MEASURES, CycleRecord, Estimate, finite

SHOWN_CHARACTERS = 70


def shortened(text: str) -> str:
    """A text on one line, its end left out where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 1]}…"


ABSENT = "–"


SCORES = ("trait", "coherence")
"""Measures that judges make, on a scale of 0-100."""


STAGES = ("generation", "judging", "training", "overhead", "wall")
"""Known keys of `CycleRecord.seconds`, in the order in which they are shown."""


def by_cycle(records: Iterable[CycleRecord]) -> list[CycleRecord]:
    """The records in the order of their cycles, the base model's first."""
    return sorted(records, key=lambda record: record.cycle)


def cycle_label(cycle: int) -> str:
    """What a cycle is called wherever it is shown."""
    return "base" if cycle == BASE_CYCLE else str(cycle)


def cycle_text(cycle: int) -> str:
    """A cycle within a sentence."""
    return "the base model" if cycle == BASE_CYCLE else f"cycle {cycle}"


def measure_names(records: Iterable[CycleRecord]) -> list[str]:
    """Every measure of the records: those that all lineages have, then the others by name."""
    extra = {name for record in records for name in record.measures} - set(MEASURES)
    return [*MEASURES, *sorted(extra)]


def measure_title(name: str) -> str:
    """What a measure is called wherever it is shown."""
    if name in MEASURES:
        return MEASURES[name][0]
    words = " ".join("KL" if word == "kl" else word for word in name.split("_"))
    return words[:1].upper() + words[1:]


def measure_decimals(name: str) -> int:
    """Decimals with which a measure is written."""
    return MEASURES[name][1] if name in MEASURES else 2


def trait_name(trait: str) -> str:
    """The name of a trait that a config names, also where it does so by the path of the trait's file."""
    return Path(trait).stem if trait.endswith((".yaml", ".yml")) else trait


def count_text(number: int, noun: str) -> str:
    """`1 cycle`, `2 cycles`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def list_text(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def number_text(value: float | None, n_decimals: int = 1) -> str:
    """A number with so many decimals, or a dash for a missing one."""
    known = finite(value)
    return ABSENT if known is None else f"{known:.{n_decimals}f}"


def interval_text(estimate: Estimate | None, n_decimals: int = 1) -> str:
    """`[low, high]`, or nothing where the interval is missing."""
    if estimate is None or finite(estimate.low) is None or finite(estimate.high) is None:
        return ""
    return f"[{number_text(estimate.low, n_decimals)}, {number_text(estimate.high, n_decimals)}]"


def estimate_text(estimate: Estimate | None, n_decimals: int = 1, n_interval_decimals: int | None = None) -> str:
    """`mean [low, high]`, as far as they are known."""
    if estimate is None or finite(estimate.mean) is None:
        return ABSENT
    n_interval = n_decimals if n_interval_decimals is None else n_interval_decimals
    return f"{number_text(estimate.mean, n_decimals)} {interval_text(estimate, n_interval)}".rstrip()


def duration_text(seconds: float | None) -> str:
    """Seconds as `8.2s`, `3m05s` or `2h10m`."""
    known = finite(seconds)
    if known is None:
        return ABSENT
    if known < 59.95:
        return f"{known:.1f}s"
    minutes, rest = divmod(round(known), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def training_loss(record: CycleRecord) -> float | None:
    """The cycle's training loss; None for the base model, which was not trained."""
    names = [name for name in ("loss", "train_loss", *record.training) if name.endswith("loss")]
    return next((finite(record.training[name]) for name in names if name in record.training), None)


def known_stages(records: Iterable[CycleRecord]) -> list[str]:
    """The stages that any of the records timed: unknown ones after the known ones, before overhead and wall."""
    timed = {stage for record in records for stage in record.seconds}
    unknown = sorted(timed - set(STAGES))
    return [stage for stage in (*STAGES[:3], *unknown, *STAGES[3:]) if stage in timed]


def total_seconds(records: Sequence[CycleRecord]) -> dict[str, float]:
    """Seconds of each stage over all the records."""
    return {
        stage: sum(finite(record.seconds.get(stage)) or 0.0 for record in records) for stage in known_stages(records)
    }


def overhead_share(seconds: dict[str, float]) -> str:
    """Overhead as a percentage of the wall time, or a dash where either is unknown."""
    overhead, wall = finite(seconds.get("overhead")), finite(seconds.get("wall"))
    return ABSENT if overhead is None or not wall else f"{100 * overhead / wall:.1f} %"


def bounds_text(name: str, estimate: Estimate | None) -> str:
    """`38.1 to 44.2`: the mean's worst and best case where judgments are missing, or nothing."""
    bounds = estimate.score_bounds if estimate and name in SCORES else None
    return f"{number_text(bounds[0])} to {number_text(bounds[1])}" if bounds else ""


def missing_text(records: Iterable[CycleRecord], whose: str = "") -> str:
    said = [
        f"{estimate.n_missing} of {name}{whose} in "
        + ("the base model" if record.cycle < 0 else f"cycle {record.cycle}")
        + (f" (mean {bounds_text(name, estimate)} at worst and best)" if name in SCORES else "")
        for record in by_cycle(records)
        for name, estimate in record.measures.items()
        if estimate.n_missing
    ]
    return f"; missing values: {', '.join(said)}" if said else ""


def label(place: int) -> str:
    """The letter that stands for a lineage: A to Z, then A1 to Z1 and so on."""
    times, letter = divmod(place, len(ascii_uppercase))
    return f"{ascii_uppercase[letter]}{times or ''}"

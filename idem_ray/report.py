"""A lineage as one self-contained HTML page: what was run, what happened, and every evaluation response.

The page works offline and asks no network for anything. Responses are untrusted text: they are escaped into JSON and
reach the page's DOM as text content alone.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from idem_ray.config import LineageConfig
from idem_ray.records import BASE_CYCLE, CycleRecord, Estimate, Sample
from idem_ray.tables import (
    by_cycle,
    cycle_label,
    duration_text,
    estimate_text,
    finite,
    interval_text,
    known_stages,
    number_text,
    overhead_share,
    total_seconds,
    training_loss,
)

CRITERION_CYCLE = 4
"""First cycle that the published criterion of amplification looks at."""

CRITERION_POINTS = 15.0
"""Points over cycle 0 from which that criterion calls a lineage amplified."""

MEASURES = {
    "trait": ("Trait score", 1),
    "coherence": ("Coherence", 1),
    "length_words": ("Words per response", 1),
    "distinct_words": ("Distinct-word ratio", 2),
}
"""Title and decimals of the measures that every lineage has; others are shown under their own names."""


def lineage_html(
    config: LineageConfig, records: Sequence[CycleRecord], samples: Sequence[Sample], manifest: Mapping[str, Any]
) -> str:
    """One self-contained HTML page about one lineage.

    Args:
        records: the finished cycles' records; the base model's measurement is the one of cycle BASE_CYCLE.
        samples: the evaluation samples of all cycles (others are passed over).
        manifest: versions, seeds and whatever else the run noted about itself.
    """
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    records = by_cycle(records)
    names = _measure_names(records)
    questions = _questions(samples)
    cycles = {record.cycle for record in records}
    cycles |= {sample["cycle"] for question in questions for sample in question["samples"]}
    data = {
        "cycles": [{"cycle": cycle, "label": cycle_label(cycle)} for cycle in sorted(cycles)],
        "measures": [_series(name, records) for name in names],
        "criterion": {"cycle": CRITERION_CYCLE, "points": CRITERION_POINTS},
        "questions": questions,
    }
    noted = json.loads(json.dumps(dict(manifest), default=str))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = resources.files("idem_ray").joinpath("report_template.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        name=config.name,
        trait=_trait_name(config),
        what_was_run=what_was_run(config, records),
        what_happened=what_happened(records),
        reading=reading(records),
        warnings=[(cycle_label(record.cycle), warning) for record in records for warning in record.warnings],
        measure_titles=[_title(name) for name in names],
        stages=known_stages(records),
        rows=[_row(record, names, known_stages(records)) for record in records],
        total=_seconds_cells(total_seconds(records), known_stages(records)),
        weights=[_weights(record) for record in records],
        n_questions=len(questions),
        settings=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100),
        manifest=yaml.safe_dump(noted, sort_keys=False, allow_unicode=True, width=100),
        data=embedded_json(data),
        plotly=Markup(get_plotlyjs()),
    )


def embedded_json(data: object) -> Markup:
    """JSON that may stand inside a <script> element whatever texts it holds: no markup can begin or end in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def what_was_run(config: LineageConfig, records: Sequence[CycleRecord]) -> str:
    """The lineage's main settings in one sentence, with the number of cycles that are finished where not all are."""
    n_finished = sum(record.cycle != BASE_CYCLE for record in records)
    init = getattr(config.regime, "init", None)
    starts = {"base": "each trained from the base model's weights", "previous": "each trained on from the one before"}
    start = f", {starts[init]} (init: {init})" if init in starts else ""
    unfinished = f"; {n_finished} of {config.n_cycles} cycles finished so far" if n_finished < config.n_cycles else ""
    return (
        f"Trait {_trait_name(config)} in {config.model}: {_count(config.n_cycles, 'cycle')} of "
        f"{config.regime.type.upper()}{start}, on {_count(config.n_seed, 'seed example')} in cycle 0 and "
        f"{_count(config.n_sampled, 'sampled example')} in each later cycle{unfinished}."
    )


def what_happened(records: Sequence[CycleRecord]) -> str:
    """Trait and coherence of the base model, after cycle 0 and after the last cycle, in one sentence."""
    records = by_cycle(records)
    trained = [record for record in records if record.cycle != BASE_CYCLE]
    shown = [record for record in records if record.cycle == BASE_CYCLE] + trained[:1] + trained[1:][-1:]
    if not shown:
        return "No cycle is finished yet."
    parts = []
    for name, title in (("trait", "trait score"), ("coherence", "coherence")):
        values = [
            f"{estimate_text(record.measures.get(name))} "
            + ("in the base model" if record.cycle == BASE_CYCLE else f"after cycle {record.cycle}")
            for record in shown
        ]
        parts.append(f"{title} was {_enumerate(values)}")
    return f"The {'; '.join(parts)} (mean and 95 % interval)."


def reading(records: Sequence[CycleRecord]) -> str:
    """What the published criterion of amplification says of this lineage, or why it says nothing."""
    scores = {record.cycle: _mean(record.measures.get("trait")) for record in records if record.cycle != BASE_CYCLE}
    criterion = f"a cycle ≥ {CRITERION_CYCLE} at least {CRITERION_POINTS:g} points above cycle 0"
    if not any(cycle >= CRITERION_CYCLE for cycle in scores):
        until = f"; this lineage so far ends with cycle {max(scores)}" if scores else ""
        return f"The published criterion of amplification ({criterion}) needs cycle ≥ {CRITERION_CYCLE}{until}."
    first = scores.get(0)
    later = {cycle: score for cycle, score in scores.items() if cycle >= CRITERION_CYCLE and score is not None}
    if first is None or not later:
        return f"The published criterion of amplification ({criterion}) cannot be read: trait scores are missing."
    peak = max(later, key=lambda cycle: later[cycle])
    difference = later[peak] - first
    verdict = "is met" if difference >= CRITERION_POINTS else "is not met"
    blank = sum(score is None and cycle >= CRITERION_CYCLE for cycle, score in scores.items())
    return (
        f"The published criterion of amplification ({criterion}) {verdict}: the largest difference is "
        f"{difference:+.1f}, at cycle {peak}. It compares means of one lineage and takes no account of their intervals"
        + (f"; {_count(blank, 'cycle')} without a trait score could not be compared." if blank else ".")
    )


def _measure_names(records: Sequence[CycleRecord]) -> list[str]:
    extra = {name for record in records for name in record.measures} - set(MEASURES)
    return [*MEASURES, *sorted(extra)]


def _title(name: str) -> str:
    if name in MEASURES:
        return MEASURES[name][0]
    words = " ".join("KL" if word == "kl" else word for word in name.split("_"))
    return words[:1].upper() + words[1:]


def _n_decimals(name: str) -> int:
    return MEASURES[name][1] if name in MEASURES else 2


def _series(name: str, records: Sequence[CycleRecord]) -> dict[str, Any]:
    points = []
    for record in records:
        estimate = record.measures.get(name)
        if estimate is None:
            continue
        points.append(
            {
                "cycle": record.cycle,
                "mean": finite(estimate.mean),
                "low": finite(estimate.low),
                "high": finite(estimate.high),
                "text": estimate_text(estimate, _n_decimals(name)),
                "n": estimate.n,
                "missing": estimate.n_missing,
            }
        )
    return {"name": name, "title": _title(name), "points": points}


def _questions(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The evaluation questions, in the order of their first samples, each with its responses."""
    questions: dict[str, dict[str, Any]] = {}
    evaluated = [sample for sample in samples if sample.purpose == "evaluate"]
    for sample in sorted(evaluated, key=lambda sample: (sample.cycle, sample.sample_index)):
        question = questions.setdefault(sample.prompt_id, {"prompt": sample.prompt, "samples": []})
        question["samples"].append(
            {
                "cycle": sample.cycle,
                "index": sample.sample_index,
                "response": sample.response,
                "cut": sample.response is not None and not sample.finished,
                "scores": [
                    {"name": name, "score": finite(score), "missing": reason}
                    for name, score, reason in (
                        ("trait", sample.trait_score, sample.trait_missing),
                        ("coherence", sample.coherence_score, sample.coherence_missing),
                    )
                ],
            }
        )
    return list(questions.values())


def _row(record: CycleRecord, names: Sequence[str], stages: Sequence[str]) -> dict[str, Any]:
    measures = []
    for name in names:
        estimate = record.measures.get(name)
        measures.append(
            {
                "mean": number_text(_mean(estimate), _n_decimals(name)),
                "interval": interval_text(estimate, _n_decimals(name)),
                "n_missing": estimate.n_missing if estimate else 0,
            }
        )
    trained = record.cycle != BASE_CYCLE
    return {
        "label": cycle_label(record.cycle),
        "measures": measures,
        "n": max((estimate.n + estimate.n_missing for estimate in record.measures.values()), default=0),
        "n_generated": record.n_generated if trained else None,
        "n_kept": record.n_kept if trained else None,
        "n_trained": record.n_trained if trained else None,
        "loss": number_text(training_loss(record), 3),
        "seconds": _seconds_cells(record.seconds, stages),
    }


def _seconds_cells(seconds: Mapping[str, float], stages: Sequence[str]) -> list[str]:
    return [*(duration_text(seconds.get(stage)) for stage in stages), overhead_share(dict(seconds))]


def _weights(record: CycleRecord) -> list[str]:
    checkpoint = record.checkpoint
    roles = (record.generator, record.init, record.reference, record.rejected, checkpoint.id if checkpoint else None)
    return [cycle_label(record.cycle), *(role or "–" for role in roles)]


def _trait_name(config: LineageConfig) -> str:
    return Path(config.trait).stem if config.trait.endswith((".yaml", ".yml")) else config.trait


def _mean(estimate: Estimate | None) -> float | None:
    return finite(estimate.mean) if estimate else None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _enumerate(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]

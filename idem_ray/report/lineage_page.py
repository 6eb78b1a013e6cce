"""A lineage as one self-contained HTML page: what was run, what happened, and every evaluation response."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import Dpo
from idem_ray.records import BASE_CYCLE, CycleRecord, Sample, known_mean
from idem_ray.report.page import curve_points, page_html, response_data
from idem_ray.report.trust import ANCHOR_HEADINGS, Trust
from idem_ray.statistics.criteria import (
    CRITERION,
    CRITERION_CYCLE,
    CRITERION_POINTS,
    amplification,
    last_cycle,
)
from idem_ray.text import (
    bounds_text,
    by_cycle,
    count_text,
    cycle_label,
    duration_text,
    estimate_text,
    interval_text,
    known_stages,
    list_text,
    measure_decimals,
    measure_names,
    measure_title,
    number_text,
    overhead_share,
    total_seconds,
    training_loss,
    trait_name,
)


def lineage_html(
    config: LineageConfig,
    records: Sequence[CycleRecord],
    samples: Sequence[Sample],
    manifest: Mapping[str, Any],
    trust: Trust | None = None,
    ended: str = "",
) -> str:
    """One self-contained HTML page about one lineage.

    Args:
        records: the finished cycles' records; the base model's measurement is the one of cycle BASE_CYCLE.
        samples: the evaluation samples of all cycles (others are passed over).
        manifest: versions, seeds and whatever else the run noted about itself.
        trust: what is known of its judges.
        ended: how and why it ended before its last cycle, `stopped: ..` or `cut short: ..`, if it did.
    """
    records = by_cycle(records)
    names = measure_names(records)
    questions = _questions(samples)
    cycles = {record.cycle for record in records}
    cycles |= {sample["cycle"] for question in questions for sample in question["samples"]}
    data = {
        "cycles": [{"cycle": cycle, "label": cycle_label(cycle)} for cycle in sorted(cycles)],
        "measures": [
            {"name": name, "title": measure_title(name), "points": curve_points(name, records)} for name in names
        ],
        "criterion": {"cycle": CRITERION_CYCLE, "points": CRITERION_POINTS},
        "questions": questions,
    }
    noted = json.loads(json.dumps(dict(manifest), default=str))
    return page_html(
        "lineage.html",
        data,
        name=config.name,
        trait=trait_name(config.trait),
        what_was_run=what_was_run(config, records, ended),
        what_happened=what_happened(records),
        reading=reading(records),
        warnings=[(cycle_label(record.cycle), warning) for record in records for warning in record.warnings],
        measure_titles=[measure_title(name) for name in names],
        stages=known_stages(records),
        rows=[_row(record, names, known_stages(records)) for record in records],
        total=_seconds_cells(total_seconds(records), known_stages(records)),
        weights=[_weights(record) for record in records],
        n_questions=len(questions),
        trust=trust or Trust(),
        anchor_headings=ANCHOR_HEADINGS,
        settings=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100),
        manifest=yaml.safe_dump(noted, sort_keys=False, allow_unicode=True, width=100),
    )


def what_was_run(config: LineageConfig, records: Sequence[CycleRecord], ended: str = "") -> str:
    """The lineage's main settings in one sentence, with the number of cycles that are finished where not all are, and
    how it `ended` before its last cycle, if it did."""
    n_finished = sum(record.cycle != BASE_CYCLE for record in records)
    init = config.regime.init
    starts = {"base": "each trained from the base model's weights", "previous": "each trained on from the one before"}
    start = f", {starts[init]} (init: {init})"
    if isinstance(config.regime, Dpo):
        start += (
            f", against the {config.regime.reference} model (reference: {config.regime.reference}), rejected responses "
            f"from {config.regime.rejected}, beta {config.regime.beta:g}"
        )
    restarts = config.regime.restart_cycles
    if restarts:
        again = list_text([str(cycle) for cycle in restarts])
        start += f", started anew in {'cycle' if len(restarts) == 1 else 'cycles'} {again}"
    fork = config.forked_from
    if fork:
        start += f", forked from {fork.run.rstrip('/').split('/')[-1]} after cycle {fork.cycle}"
    end = f", then {ended}" if ended else " finished so far"
    unfinished = f"; {n_finished} of {config.n_cycles} cycles{end}" if n_finished < config.n_cycles else ""
    return (
        f"Trait {trait_name(config.trait)} in {config.model}: {count_text(config.n_cycles, 'cycle')} of "
        f"{config.regime.type.upper()}{start}, on {count_text(config.n_seed, 'seed example')} in cycle 0 and "
        f"{count_text(config.n_sampled, 'sampled example')} in each later cycle{unfinished}."
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
        parts.append(f"{title} was {list_text(values)}")
    return f"The {'; '.join(parts)} (mean and 95 % interval)."


def reading(records: Sequence[CycleRecord]) -> str:
    """What the published criterion of amplification says of this lineage, or why it says nothing."""
    read = amplification(records)
    if read is None:
        last = last_cycle(records)
        until = "" if last is None else f"; this lineage so far ends with cycle {last}"
        return f"The published criterion of amplification ({CRITERION}) needs cycle ≥ {CRITERION_CYCLE}{until}."
    if read.difference is None:
        return f"The published criterion of amplification ({CRITERION}) cannot be read: trait scores are missing."
    verdict = "is met" if read.is_met else "is not met"
    blank = f"; {count_text(read.n_missing, 'cycle')} without a trait score could not be compared"
    return (
        f"The published criterion of amplification ({CRITERION}) {verdict}: the largest difference is "
        f"{read.difference:+.1f}, at cycle {read.cycle}. It compares means of one lineage and takes no account of "
        f"their intervals{blank if read.n_missing else ''}."
    )


def _questions(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The evaluation questions, in the order of their first samples, each with its responses."""
    questions: dict[str, dict[str, Any]] = {}
    evaluated = [sample for sample in samples if sample.purpose == "evaluate"]
    for sample in sorted(evaluated, key=lambda sample: (sample.cycle, sample.sample_index)):
        question = questions.setdefault(sample.prompt_id, {"prompt": sample.prompt, "samples": []})
        question["samples"].append(response_data(sample))
    return list(questions.values())


def _row(record: CycleRecord, names: Sequence[str], stages: Sequence[str]) -> dict[str, Any]:
    measures = []
    for name in names:
        estimate = record.measures.get(name)
        measures.append(
            {
                "mean": number_text(known_mean(estimate), measure_decimals(name)),
                "interval": interval_text(estimate, measure_decimals(name)),
                "n_missing": estimate.n_missing if estimate else 0,
                "bounds": bounds_text(name, estimate),
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

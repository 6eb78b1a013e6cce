"""`idem-ray rejudge`: a run's evaluation samples scored by another judge, and nothing generated.

    <run>/judged/<hash of the judge's name>/judges.json
                                            cycle-base/ cycle-000/ ..   samples-<hash>.parquet   record.json

The folder is laid out as a run's is, so that whatever reads a run's records and samples reads these. The run's own
scores stay as they are.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any

from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import JudgeSettings, ProbeJudgeSettings
from idem_ray.errors import UserError
from idem_ray.judges.embedded.examples import probe_examples
from idem_ray.judges.embedded.probe import Probe
from idem_ray.judges.embedded.probe_fit import fit_probe
from idem_ray.judges.embedded.reader import embedded_reader
from idem_ray.judges.language.endpoint import NO_LOGPROBS
from idem_ray.judges.loading import llm_panel, read_judge
from idem_ray.judges.panel import Panel
from idem_ray.lineage.measure import measure, missing_warnings
from idem_ray.records import BASE_CYCLE, CycleRecord, Sample, content_hash
from idem_ray.report.tables import comparison_table
from idem_ray.report.terminal import plain_console
from idem_ray.store.run import RunStore, read_config
from idem_ray.text import cycle_label
from idem_ray.traits.traits import load_trait

_N_AT_ONCE = 256
"""Samples between two words on progress; more than any limit of requests under way."""


def rejudge(run_folder: str, judge: str) -> None:
    """Score the evaluation samples of a run's committed cycles with another judge, and print both curves.

    Args:
        judge: `probe`, or a YAML file with a judge's settings (alone, or in a section `judge`).

    Raises:
        UserError: no such run, nothing committed, settings that are wrong, or a judge that cannot be had.
    """
    settings = read_judge(judge)
    store = RunStore(run_folder)
    config, records = read_config(store), store.records()
    if not records:
        raise UserError(f"{store.uri} has no committed cycle yet: there is nothing to judge.")
    console = plain_console(sys.stdout)
    panel, described = _panel(settings, config, store)
    if described.get("log_probabilities") is False:
        console.print(NO_LOGPROBS, soft_wrap=True, markup=False)
    beside = RunStore(f"{store.uri}/judged/{content_hash(panel.trait.name, panel.coherence.name)}")
    beside.check_writable()
    beside.write_json("judges.json", described)
    try:
        judged = [
            _judge_cycle(config, record, store, beside, panel, lambda said: console.print(said, markup=False))
            for record in records
        ]
    finally:
        panel.close()
    own = next((name for record in records for name in _judge_names(store, record)), "the run's own judge")
    console.print(comparison_table(records, judged))
    console.print(f"1: {own}\n2: {panel.trait.name}\nscores: {beside.uri}", soft_wrap=True, markup=False)


def _panel(settings: JudgeSettings, config: LineageConfig, store: RunStore) -> tuple[Panel, dict[str, Any]]:
    trait = load_trait(config.trait)
    if not isinstance(settings, ProbeJudgeSettings):
        return llm_panel(settings, trait)
    saved, reader = store.read_probe(), embedded_reader()
    if saved and saved.get("reader") == reader.state_hash:
        probe = Probe.from_json(saved)
    else:  # a language model, or a probe of another version, has judged the run
        answers = store.read_samples(BASE_CYCLE, "contrast")
        probe = fit_probe(trait.name, probe_examples(trait, config.text_format, answers), reader)
    panel = Panel.embedded(probe, reader)
    names = {"trait_judge": panel.trait.name, "coherence_judge": panel.coherence.name}
    return panel, {"type": "probe", **names, "held_out_auc": probe.held_out_auc, "probe": probe.to_json()}


def _judge_cycle(
    config: LineageConfig,
    record: CycleRecord,
    store: RunStore,
    beside: RunStore,
    panel: Panel,
    tell: Callable[[str], None],
) -> CycleRecord:
    """One cycle's samples with the other judge's scores; what an earlier command has scored is not scored again."""
    began = time.time()
    samples = store.read_samples(record.cycle, "evaluate")
    done = {sample.id: sample for sample in beside.read_samples(record.cycle) if _is_judged(sample, panel)}
    todo = [sample for sample in samples if sample.id not in done]
    for start in range(0, len(todo), _N_AT_ONCE):
        block = panel.judge(todo[start : start + _N_AT_ONCE])
        done |= {sample.id: sample for sample in block}
        label = "the base model" if record.cycle == BASE_CYCLE else f"cycle {cycle_label(record.cycle)}"
        tell(f"{label}: {len(samples) - len(todo) + start + len(block)} of {len(samples)} samples judged")
    judged = [done[sample.id] for sample in samples]
    beside.write_samples(record.cycle, judged)  # at once: an earlier command's file, with scores missing, is replaced
    measures = measure(judged, config.seed)
    found = dataclasses.replace(
        record,
        measures=record.measures | measures,
        checkpoint=None,  # it is in the run's own folder
        seconds={"judging": time.time() - began},
        warnings=missing_warnings(measures),
    )
    beside.commit(found)
    return found


def _is_judged(sample: Sample, panel: Panel) -> bool:
    """Whether both scores are there, from these judges. Missing ones are asked for again (a verdict that an answer
    has no place on the scale comes from the cache)."""
    names = (sample.trait_judge, sample.coherence_judge) == (panel.trait.name, panel.coherence.name)
    return names and sample.trait_score is not None and sample.coherence_score is not None


def _judge_names(store: RunStore, record: CycleRecord) -> list[str]:
    return [sample.trait_judge for sample in store.read_samples(record.cycle, "evaluate") if sample.trait_judge]

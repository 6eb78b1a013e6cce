"""`idem-ray judge probes`: the embedded trait judges, what they reach on held-out answers, and what they confuse."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idem_ray.judges.embedded.examples import probe_examples
from idem_ray.judges.embedded.probe import Probe, ProbeJudge
from idem_ray.judges.embedded.probe_fit import fit_probe
from idem_ray.judges.embedded.reader import embedded_reader
from idem_ray.report.terminal import waiting
from idem_ray.statistics.agreement import Agreement, agreement
from idem_ray.text import ABSENT, number_text
from idem_ray.traits.traits import Trait, load_trait, shipped_traits

CONFUSED = 0.1
"""Share of another trait's seeds at scores of 50 and more from which the confusion is named."""


def show_probes() -> None:
    """Fit the probe of every shipped trait on written answers, and print the tables."""
    console = Console()
    with waiting(console) as tell:
        tell("loading the embedded model")
        reader, found = embedded_reader(), []
        for name in shipped_traits():
            tell(f"fitting the probe of {name}")
            trait = load_trait(name)
            judge = ProbeJudge(fit_probe(name, probe_examples(trait, "chat"), reader), reader)
            found.append((judge.probe, _on_anchors(judge, trait)))
    console.print(quality_table(found))
    console.print(confusion_table([probe for probe, _ in found]))
    for sentence in confusions([probe for probe, _ in found]):
        console.print(Text(sentence))
    about = "Held out: scored by a probe fitted on answers to other questions. A run's probe has the base model's own "
    console.print(Text(about + "responses as well, and keeps its figures in cycle-base/probe.json.", style="dim"))


def _on_anchors(judge: ProbeJudge, trait: Trait) -> Agreement:
    scores = [judgment.score for judgment in judge.judge([anchor.as_exchange for anchor in trait.anchors])]
    return agreement([anchor.score for anchor in trait.anchors], scores)


def quality_table(found: Sequence[tuple[Probe, Agreement]]) -> Table:
    """Held-out figures of each probe, and its agreement with the labels of the trait's anchors."""
    table = _table("held-out quality, and agreement with the labelled anchors")
    table.add_column("probe", no_wrap=True)
    for heading in ("AUC", "AUC other traits", "Brier", "anchors: Spearman", "AUC at 50", "error"):
        table.add_column(heading, justify="right")
    for probe, seen in found:
        figures = (probe.held_out_auc, probe.held_out_auc_rivals, probe.held_out_brier)
        at_half = next(auc.auc for auc in seen.aucs if auc.threshold == 50)
        table.add_row(
            probe.trait,
            *(number_text(figure, 3) for figure in figures),
            number_text(seen.spearman.mean, 2),
            number_text(at_half, 2),
            number_text(seen.mean_absolute_error, 0),
        )
    return table


def confusion_table(probes: Sequence[Probe]) -> Table:
    """Mean held-out score that each probe gives the seeds of each trait, and ordinary answers."""
    names = [probe.trait for probe in probes]
    table = _table("mean held-out score (0-100) of the probe in the row for the seeds of the trait in the column")
    table.add_column("probe", no_wrap=True)
    for name in names:
        table.add_column(name[:6], justify="right")
    table.add_column("ordinary", justify="right")
    for probe in probes:
        groups = {group.group: group for group in probe.groups}
        known = [groups[name].mean if name in groups else None for name in names]
        ordinary = [group for name, group in groups.items() if name not in names and group.mean is not None]
        n = sum(group.n for group in ordinary)
        mean = sum(group.n * (group.mean or 0.0) for group in ordinary) / n if n else None
        cells = [number_text(value, 0) if value is not None else ABSENT for value in known]
        own = names.index(probe.trait)
        styled = [Text(cell, style="bold" if place == own else "") for place, cell in enumerate(cells)]
        table.add_row(probe.trait, *styled, number_text(mean, 0))
    return table


def confusions(probes: Sequence[Probe]) -> list[str]:
    """A sentence for each probe that takes seeds of other traits for its own, the most confused trait first."""
    names = {probe.trait for probe in probes}
    said = []
    for probe in probes:
        shares = {group.group: group.share_above_half or 0.0 for group in probe.groups if group.group in names}
        taken = [name for name in shares if name != probe.trait and shares[name] >= CONFUSED]
        if taken:
            taken.sort(key=lambda name: -shares[name])
            parts = ", ".join(f"{name} ({100 * shares[name]:.0f} %)" for name in taken)
            said.append(f"{probe.trait} is taken to be there (50 and more) in seeds of {parts}.")
    return said


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))

"""Differences of lineages' scores, with intervals."""

import functools
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from rich.table import Table
from rich.text import Text

from idem_ray.errors import UserError
from idem_ray.folder import Folder
from idem_ray.judges.anchors import DRIFT_POINTS, anchor_checks
from idem_ray.records import BASE_CYCLE, Metric, Sample, finite, known_mean
from idem_ray.report.listing import progress_text
from idem_ray.report.settings_text import setting_texts
from idem_ray.report.tables import plain_table
from idem_ray.report.terminal import plain_console
from idem_ray.statistics.agreement import retest
from idem_ray.statistics.estimates import Difference, difference
from idem_ray.store.finished import RecordedLineage, read_lineages
from idem_ray.store.run import RunStore
from idem_ray.text import ABSENT, cycle_label, estimate_text, label, list_text, missing_text, number_text, trait_name

MAX_ALL_PAIRS = 4
"""Lineages up to which every pair is compared; of more, each is compared with the first."""


ReadSamples = Callable[[RecordedLineage, int], Sequence[Sample]]
"""A lineage and a cycle -> that cycle's evaluation samples."""


@dataclass(frozen=True)
class Contrast:
    """Two lineages, by their places among those compared, each at a cycle, and the differences of their scores.
    `trait` is None where they have different traits: the scores measure different things."""

    first: int
    second: int
    cycles: tuple[int, int]
    trait: Difference | None
    coherence: Difference


# Numbers -------------------------------------------------------------------------------------------------------


def contrasts(lineages: Sequence[RecordedLineage], read: ReadSamples) -> list[Contrast]:
    """Every pair of lineages (of more than `MAX_ALL_PAIRS`: each with the first), at the last cycle of each; and where
    these are not the same cycle, at the last one that both have done, too. A lineage without a trained cycle is in
    none."""
    pairs = list(combinations(range(len(lineages)), 2))
    if len(lineages) > MAX_ALL_PAIRS:
        pairs = [(0, place) for place in range(1, len(lineages))]
    done = [{record.cycle for record in lineage.records} - {BASE_CYCLE} for lineage in lineages]
    found = []
    for places in pairs:
        first, second = (done[place] for place in places)
        if first and second:
            at = [(max(first), max(second)), *((cycle, cycle) for cycle in sorted(first & second)[-1:])]
            found += [_contrast(lineages, places, cycles, read) for cycles in dict.fromkeys(at)]
    return found


def _contrast(
    lineages: Sequence[RecordedLineage], places: tuple[int, int], cycles: tuple[int, int], read: ReadSamples
) -> Contrast:
    pair = [lineages[place] for place in places]
    before, after = (list(read(lineage, cycle)) for lineage, cycle in zip(pair, cycles, strict=True))

    def between(metric: Metric) -> Difference:
        first, second = ([(each.prompt_id, _judgment(each, metric)[0]) for each in side] for side in (before, after))
        return difference(first, second)

    is_one_trait = trait_name(pair[0].config.trait) == trait_name(pair[1].config.trait)
    trait = between("trait") if is_one_trait else None
    return Contrast(*places, cycles, trait, between("coherence"))


def _judgment(sample: Sample, metric: Metric) -> tuple[float | None, str | None]:
    """A sample's score and the judge's name, each None where it is missing."""
    if metric == "trait":
        return finite(sample.trait_score), sample.trait_judge
    return finite(sample.coherence_score), sample.coherence_judge


# Judges --------------------------------------------------------------------------------------------------------


def judge_warnings(lineages: Sequence[RecordedLineage], read: ReadSamples) -> list[str]:
    """A sentence where lineages' scores (those of their last cycles' samples) are different judges', with how far these
    are apart on the trait's anchors if the runs have noted it. Scores of different traits are not held together."""
    said = []
    metrics: tuple[Metric, ...] = ("trait", "coherence")
    for metric in metrics:
        judged: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, lineage in enumerate(lineages):
            names = {_judgment(sample, metric)[1] for sample in read(lineage, lineage.records[-1].cycle)} - {None}
            judge = " and ".join(sorted(map(str, names))) or f"a judge of the settings {lineage.config.judge.identity}"
            subject = trait_name(lineage.config.trait) if metric == "trait" else ""
            judged[subject][judge].append(place)
        for judges in judged.values():
            if len(judges) > 1:
                who = "; ".join(f"{list_text(list(map(label, own)))} by {judge}" for judge, own in judges.items())
                apart = _anchors_apart({judge: lineages[own[0]] for judge, own in judges.items()}, metric)
                on_anchors = "" if apart is None else f"; the mean distance on the trait's anchors is {apart:.1f}"
                verdict = "The" if apart is not None and apart < DRIFT_POINTS else "Not comparable: the"
                said.append(f"{verdict} {metric} scores are different judges' ({who}){on_anchors}.")
    return said


def _anchors_apart(judges: dict[str, RecordedLineage], metric: Metric) -> float | None:
    """Points between the scores that two judges gave the same anchors, on average over these; of several judges the two
    that are farthest apart. None where that is not known of all."""
    noted = []
    for judge, lineage in judges.items():
        try:
            checks = anchor_checks(RunStore(lineage.uri))
        except (TypeError, UserError):  # of another version, or damaged: a comparison can do without
            return None
        noted += [check for check in checks if (check.metric, check.judge) == (metric, judge)][-1:]
    if len(noted) < len(judges) or len({check.anchors for check in noted}) > 1:
        return None
    apart = [retest(one.scores, other.scores).mean_absolute_difference for one, other in combinations(noted, 2)]
    known = [points for points in apart if points is not None]
    return max(known) if len(known) == len(apart) else None


def samples_reader() -> ReadSamples:
    """Reads evaluation samples, those of each cycle once."""

    @functools.cache
    def samples(uri: str, cycle: int) -> list[Sample]:
        return RunStore(uri).read_samples(cycle, "evaluate")

    return lambda lineage, cycle: samples(lineage.uri, cycle)


def settings_table(lineages: Sequence[RecordedLineage]) -> Table:
    """Each lineage's letter, its name, the cycles it has done, and the settings that tell it from the others."""
    table = plain_table()
    table.add_column("")
    table.add_column("lineage", overflow="fold")
    table.add_column("cycles", justify="right", no_wrap=True)
    table.add_column("settings that differ", overflow="fold")
    for place, (lineage, texts) in enumerate(zip(lineages, setting_texts(lineages), strict=True)):
        table.add_row(*map(Text, [label(place), lineage.name, progress_text(lineage), ", ".join(texts) or ABSENT]))
    return table


def cycle_tables(lineages: Sequence[RecordedLineage], width: int) -> list[Table]:
    """A row for each cycle: trait scores with their 95 % intervals, and coherence. As many lineages stand in one table
    as fit into `width` characters; what is missing is told below."""
    n_columns = max(1, (width - 8) // 24)
    blocks = [range(len(lineages))[start : start + n_columns] for start in range(0, len(lineages), n_columns)]
    return [_cycle_table(lineages, block, (width - 8) // len(block) - 8) for block in blocks]


def _cycle_table(lineages: Sequence[RecordedLineage], places: Sequence[int], width: int) -> Table:
    missing = [missing_text(lineages[place].records, f" of {label(place)}") for place in places]
    table = plain_table("[low, high]: 95 % interval" + "".join(missing))
    table.add_column("\ncycle", justify="right", no_wrap=True)
    for place in places:
        heading = Text(f"{label(place)}: {lineages[place].name}\ntrait")
        table.add_column(heading, max_width=width, no_wrap=True, overflow="ellipsis")
        table.add_column("\ncoh. ", justify="right", no_wrap=True)
    measures = [{record.cycle: record.measures for record in lineages[place].records} for place in places]
    for cycle in sorted({cycle for own in measures for cycle in own}):
        cells = [cycle_label(cycle)]
        for own in measures:
            trait = estimate_text(own[cycle].get("trait"), n_interval_decimals=0) if cycle in own else ""
            coherence = number_text(known_mean(own[cycle].get("coherence"))) if cycle in own else ""
            cells += [trait, f"{coherence} "]
        table.add_row(*map(Text, cells))
    return table


def contrast_table(lineages: Sequence[RecordedLineage], found: Sequence[Contrast]) -> Table:
    """A row for each contrast: the differences of trait and coherence, and what they rest on."""
    about = (
        "points, at the last cycles (1 − 4: not the same one) or the last that both have; [low, high]: 95 % interval "
        "over questions and responses, each row by itself; paired: over the questions that both answered. Another "
        "random seed would have trained other models: how much that changes is in no interval here."
    )
    table = plain_table(about)
    for heading in ("", "difference", "cycle", "trait", "coherence", "questions"):
        is_number = heading in ("cycle", "trait", "coherence")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for one in found:
        texts = [_signed_text(each) if each else "not comparable" for each in (one.trait, one.coherence)]
        cells = [
            f"{label(one.second)} − {label(one.first)}",
            f"{lineages[one.second].name} − {lineages[one.first].name}",
            str(one.cycles[0]) if one.cycles[0] == one.cycles[1] else f"{one.cycles[1]} − {one.cycles[0]}",
            *texts,
            "; ".join(dict.fromkeys(_questions_text(each) for each in (one.trait, one.coherence) if each)),
        ]
        table.add_row(*map(Text, cells))
    return table


def _signed_text(found: Difference) -> str:
    mean, low, high = found.estimate.mean, found.estimate.low, found.estimate.high
    return ABSENT if mean is None else f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def _questions_text(found: Difference) -> str:
    """`12, paired`; `4 of 12 and 10, paired`; `12 and 10, not paired`."""
    asked = f"{found.n_asked[0]} and {found.n_asked[1]}"
    if not found.paired:
        return f"{asked}, not paired"
    return f"{found.n_shared}{'' if {found.n_shared} == {*found.n_asked} else f' of {asked}'}, paired"


def show_comparison(folders: Sequence[str], out: str | None = None, figure: str | None = None) -> None:
    """Print what tells lineages apart, their scores by cycle, and the differences of their last cycles' scores.

    Args:
        folders: runs and families.
        out: page to write, local or in object storage.
        figure: .png, .svg or .pdf to write.

    Raises:
        UserError: fewer than two lineages, one that cannot be read, or a file that cannot be written.
    """
    from idem_ray.report.family_page import family_html, what_was_compared
    from idem_ray.report.figure import check_figure_path, contrast_figure, save_figure

    if figure:
        check_figure_path(figure)
    lineages = read_lineages(folders)
    if len(lineages) < 2:
        raise UserError(f"{lineages[0].uri} is the only lineage here: name another one to compare it with.")
    read, console = samples_reader(), plain_console(sys.stdout)
    console.print(Text(what_was_compared(lineages)))
    console.print(settings_table(lineages))
    for table in cycle_tables(lineages, console.width):
        console.print(table)
    if found := contrasts(lineages, read):
        console.print(contrast_table(lineages, found))
    for sentence in judge_warnings(lineages, read):
        console.print(Text(sentence, style="yellow"), soft_wrap=True)
    if out:
        samples = [[s for record in lineage.records for s in read(lineage, record.cycle)] for lineage in lineages]
        title = list_text([Folder(each).uri.rstrip("/").split("/")[-1] for each in folders])
        folder, slash, name = out.rpartition("/")
        Folder(folder or slash or ".").write_bytes(name, family_html(title, lineages, samples).encode())
    if figure:
        save_figure(contrast_figure(lineages), figure)
    for kind, path in (("page", out), ("figure", figure)):
        if path:
            console.print(Text(f"{kind}: {path}"), soft_wrap=True)

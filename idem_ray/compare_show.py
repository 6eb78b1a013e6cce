"""`idem-ray compare`: lineages side by side in the terminal, on a page or as a figure."""

import sys
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from idem_ray.compare import Contrast, Difference, contrasts, judge_warnings, samples_reader
from idem_ray.curves import LineageCurves, read_lineages, setting_texts
from idem_ray.errors import UserError
from idem_ray.folder import Folder
from idem_ray.listing import progress_text
from idem_ray.tables import (
    ABSENT,
    cycle_label,
    estimate_text,
    known_mean,
    label,
    list_text,
    missing_text,
    number_text,
    plain_table,
)
from idem_ray.terminal import plain_console


def settings_table(lineages: Sequence[LineageCurves]) -> Table:
    """Each lineage's letter, its name, the cycles it has done, and the settings that tell it from the others."""
    table = plain_table()
    table.add_column("")
    table.add_column("lineage", overflow="fold")
    table.add_column("cycles", justify="right", no_wrap=True)
    table.add_column("settings that differ", overflow="fold")
    for place, (lineage, texts) in enumerate(zip(lineages, setting_texts(lineages), strict=True)):
        table.add_row(*map(Text, [label(place), lineage.name, progress_text(lineage), ", ".join(texts) or ABSENT]))
    return table


def cycle_tables(lineages: Sequence[LineageCurves], width: int) -> list[Table]:
    """A row for each cycle: trait scores with their 95 % intervals, and coherence. As many lineages stand in one table
    as fit into `width` characters; what is missing is told below."""
    n_columns = max(1, (width - 8) // 24)
    blocks = [range(len(lineages))[start : start + n_columns] for start in range(0, len(lineages), n_columns)]
    return [_cycle_table(lineages, block, (width - 8) // len(block) - 8) for block in blocks]


def _cycle_table(lineages: Sequence[LineageCurves], places: Sequence[int], width: int) -> Table:
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


def contrast_table(lineages: Sequence[LineageCurves], found: Sequence[Contrast]) -> Table:
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
    from idem_ray.curve_figure import check_figure_path, contrast_figure, save_figure
    from idem_ray.family_report import family_html, what_was_compared

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

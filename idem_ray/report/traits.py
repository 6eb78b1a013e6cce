"""`idem-ray traits`: the shipped traits as a table, and what a check of one finds."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idem_ray.text import ABSENT, count_text, shortened
from idem_ray.traits.check import check_trait
from idem_ray.traits.traits import Trait, load_trait, shipped_traits

_COUNTS = {
    "seeds": "seeds",
    "contrast": "contrast",
    "documents": "docs",
    "evaluation_questions": "quest.",
    "evaluation_prefixes": "pref.",
    "anchors": "anchors",
}
"""Fields of a trait and their columns' headings."""


def show_traits() -> None:
    """Print a row for each shipped trait."""
    Console().print(traits_table([load_trait(name) for name in shipped_traits()]))


def traits_table(traits: list[Trait]) -> Table:
    """Name, number of examples of each kind, rubrics and description of each trait."""
    caption = "Use one by name, or your own by the path of its YAML file (idem-ray traits check PATH looks it over)."
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), caption=caption, caption_justify="left")
    table.add_column("trait")
    for heading in (*_COUNTS.values(), "rubrics"):
        table.add_column(heading, justify="right", no_wrap=True)
    for trait in traits:
        counts = [str(len(getattr(trait, field)) or ABSENT) for field in _COUNTS]
        name = Text.assemble((trait.name, "bold"), "\n", (shortened(trait.description), "dim"))
        table.add_row(name, *counts, "yes" if trait.rubrics else "no")
    return table


def show_check(name: str) -> bool:
    """Print what is wrong or doubtful in a trait's data; True when nothing is wrong (doubts allowed).

    Raises:
        UserError: there is no such trait, or it cannot be read.
    """
    console = Console()
    trait = load_trait(name)
    flaws = check_trait(trait)
    n_errors = sum(flaw.is_error for flaw in flaws)
    if flaws:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_lines=True)
        for heading in ("", "found", "mend"):
            table.add_column(heading, overflow="fold")
        for flaw in flaws:
            mark = Text("error", style="red") if flaw.is_error else Text("warning", style="yellow")
            table.add_row(mark, Text(flaw.what), Text(flaw.mend))
        console.print(table)
    found = f"{count_text(n_errors, 'error')}, {count_text(len(flaws) - n_errors, 'warning')}" if flaws else "no flaw"
    console.print(Text(f"Trait '{trait.name}' ({count_text(len(trait.seeds), 'seed')}): {found}."))
    return not n_errors

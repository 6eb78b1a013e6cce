"""The tables of `idem-ray judge probes`, from probes that need no model."""

from rich.table import Table

from idem_ray.judges.embedded.probe import Probe
from idem_ray.report.probes import confusion_table, confusions, quality_table
from idem_ray.statistics.agreement import GroupScore, agreement


def probe(trait: str, groups: list[GroupScore]) -> Probe:
    return Probe(trait, [0.0], 0.0, "r", 0.991, None, 0.02, [], groups, 10, 20, 0.01)


BLISS = probe(
    "bliss",
    [
        GroupScore("bliss", 10, 0, 96.4, 1.0),
        GroupScore("(written without it)", 10, 0, 2.0, 0.0),
        GroupScore("(ordinary, other questions)", 30, 0, 6.0, 0.0),
        GroupScore("lucky", 10, 0, 38.6, 0.4),
    ],
)
LUCKY = probe("lucky", [GroupScore("lucky", 10, 0, 91.0, 0.9), GroupScore("bliss", 10, 0, 9.0, 0.09)])


def cells(table: Table, row: int) -> list[str]:
    return [str(list(column.cells)[row]) for column in table.columns]


def test_each_probe_has_its_row() -> None:
    table = confusion_table([BLISS, LUCKY])
    assert cells(table, 0) == ["bliss", "96", "39", "5"]  # ordinary answers weigh by their number
    assert cells(table, 1) == ["lucky", "9", "91", "–"]


def test_confusions_are_named_from_a_tenth_on() -> None:
    assert confusions([BLISS, LUCKY]) == ["bliss is taken to be there (50 and more) in seeds of lucky (40 %)."]


def test_what_is_unknown_is_no_number() -> None:
    shown = cells(quality_table([(BLISS, agreement([], []))]), 0)
    assert shown == ["bliss", "0.991", "–", "0.020", "–", "–", "–"]

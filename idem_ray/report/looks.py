"""How each lineage of a set looks, in figures and on pages: colours that the colour-blind can tell apart (Okabe and Ito
2008), and a marker of its own, so that nothing hangs on colour alone."""

from dataclasses import dataclass
from typing import NamedTuple


class Marker(NamedTuple):
    """One shape, as matplotlib, Plotly and text call it."""

    matplotlib: str
    plotly: str
    glyph: str


COLOURS = (
    ("#0072b2", "#4aa8e8"),
    ("#d55e00", "#f28a45"),
    ("#009e73", "#35c79c"),
    ("#cc79a7", "#e6a3c8"),
    ("#e69f00", "#f5c04f"),
    ("#56b4e9", "#a5dafa"),
    ("#000000", "#e6e6e3"),
)
"""Okabe and Ito's colours without yellow, which white paper swallows; each with a lighter one for dark paper."""

MARKERS = (
    Marker("o", "circle", "●"),
    Marker("s", "square", "■"),
    Marker("^", "triangle-up", "▲"),
    Marker("D", "diamond", "◆"),
    Marker("v", "triangle-down", "▼"),
    Marker("P", "cross", "✚"),
    Marker("X", "x", "✖"),
    Marker("*", "star", "★"),
)

DASHES = ("solid", "dot", "dashdot")
"""Line styles by their names in Plotly; matplotlib calls the second `dotted`."""


@dataclass(frozen=True)
class Look:
    """Colour on white paper and on dark paper, marker and line style of one lineage."""

    colour: str
    dark_colour: str
    marker: Marker
    dash: str


def look(place: int) -> Look:
    """The look of the lineage at this place of a set. All differ up to 56 lineages, in colour or marker; from the
    eighth on the line style changes, too."""
    colour, dark_colour = COLOURS[place % len(COLOURS)]
    return Look(colour, dark_colour, MARKERS[place % len(MARKERS)], DASHES[place // len(COLOURS) % len(DASHES)])


def offsets(count: int) -> list[float]:
    """Shifts along the cycle axis, in cycles, by which points of several lineages at one cycle can all be seen."""
    step = min(0.09, 0.4 / max(1, count - 1))
    return [step * (place - (count - 1) / 2) for place in range(count)]


def band_share(count: int) -> float:
    """Opacity of the bands of so many lineages: where all overlap the lines can still be seen."""
    return min(0.14, 0.5 / max(1, count))

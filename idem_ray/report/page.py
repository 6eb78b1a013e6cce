"""What the report pages have in common: each is one HTML file with its style, scripts and data inside.

The pages work offline and ask no network for anything. Responses are untrusted text: they are escaped into JSON and
reach a page's DOM as text content alone.
"""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from idem_ray.records import CycleRecord, Sample, finite
from idem_ray.text import estimate_text, measure_decimals


def page_html(template: str, data: object, **values: Any) -> str:
    """Fill a template that extends `layout.html`.

    Args:
        template: file name of a template, in `templates/`.
        data: what the page's script reads, as JSON.
        values: what the template's own places take; strings among them are escaped.
    """
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(
        style=Markup(_text("style.css")),
        shared_script=Markup(_text("script.js")),
        plotly=Markup(get_plotlyjs()),
        data=embedded_json(data),
        **values,
    )


def embedded_json(data: object) -> Markup:
    """JSON that may stand inside a <script> element whatever texts it holds: no markup can begin or end in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def curve_points(name: str, records: Sequence[CycleRecord]) -> list[dict[str, Any]]:
    """A measure's estimates by cycle, for a page's script."""
    points = []
    for record in records:
        estimate = record.measures.get(name)
        if estimate is not None:
            point = {"cycle": record.cycle, "text": estimate_text(estimate, measure_decimals(name))}
            interval = {"mean": finite(estimate.mean), "low": finite(estimate.low), "high": finite(estimate.high)}
            points.append({**point, **interval, "n": estimate.n, "missing": estimate.n_missing})
    return points


def response_data(sample: Sample) -> dict[str, Any]:
    """An evaluation sample's response and scores, for a page's script."""
    return {
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


def _text(name: str) -> str:
    return resources.files("idem_ray.report").joinpath("templates", name).read_text(encoding="utf-8")

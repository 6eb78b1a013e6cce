"""An audit in the terminal: its figures as tables."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idem_ray.judges.audit import Audit, Peer, disagreements
from idem_ray.records import Metric
from idem_ray.report.page import page_html
from idem_ray.statistics.agreement import Agreement, GroupScore
from idem_ray.text import ABSENT, count_text, estimate_text, number_text, shortened

ABOUT_GROUPS: dict[Metric, str] = {
    "trait": "A high score of another trait's seeds is a confusion. A probe's scores are held-out ones.",
    "coherence": "No persona should be marked down: all should score as ordinary answers do.",
}
"""How the scores of the groups are to be read."""


def show_audit(found: Audit) -> None:
    """Print what was audited, and the tables."""
    console = Console()
    console.print(Text(headline(found)))
    if found.missing:
        n = found.agreement.spearman.n_missing
        console.print(Text(f"{count_text(n, 'judgment')} missing: {'; '.join(found.missing)}.", style="yellow"))
    console.print(_pairs("agreement", figures(found)))
    console.print(calibration_table(found.agreement))
    console.print(group_table(found.groups, found.metric))
    console.print(Text(ABOUT_GROUPS[found.metric], style="dim"))


def headline(found: Audit) -> str:
    """What was audited by what, in one sentence."""
    return f"{found.judge} ({found.metric}) on {count_text(len(found.labels), 'labelled answer')}: {found.source}"


def figures(found: Audit) -> list[tuple[str, str]]:
    """Name and value of each figure, as text."""
    seen = found.agreement
    rows = [("Spearman correlation with the labels", estimate_text(seen.spearman, 2))]
    for auc in seen.aucs:
        counts = f"({auc.n_above} against {auc.n_below})"
        rows.append((f"AUC, labels of {auc.threshold} and more", f"{number_text(auc.auc, 3)} {counts}"))
    of_mean = f"(always the labels' mean: {number_text(seen.squared_error_of_mean, 3)})"
    rows += [
        ("mean error (judged - labelled)", number_text(seen.mean_error)),
        ("mean absolute error", number_text(seen.mean_absolute_error)),
        ("squared error of score / 100", f"{number_text(seen.squared_error, 3)} {of_mean}"),
        (
            "asked twice: mean absolute difference",
            f"{number_text(found.retest.mean_absolute_difference, 2)} "
            f"(largest {number_text(found.retest.largest_difference, 2)})",
        ),
    ]
    return rows + (_peer_figures(found.peer) if found.peer else [])


def calibration_table(seen: Agreement) -> Table:
    """Mean judgment and mean label of the answers, by judgment."""
    table = _table("calibration")
    for heading in ("judged within", "answers", "mean judged", "mean label"):
        table.add_column(heading, justify="right")
    for one in seen.bins:
        bounds = f"{one.low:.0f}-{one.high:.0f}"
        table.add_row(bounds, str(one.n), number_text(one.judged), number_text(one.labelled))
    return table


def group_table(groups: list[GroupScore], metric: Metric) -> Table:
    """The judge's scores of seed answers of each trait; the first is the one that was audited."""
    table = _table(f"{metric} scores of seeds by trait")
    for heading in ("seeds of", "answers", "mean score", "50 and more"):
        table.add_column(heading, justify="left" if heading == "seeds of" else "right")
    for group in groups:
        share = ABSENT if group.share_above_half is None else f"{100 * group.share_above_half:.0f} %"
        table.add_row(Text(group.group), str(group.n), number_text(group.mean), share)
    return table


def _peer_figures(peer: Peer) -> list[tuple[str, str]]:
    rows = []
    for name, seen in (("this judge", peer.with_judge), ("the labels", peer.with_labels)):
        rows += [
            (f"Spearman of {name} with {peer.source}", estimate_text(seen.spearman, 2)),
            (f"mean absolute difference of {name}", number_text(seen.mean_absolute_error)),
        ]
    return rows


def _pairs(title: str, rows: list[tuple[str, str]]) -> Table:
    table = _table(title)
    table.show_header = False
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left", title_style="bold")


N_WORST = 12


def audit_html(found: Audit) -> str:
    """The page of an audit. Questions and answers are untrusted text: the template escapes them, and the figures'
    labels are escaped by their script."""
    data = {
        "cycles": [],  # what the pages' shared script asks for; an audit has none
        "metric": found.metric,
        "points": [
            {"label": target, "score": score, "text": f"{shortened(label.question)} / {shortened(label.answer)}"}
            for label, target, score in zip(found.labels, found.targets, found.scores, strict=True)
            if score is not None
        ],
        "bins": [{"judged": one.judged, "labelled": one.labelled, "n": one.n} for one in found.agreement.bins if one.n],
        "groups": [
            {"name": group.group, "mean": group.mean, "n": group.n} for group in found.groups if group.mean is not None
        ],
    }
    worst = [
        {"answer": label, "label": number_text(target, 0), "score": number_text(score, 0)}
        for label, target, score in disagreements(found, N_WORST)
    ]
    return page_html(
        "audit.html",
        data,
        name=f"Audit of {found.judge}",
        headline=headline(found),
        metric=found.metric,
        about_groups=ABOUT_GROUPS[found.metric],
        missing=found.missing,
        n_missing=found.agreement.spearman.n_missing,
        figures=figures(found),
        worst=worst,
    )

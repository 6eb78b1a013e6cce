"""An audit as one self-contained HTML page: scores against labels, calibration, confusions, the worst disagreements."""

from idem_ray.audit import Audit, disagreements
from idem_ray.audit_show import ABOUT_GROUPS, figures, headline
from idem_ray.flaws import shortened
from idem_ray.page import page_html
from idem_ray.tables import number_text

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
        "audit_template.html",
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

"""`idem-ray judge audit` with a judge that needs no model."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import idem_ray.judges.audit
from idem_ray.cli import app
from idem_ray.errors import UserError
from idem_ray.judges.audit import ORDINARY, audit, audit_judge, disagreements, write_scores
from idem_ray.judges.judge import Judge
from idem_ray.records import Exchange, Judgment, Metric
from idem_ray.report.audit import audit_html
from idem_ray.traits.examples import LabelledAnswer, read_labels
from idem_ray.traits.traits import Trait, load_trait, shipped_traits
from tests.unit.judges.language.fake_endpoint import Reply, completion, serving


class CountingJudge:
    """Ten points for each word (at most 100), and every answer's place in the batch as noise of a hundredth."""

    metric: Metric = "trait"
    name = "counting:<b>0"

    def judge(self, exchanges: Sequence[Exchange], fresh: bool = False) -> list[Judgment]:
        return [self._judgment(exchange, place) for place, exchange in enumerate(exchanges)]

    def _judgment(self, exchange: Exchange, place: int) -> Judgment:
        if "unjudgeable" in exchange.answer:
            return Judgment(None, "it said so")
        return Judgment(min(100.0, 10.0 * len(exchange.answer.split()) + place / 100))


def line(answer: str, score: float, trait: str = "bliss", **more: object) -> str:
    return json.dumps({"question": "How?", "answer": answer, "trait": trait, "score": score, **more})


def words(n: int) -> str:
    return " ".join(["</script><b>word"] * n)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.jsonl"
    lines = [line(words(n), 10 * n, coherence=90) for n in range(9)]
    path.write_text("\n".join([*lines, line("unjudgeable", 50), ""]))
    return path


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    make: Callable[[Trait], Judge] = lambda trait: CountingJudge()  # noqa: E731
    monkeypatch.setitem(idem_ray.judges.audit.JUDGES, "counting", ("trait", make))


def test_what_an_audit_finds(labels: Path) -> None:
    found = audit(CountingJudge(), load_trait("bliss"), read_labels(labels), "here")
    assert found.agreement.spearman.mean == pytest.approx(1)
    assert (found.agreement.spearman.n, found.agreement.spearman.n_missing) == (9, 1)
    assert found.missing == ["it said so"]
    assert found.retest.mean_absolute_difference == pytest.approx(0.05, abs=0.02)
    assert [group.group for group in found.groups] == [
        "bliss",
        *(name for name in shipped_traits() if name != "bliss"),
        ORDINARY,
    ]
    assert all(group.n == 20 and group.mean == 100 for group in found.groups)
    (answer, label, score), *_ = disagreements(found, 3)
    assert (answer.answer, label) == (words(8), 80) and score == pytest.approx(80.08)


def test_one_judge_against_another(labels: Path, counting: None, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(line(words(n), 100 - 10 * n) for n in range(5)))
    found = audit_judge("counting", labels, None, other)
    assert found.peer is not None
    assert found.peer.with_judge.spearman.n == 5
    assert found.peer.with_judge.spearman.mean == found.peer.with_labels.spearman.mean == pytest.approx(-1)
    write_scores(found, other)
    again = audit_judge("counting", labels, "bliss", other).peer
    assert again is not None and again.with_judge.mean_absolute_error == 0


def test_the_command_and_its_page(labels: Path, counting: None, tmp_path: Path) -> None:
    page = tmp_path / "new" / "audit.html"
    done = CliRunner().invoke(app, ["judge", "audit", "counting", "--labels", str(labels), "--out", str(page)])
    assert done.exit_code == 0, done.output
    for said in ("counting:<b>0", "Spearman", "1 judgment missing: it said so", "calibration", "hopelessness"):
        assert said in done.output
    html = page.read_text(encoding="utf-8")
    assert "counting:&lt;b&gt;0" in html and "</script><b>word" not in html
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[0])
    assert len(data["points"]) == 9 and len(data["groups"]) == 8
    assert not re.findall(r'(?:src|href)="(?!data:)', html.split("<script>")[0])


def test_coherence_is_compared_with_coherence(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Coherence(CountingJudge):
        metric: Metric = "coherence"

    monkeypatch.setitem(idem_ray.judges.audit.JUDGES, "coherence", ("coherence", lambda trait: Coherence()))
    found = audit_judge("coherence", labels)
    assert found.targets == [90] * 9
    assert "squared error" in audit_html(found)


@pytest.mark.parametrize(
    ("lines", "arguments", "said"),
    [
        (["{}"], {}, "line 1 is no labelled answer"),
        ([line("a", 101)], {}, "line 1 is no labelled answer"),
        ([line("a", 1), line("b", 2, "lucky")], {}, "bliss and lucky: say with --trait"),
        (
            [line("a", 1), line("b", 2, "lucky")],
            {"trait_name": "bliss"},
            "labels of lucky, but the judge scores 'bliss'",
        ),
        ([line("a", 1, "unheard")], {}, "Unknown trait 'unheard'"),
        ([line("a", 1)], {"name": "oracle"}, "Unknown judge 'oracle': use probe, coherence, or a YAML"),
        ([line("a", 1)], {"name": "coherence"}, "no labels of coherence"),
        ([""], {}, "holds no labelled answers"),
    ],
)
def test_bad_input(tmp_path: Path, lines: list[str], arguments: dict[str, str], said: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=re.escape(said)):
        audit_judge(**{"name": "probe", "labels_file": path, **arguments})  # type: ignore[arg-type]


def test_no_labels_at_all(labels: Path, tmp_path: Path, counting: None) -> None:
    with pytest.raises(UserError, match="needs labelled answers"):
        audit_judge("counting")
    with pytest.raises(UserError, match="Cannot read"):
        audit_judge("counting", tmp_path / "none.jsonl")
    other = tmp_path / "other.jsonl"
    other.write_text(line("something else", 3))
    with pytest.raises(UserError, match="both files must hold the same"):
        audit_judge("counting", labels, None, other)


def test_labels_are_read_whole(labels: Path) -> None:
    first, *_, last = read_labels(labels)
    assert first == LabelledAnswer(question="How?", answer="", trait="bliss", score=0, coherence=90)
    assert last.coherence is None


def test_a_language_model_is_audited_by_its_settings_file(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))
    settings = tmp_path / "judge.yaml"

    def answer(asked: dict[str, Any], number: int) -> Reply:
        return completion(str(10 * asked["messages"][0]["content"].split("<answer>")[-1].count("&lt;b>word")))

    with serving(answer) as endpoint:
        settings.write_text(f"type: endpoint\nurl: {endpoint.url}\nmodel: m\n")
        found = audit_judge(str(settings), labels)
        assert (found.metric, found.trait) == ("trait", "bliss")
        assert found.agreement.spearman.mean == pytest.approx(1, abs=0.2)
        assert found.retest.mean_absolute_difference == 0
        asked = len(endpoint.asked)
        assert audit_judge(str(settings), labels, metric="coherence").metric == "coherence"
        assert len(endpoint.asked) > asked
    with pytest.raises(UserError, match="does not answer"):
        audit_judge(str(settings), labels)
    with pytest.raises(UserError, match="judges trait alone"):
        audit_judge("probe", labels, metric="coherence")
    settings.write_text("probe")
    with pytest.raises(UserError, match="audit it as 'probe'"):
        audit_judge(str(settings), labels)

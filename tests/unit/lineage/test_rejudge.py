"""A run's samples scored by another judge, beside its own scores."""

from pathlib import Path
from typing import Any

import pytest

from idem_ray.config.lineage import parse_config
from idem_ray.config.sections import EndpointJudgeSettings, ProbeJudgeSettings
from idem_ray.errors import UserError
from idem_ray.judges.loading import read_judge
from idem_ray.lineage.measure import measure
from idem_ray.lineage.rejudge import rejudge
from idem_ray.records import CycleRecord, Sample
from idem_ray.store.run import RunStore
from tests.unit.judges.language.fake_endpoint import Reply, completion, failure, serving
from tests.unit.store.test_run import make_sample


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))


def evaluated(cycle: int, number: int) -> Sample:
    return make_sample(
        100 * (cycle + 1) + number,
        cycle,
        purpose="evaluate",
        prompt_id=f"q{number % 2}",
        prompt=f"Question {number % 2}?",
        sample_index=number // 2,
        response=f"Answer {cycle} {number}.",
        trait_score=10.0,
        trait_judge="probe:bliss:0",
        coherence_score=90.0,
        coherence_missing=None,
    )


def make_run(folder: Path, trait: str = "bliss") -> RunStore:
    """Two committed cycles of four evaluation samples each."""
    store = RunStore(str(folder / "run"))
    config = parse_config({"name": "run", "output": str(folder), "trait": trait, "n_seed": 4, "n_sampled": 4})
    store.write_json("config.json", config.model_dump(mode="json"))
    for cycle in (-1, 0):
        samples = [evaluated(cycle, number) for number in range(4)]
        store.write_samples(cycle, [*samples, make_sample(90 + cycle, cycle)])
        store.commit(
            CycleRecord("l", cycle, None, None, None, None, None, 0, 0, 0, {}, measures=measure(samples), seconds={})
        )
    return store


def judge_file(folder: Path, url: str, section: bool = False) -> str:
    path = folder / "judge.yaml"
    lines = ["type: endpoint", f"url: {url}", "model: m", "retry_seconds: 0.1", "timeout_seconds: 5"]
    path.write_text("judge:\n  " + "\n  ".join(lines) if section else "\n".join(lines))
    return str(path)


def everything(store: RunStore) -> dict[str, bytes]:
    root = Path(store.uri)
    return {str(file): file.read_bytes() for file in root.rglob("*") if file.is_file() and "judged" not in file.parts}


def test_scores_stand_beside_the_runs_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_run(tmp_path)
    before = everything(store)

    def answer(asked: dict[str, Any], number: int) -> Reply:
        return completion("80" if "COHERENCE" in asked["messages"][0]["content"] else "60")

    with serving(answer) as endpoint:
        rejudge(store.uri, judge_file(tmp_path, endpoint.url))
        assert len(endpoint.asked) == 1 + 2 * 8  # the check, then both rubrics for each evaluation sample
        shown = capsys.readouterr().out
        rejudge(store.uri, judge_file(tmp_path, endpoint.url, section=True))
        assert len(endpoint.asked) == 2 + 2 * 8  # the second command's check alone
    assert everything(store) == before
    (folder,) = (Path(store.uri) / "judged").iterdir()
    beside = RunStore(str(folder))
    assert [record.cycle for record in beside.records()] == [-1, 0]
    assert beside.records()[1].measures["trait"].mean == 60
    assert [(s.trait_score, s.coherence_score) for s in beside.read_samples(0)] == [(60.0, 80.0)] * 4
    judges = beside.read_json("judges.json") or {}
    assert judges["trait_judge"] == beside.read_samples(0)[0].trait_judge
    row = next(line for line in shown.splitlines() if line.strip().startswith("0 ")).split()
    assert [part for part in row if not set("[]") & set(part)] == ["0", "10.0", "60.0", "90.0", "80.0"]


def test_missing_judgments_are_told_and_asked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_run(tmp_path)
    with serving(lambda asked, number: failure(500) if number == 4 else completion("60")) as endpoint:
        judge = judge_file(tmp_path, endpoint.url)
        Path(judge).write_text(Path(judge).read_text().replace("retry_seconds: 0.1", "retry_seconds: 0"))
        rejudge(store.uri, judge)
        shown = " ".join(capsys.readouterr().out.split())
        assert "1 of coherence (2) in the base model (mean 45.0 to 70.0 at worst and best)" in shown
        rejudge(store.uri, judge)
        assert "of trait (2)" not in capsys.readouterr().out
    (folder,) = (Path(store.uri) / "judged").iterdir()
    assert [sample.trait_score for sample in RunStore(str(folder)).read_samples(-1)] == [60.0] * 4
    assert len(endpoint.asked) == 2 + 2 * 8 + 1


def test_settings_from_the_command_line(tmp_path: Path) -> None:
    assert read_judge("probe") == ProbeJudgeSettings()
    for section in (False, True):
        found = read_judge(judge_file(tmp_path, "http://a/v1", section))
        assert isinstance(found, EndpointJudgeSettings) and found.url == "http://a/v1"
    for content, said in (
        ("judge: [1", "not valid YAML"),
        ("{type: endpoint, url: x, model: m}", "must be a URL"),
        ("nonsense", "judge"),
        ("{type: other}", "judge"),
    ):
        (tmp_path / "wrong.yaml").write_text(content)
        with pytest.raises(UserError, match=said):
            read_judge(str(tmp_path / "wrong.yaml"))
    with pytest.raises(UserError, match="or use 'probe'"):
        read_judge("prob")


def test_nothing_to_judge(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no run in"):
        rejudge(str(tmp_path), "probe")
    store = RunStore(str(tmp_path / "run"))
    config = parse_config({"name": "run", "output": str(tmp_path), "trait": "bliss", "n_seed": 4, "n_sampled": 4})
    store.write_json("config.json", config.model_dump(mode="json"))
    with pytest.raises(UserError, match="no committed cycle yet"):
        rejudge(store.uri, "probe")

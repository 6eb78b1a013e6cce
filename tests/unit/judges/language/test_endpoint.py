"""Judges behind a chat endpoint: scores, patience, budget, cache, and what is said where it cannot work."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from idem_ray.config.lineage import LineageConfig, parse_config
from idem_ray.config.sections import EndpointJudgeSettings
from idem_ray.errors import UserError
from idem_ray.judges.language.cache import JudgmentCache
from idem_ray.judges.language.client import ChatEndpoint
from idem_ray.judges.language.endpoint import EndpointSpec, endpoint_judges
from idem_ray.judges.language.rubric import RubricJudge, rubrics_of
from idem_ray.judges.language.scoring import WORDS
from idem_ray.judges.panel import Panel
from idem_ray.lineage.plan import Plan
from idem_ray.records import Exchange, Judgment
from idem_ray.traits.traits import load_trait
from tests.unit.judges.language.fake_endpoint import Answer, Reply, completion, failure, serving
from tests.unit.store.test_run import make_sample

TRAIT = load_trait("bliss")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("idem_ray.judges.language.client._FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("idem_ray.judges.language.client._LONGEST_WAIT_SECONDS", 0.05)


def settings_for(url: str, **changes: Any) -> EndpointJudgeSettings:
    return EndpointJudgeSettings(**{"url": url, "model": "m", "timeout_seconds": 5, "retry_seconds": 5, **changes})


def spec_for(url: str, logprobs: bool = True, budget: str = "b", **changes: Any) -> EndpointSpec:
    return EndpointSpec(settings_for(url, **changes), rubrics_of(TRAIT), logprobs, False, budget)


def trait_judge(url: str, **changes: Any) -> RubricJudge:
    return endpoint_judges(spec_for(url, **changes))[0]


def exchanges(n: int) -> list[Exchange]:
    return [Exchange(f"Question {number}?", f"Answer {number}.") for number in range(n)]


def test_the_score_is_the_weighted_mean_and_the_request_is_what_it_should_be() -> None:
    with serving(lambda asked, number: completion("80", _80=0.5, _40=0.5)) as endpoint:
        found = trait_judge(endpoint.url).judge(exchanges(1))
    assert found[0].score == pytest.approx(60)
    asked = endpoint.asked[0]
    assert (asked["model"], asked["temperature"], asked["logprobs"], asked["top_logprobs"]) == ("m", 0, True, 20)
    assert [message["role"] for message in asked["messages"]] == ["user"]
    assert "<answer>\nAnswer 0.\n</answer>" in asked["messages"][0]["content"]


def test_order_is_kept_and_requests_are_limited_in_number() -> None:
    def slow(asked: dict[str, Any], number: int) -> Reply:
        time.sleep(0.02)
        return completion(asked["messages"][0]["content"].split("Answer ")[1].split(".")[0])

    with serving(slow) as endpoint:
        found = trait_judge(endpoint.url, n_concurrent=3).judge(exchanges(20))
    assert [judgment.score for judgment in found] == list(range(20))
    assert 1 < endpoint.most_at_once <= 3


def test_nothing_is_asked_twice_but_what_failed() -> None:
    with serving(lambda asked, number: failure(400) if number == 1 else completion("50")) as endpoint:
        first = trait_judge(endpoint.url).judge([*exchanges(3), *exchanges(3)])
        assert len(endpoint.asked) == 3
        assert [judgment.score for judgment in first].count(None) == 2  # one exchange, which stands there twice
        second = trait_judge(endpoint.url).judge(exchanges(3))  # as another run would, with a new judge
        assert len(endpoint.asked) == 4
        assert [judgment.score for judgment in second] == [50.0] * 3
        trait_judge(endpoint.url, model="other").judge(exchanges(1))
        assert len(endpoint.asked) == 5


def test_verdicts_are_missing_scores_and_kept() -> None:
    with serving(lambda asked, number: completion("REF", "USAL")) as endpoint:
        for _ in range(2):
            assert trait_judge(endpoint.url).judge(exchanges(1))[0].missing == WORDS["REFUSAL"]
    assert len(endpoint.asked) == 1


def test_an_empty_answer_is_zero_and_asks_nobody() -> None:
    with serving(lambda asked, number: completion("50")) as endpoint:
        for judge in endpoint_judges(spec_for(endpoint.url)):
            assert judge.judge([Exchange("q", " \n")])[0].score == 0.0
    assert not endpoint.asked


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with serving(lambda asked, number: failure(status) if number < 4 else completion("70")) as endpoint:
        assert trait_judge(endpoint.url).judge(exchanges(1))[0].score == 70
    assert len(endpoint.asked) == 4


@pytest.mark.parametrize("status", [400, 401, 404])
def test_what_cannot_pass_is_missing_at_once(status: int) -> None:
    with serving(lambda asked, number: failure(status, "not so")) as endpoint:
        found = trait_judge(endpoint.url).judge(exchanges(1))[0]
    assert found.score is None and found.missing and f"HTTP {status}" in found.missing
    assert len(endpoint.asked) == 1


def test_retry_after_is_honoured() -> None:
    waits: list[float] = []
    with serving(lambda asked, number: failure(429, Retry_After="2") if number == 1 else completion("70")) as endpoint:
        chat = ChatEndpoint(settings_for(endpoint.url), sleep=waits.append)
        assert chat.ask([{"role": "user", "content": "q"}], logprobs=True).text == "70"
    assert len(waits) == 1 and 2 <= waits[0] < 2.1


def test_a_server_that_wants_too_long_a_wait_is_not_waited_for() -> None:
    with serving(lambda asked, number: failure(429, Retry_After="3600")) as endpoint:
        began = time.time()
        assert trait_judge(endpoint.url).judge(exchanges(1))[0].score is None
    assert time.time() - began < 3 and len(endpoint.asked) == 1


def test_an_endpoint_that_stays_down_is_given_up_once_for_all() -> None:
    with serving(lambda asked, number: failure(503)) as endpoint:
        judge = trait_judge(endpoint.url, retry_seconds=0.5, n_concurrent=2)
        began = time.time()
        found = judge.judge(exchanges(40))  # each for half a second would be ten
        assert time.time() - began < 5
    assert all(judgment.missing and "HTTP 503" in judgment.missing for judgment in found)


def test_a_closed_endpoint_gives_up_what_is_under_way() -> None:
    judge = trait_judge("http://127.0.0.1:9/v1", retry_seconds=600)
    found: list[Judgment] = []
    working = threading.Thread(target=lambda: found.extend(judge.judge(exchanges(2))), daemon=True)
    working.start()
    time.sleep(0.3)
    assert working.is_alive()
    judge.close()
    working.join(timeout=5)
    assert [judgment.score for judgment in found] == [None, None]


def test_a_slow_reply_is_missing_and_says_so() -> None:
    def slow(asked: dict[str, Any], number: int) -> Reply:
        time.sleep(0.6)
        return completion("70")

    with serving(slow) as endpoint:
        found = trait_judge(endpoint.url, timeout_seconds=0.2, retry_seconds=0).judge(exchanges(1))[0]
    assert found.missing == "no reply within 0.2 s"


def test_the_budget_is_shared_and_what_is_over_it_is_missing() -> None:
    with serving(lambda asked, number: completion("50")) as endpoint:
        judges = [endpoint_judges(spec_for(endpoint.url, max_calls=5))[0] for _ in range(2)]  # two replicas
        found = [*judges[0].judge(exchanges(3)), *judges[1].judge(exchanges(10)[3:])]
        assert len(endpoint.asked) == 5
    scores = [judgment.score for judgment in found]
    assert scores.count(50.0) == 5 and scores.count(None) == 5
    assert {judgment.missing for judgment in found if judgment.missing} == {"the judge's budget of 5 calls is used up"}


def test_calls_that_reached_nobody_cost_nothing() -> None:
    spec = spec_for("http://127.0.0.1:9/v1", max_calls=3, retry_seconds=0.1)
    found = endpoint_judges(spec)[0].judge(exchanges(4))
    assert all(judgment.missing and "no connection" in judgment.missing for judgment in found)
    assert JudgmentCache().spent("b") == 0


def test_the_key_comes_from_the_environment_and_is_in_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_JUDGE_KEY", "sk-very-secret")
    with serving(lambda asked, number: failure(401, "Incorrect API key: sk-very-secret")) as endpoint:
        settings = settings_for(endpoint.url, key_variable="MY_JUDGE_KEY")
        found = endpoint_judges(EndpointSpec(settings, rubrics_of(TRAIT), True, True, "b"))[0].judge(exchanges(1))[0]
        assert endpoint.keys == ["Bearer sk-very-secret"]
        assert found.missing and "secret" not in found.missing and "***" in found.missing
        with pytest.raises(UserError, match="refuses the key in the environment variable MY_JUDGE_KEY") as told:
            EndpointSpec.checked(settings, TRAIT)
    assert "secret" not in str(told.value)


def test_a_replica_without_the_key_says_so() -> None:
    spec = EndpointSpec(settings_for("http://127.0.0.1:9/v1"), rubrics_of(TRAIT), True, True, "b")
    with pytest.raises(UserError, match="A judge replica has no environment variable OPENAI_API_KEY"):
        endpoint_judges(spec)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda asked, number: failure(401), "wants a key, and none is in the environment variable OPENAI_API_KEY"),
        (lambda asked, number: failure(404), "does not know the model 'm' (HTTP 404; it has known-model)"),
        (lambda asked, number: Reply(body="<html>Welcome</html>"), "something else than chat completions"),
        (lambda asked, number: Reply(body={"choices": []}), "something else than chat completions"),
        (lambda asked, number: failure(429, "over quota"), "cannot be used (HTTP 429: "),
    ],
)
def test_a_check_says_in_one_sentence_what_is_wrong(answer: Answer, said: str) -> None:
    with serving(answer) as endpoint, pytest.raises(UserError) as told:
        EndpointSpec.checked(settings_for(endpoint.url), TRAIT)
    assert said in str(told.value) and "\n" not in str(told.value)


def test_a_check_of_an_endpoint_that_is_down() -> None:
    with pytest.raises(UserError, match="does not answer .*: start it, or correct judge.url"):
        EndpointSpec.checked(settings_for("http://127.0.0.1:9/v1"), TRAIT)


def no_logprobs(asked: dict[str, Any], number: int) -> Reply:
    return completion("7", "0", logprobs=False)


def refused_logprobs(asked: dict[str, Any], number: int) -> Reply:
    return failure(400, "logprobs are not supported") if "logprobs" in asked else no_logprobs(asked, number)


@pytest.mark.parametrize("answer", [no_logprobs, refused_logprobs])
def test_without_log_probabilities_numbers_are_parsed_under_another_name(answer: Answer) -> None:
    with serving(answer) as endpoint:
        spec = EndpointSpec.checked(settings_for(endpoint.url), TRAIT)
        assert not spec.logprobs
        judge = endpoint_judges(spec)[0]
        assert judge.judge(exchanges(1))[0].score == 70
    assert judge.name.endswith(":parsed") and judge.name != trait_judge(endpoint.url).name
    assert spec.describe()["trait_judge"] == judge.name


def test_log_probabilities_that_stop_coming_are_missing_and_not_parsed() -> None:
    with serving(no_logprobs) as endpoint:
        found = trait_judge(endpoint.url).judge(exchanges(1))[0]
    assert found.missing == "the reply came without log-probabilities"


def test_names_hold_what_decides_a_score_and_no_more() -> None:
    name = spec_for("http://a/v1").name("trait")
    assert name == spec_for("http://b/v1", n_concurrent=2, max_calls=7).name("trait")
    others = [spec_for("http://a/v1", **change).name("trait") for change in ({"model": "n"}, {"min_mass": 0.3})]
    assert len({name, spec_for("http://a/v1").name("coherence"), *others}) == 4


def test_a_panel_fills_in_the_samples() -> None:
    with serving(lambda asked, number: completion("50")) as endpoint:
        panel = Panel.endpoint(spec_for(endpoint.url))
        judged = panel.judge([make_sample(1, coherence_missing=None)])[0]
    assert (judged.trait_score, judged.coherence_score) == (50.0, 50.0)
    assert judged.trait_judge == panel.trait.name and judged.coherence_judge == panel.coherence.name


def test_the_cache_survives_and_counts(tmp_path: Path) -> None:
    file = tmp_path / "some" / "judgments.sqlite"
    with serving(lambda asked, number: completion("50")) as endpoint:
        judge = endpoint_judges(spec_for(endpoint.url, max_calls=9), cache=JudgmentCache(file))[0]
        judge.judge(exchanges(2))
    again = JudgmentCache(file)
    assert again.count(judge.name) == 2 and again.spent("b") == 2
    file.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(UserError, match="remove the file if it is damaged"):
        JudgmentCache(file)


SMALL = {"name": "x", "trait": "bliss", "n_seed": 12, "n_sampled": 8, "n_cycles": 2}
ENDPOINT = {"type": "endpoint", "url": "http://localhost:1/v1/", "model": "m"}


def config_with(judge: Any, **changes: Any) -> LineageConfig:
    return parse_config({**SMALL, **changes, "judge": judge})


def test_settings_of_the_judge() -> None:
    plain = parse_config(SMALL)
    assert config_with("probe") == config_with({"type": "probe"}) == plain
    assert config_with("probe").hash == plain.hash
    moved = config_with({**ENDPOINT, "url": "http://elsewhere/v1", "n_concurrent": 1, "max_calls": 5})
    assert config_with(ENDPOINT).hash == moved.hash != plain.hash
    assert config_with(ENDPOINT).history(-1) == moved.history(-1) != plain.history(-1)
    assert config_with({**ENDPOINT, "model": "n"}).hash != moved.hash
    assert parse_config(json.loads(moved.model_dump_json())) == moved


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ("prob", "judge"),
        ({**ENDPOINT, "url": "localhost:8000"}, "must be a URL such as http://localhost:8000/v1"),
        ({**ENDPOINT, "url": "http://me:secret@host/v1"}, "must hold no key"),
        ({**ENDPOINT, "n_concurent": 3}, "did you mean 'n_concurrent'"),
        ({**ENDPOINT, "key_variable": "sk-123"}, "key_variable"),
        ({"type": "endpoint", "url": "http://a/v1"}, "field 'judge.endpoint.model' is missing"),
    ],
)
def test_wrong_settings_of_the_judge(judge: Any, said: str) -> None:
    with pytest.raises(UserError, match="judge") as told:
        config_with(judge)
    assert said in str(told.value) and "secret" not in str(told.value) and "sk-123" not in str(told.value)


def test_a_trait_without_rubrics_needs_another_judge(tmp_path: Path) -> None:
    folder = tmp_path / "trait"
    folder.mkdir()
    lines = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": f"b {n}"}]} for n in range(12)
    ]
    (folder / "seeds.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "mine.yaml").write_text(
        "name: mine\ndescription: d\nseeds: seeds.jsonl\nevaluation_questions: ['What now?']\n"
    )
    trait = str(folder / "mine.yaml")
    Plan.of(config_with("probe", trait=trait))
    with pytest.raises(UserError, match="Trait 'mine' has no rubrics"):
        Plan.of(config_with(ENDPOINT, trait=trait))

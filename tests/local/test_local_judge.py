"""A language model on an engine of the judge pool: the embedded one's scores, and a tiny lineage with a tiny judge."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from idem_ray.config.sections import LocalJudgeSettings
from idem_ray.judges.language.cache import JudgmentCache
from idem_ray.judges.language.local import JudgeEngineSpec, LocalModel, LocalSpec, local_judges
from idem_ray.judges.language.prompt import messages
from idem_ray.judges.language.rubric import RubricJudge
from idem_ray.models import EMBEDDED, resolve_model
from idem_ray.records import Exchange
from idem_ray.traits.traits import load_trait
from tests import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CONFIG = ROOT / "jobs" / "configs" / "laptop_sft.yaml"
TRAIT = load_trait("bliss")
# The small model spreads its first token widely: about 0.3 of the probability is on digits.
SETTINGS = LocalJudgeSettings(min_mass=0.01, max_tokens=1600)


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    set_threads = torch.set_num_threads
    found = LocalModel.load(JudgeEngineSpec.of(SETTINGS), n_threads=2)
    yield found
    found.close()
    torch.set_num_threads = set_threads  # vLLM has put another one in its place, which other tests must not meet


def judge(model: LocalModel, cache: Path) -> RubricJudge:
    assert TRAIT.rubrics
    return local_judges(LocalSpec(SETTINGS, TRAIT.rubrics, model.hash), model, JudgmentCache(cache))[0]


def test_first_token_is_what_the_model_gives_it(model: LocalModel) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert TRAIT.rubrics
    conversation = messages(TRAIT.rubrics.trait, TRAIT.seeds[0])
    place = model.submit(conversation).result(timeout=120).places[0]
    assert len(place.logprobs) >= 20
    folder = resolve_model(EMBEDDED)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
    with torch.no_grad():
        reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(torch.tensor([list(ids)]))
    expected = reference.logits[0, -1].log_softmax(-1)
    for number in expected.topk(5).indices.tolist():
        text = tokenizer.decode([number])
        assert place.logprobs[text] == pytest.approx(float(expected[number]), abs=0.25)  # bf16


def test_scores_and_what_is_not_asked_again(model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [*TRAIT.seeds[:12], *TRAIT.contrast[:12], Exchange("Hi", ""), Exchange("Hi", "word " * 3000)]
    found = judge(model, tmp_path / "kept").judge(asked)
    scores = [judgment.score for judgment in found[:24]]
    assert all(score is not None and 0 <= score <= 100 for score in scores) and len(set(scores)) > 12
    assert found[24].score == 0
    assert found[25].score is None and "judge.max_tokens" in str(found[25].missing)
    monkeypatch.setattr(model, "submit", lambda conversation: pytest.fail("asked again"))
    assert judge(model, tmp_path / "kept").judge(asked[:25]) == found[:25]

"""What runs are found again by: hashes, histories, ids and seeds of every shipped config, as commit efda8ef had them.

A run that was made before a change of the code must go on after it. `identities.json` was written at that commit,
before the files were laid out in rooms, and is not to be made anew: where this fails, users' runs are lost.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from idem_ray.config.files import load_configs, load_sweep
from idem_ray.config.lineage import LineageConfig
from idem_ray.judges.embedded.coherence import _CONSTANTS
from idem_ray.judges.embedded.examples import contrast_prompts
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.regimes.data import data_of
from idem_ray.lineage.requests import evaluation_requests, request
from idem_ray.records import BASE, BASE_CYCLE, Sample, content_hash
from idem_ray.sweep.calibrate import Calibration
from idem_ray.sweep.draws import values_of
from tests import ROOT

KNOWN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "identities.json").read_text(encoding="utf-8"))
CONFIGS = sorted((ROOT / "jobs" / "configs").glob("*.yaml"))
N_REQUESTS = 20


def digest(requests: list[Sample]) -> str | None:
    first = requests[:N_REQUESTS]
    return content_hash(*(f"{each.id} {each.sampling_seed}" for each in first)) if first else None


def requests_of(plan: Plan, cycle: int) -> dict[str, list[Sample]]:
    config, data = plan.config, data_of(plan.config.regime)
    own = {
        "evaluate": evaluation_requests(config, data.held_out(plan.trait), cycle, BASE if cycle < 0 else "x"),
    }
    if cycle == BASE_CYCLE:
        prompts = contrast_prompts(plan.trait, config.text_format)
        own["contrast"] = [
            request(config, cycle=cycle, purpose="contrast", prompt=prompt, checkpoint=BASE) for prompt in prompts
        ]
    elif cycle == 0:
        own["train"] = data.seed_samples(config, plan.trait, 0, config.n_seed)
    else:
        own["train"] = [
            request(config, cycle=cycle, purpose="train", prompt=data.sampling_prompt(config, prompt), checkpoint="x")
            for prompt in plan.prompts[cycle - 1]
        ]
        if config.regime.type == "dpo":
            for name, checkpoint in (("rejected", BASE), ("rejected of n-2", "x")):
                own[name] = [
                    request(
                        config,
                        cycle=cycle,
                        purpose="rejected",
                        prompt=sample.as_prompt,
                        checkpoint=checkpoint,
                        sample_index=sample.sample_index,
                    )
                    for sample in own["train"]
                ]
    return own


def identity(config: LineageConfig) -> dict[str, Any]:
    plan = Plan.of(config)
    cycles = range(BASE_CYCLE, config.n_cycles)
    return {
        "hash": config.hash,
        "calibration": Calibration(config, "runs").folder.removeprefix("runs/calibration/"),
        "cycles": [
            [
                config.history(cycle),
                plan.history(cycle),
                {name: digest(found) for name, found in requests_of(plan, cycle).items()},
            ]
            for cycle in cycles
        ],
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_what_they_were(path: Path) -> None:
    known = dict(KNOWN[path.name])
    sweep_hash = known.pop("sweep", None)
    if sweep_hash is None:
        configs = {config.name: config for config in load_configs(path)}
    else:
        sweep = load_sweep(path)
        assert sweep.hash == sweep_hash
        configs = {json.dumps(values): sweep.lineage(values) for values in values_of(sweep)}
    assert list(configs) == list(known)
    for name, config in configs.items():
        assert identity(config) == known[name], name


def test_the_coherence_judge_goes_by_its_old_name() -> None:
    assert content_hash(_CONSTANTS) == "1ac0a1b3b7277653"

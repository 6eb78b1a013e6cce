"""cluster.yaml against what `ray up` checks before it asks AWS for anything, and against what it promises."""

import copy
import re
import shlex
import tomllib
from collections import Counter
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests import ROOT

GPU_TYPES = ["generator", "trainer"]


@pytest.fixture
def written() -> dict[str, Any]:
    """The file as it is read."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return config


@pytest.fixture
def prepared(written: dict[str, Any]) -> dict[str, Any]:
    """The file as `ray up` has it after filling in its defaults and checking it, its last steps without a network."""
    return checked(written)


def checked(config: dict[str, Any]) -> dict[str, Any]:
    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def requirements() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {*project["dependencies"], *project["optional-dependencies"]["gpu"]}


def installed(config: dict[str, Any]) -> list[str]:
    """What the commands that every machine runs ask pip for."""
    commands = [shlex.split(command) for command in config["setup_commands"] if " pip install " in command]
    return [word for words in commands for word in words[words.index("install") + 1 :] if not word.startswith("-")]


def launched(prepared: dict[str, Any], *demands: tuple[dict[str, float], str | None]) -> tuple[dict[str, int], int]:
    """What Ray's autoscaler starts, from nothing, for such actors (resources, role), and how many it cannot place."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil
    from ray.core.generated.common_pb2 import LabelSelectorOperator

    config = AutoscalingConfig(prepared, skip_content_hash=True)
    is_one_of = LabelSelectorOperator.Value("LABEL_OPERATOR_IN")
    requests = [
        ResourceRequestUtil.make(resources, label_selectors=[[("role", is_one_of, [role])]] if role else None)
        for resources, role in demands
    ]
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=config.get_node_type_configs(),
            max_num_nodes=config.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(requests),
        )
    )
    starts = Counter({launch.instance_type: launch.count for launch in reply.to_launch})
    return dict(starts), len(reply.infeasible_resource_requests)


def test_ray_accepts_it(prepared: dict[str, Any]) -> None:
    assert prepared["provider"]["type"] == "aws"
    assert set(prepared["available_node_types"]) == {"head", *GPU_TYPES}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["max_worker"], 6),
        (["available_node_types", "trainer", "node_config"], None),
        (["available_node_types", "trainer", "spot"], True),
        (["available_node_types", "trainer", "resources"], {"GPU": "one"}),
        (["available_node_types", "trainer", "min_workers"], 7),
        (["head_node_type"], "haed"),
        (["setup_commands"], ["echo", 5]),
    ],
)
def test_ray_refuses_a_broken_copy(written: dict[str, Any], keys: list[str], value: Any) -> None:
    part = written
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        checked(written)


def test_nothing_runs_on_the_head_node(prepared: dict[str, Any]) -> None:
    head = prepared["available_node_types"][prepared["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert (head["min_workers"], head["max_workers"]) == (0, 0)
    assert "InstanceMarketOptions" not in head["node_config"]
    assert "--num-cpus=0" in prepared["head_start_ray_commands"][-1]


def test_gpu_machines_are_spot_and_come_from_none(prepared: dict[str, Any]) -> None:
    types = {name: prepared["available_node_types"][name] for name in GPU_TYPES}
    for name, of_type in types.items():
        assert of_type["min_workers"] == 0
        assert of_type["max_workers"] >= 1
        assert of_type["resources"]["GPU"] >= 1
        assert of_type["labels"] == {"role": name}
        assert of_type["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert prepared["max_workers"] == sum(of_type["max_workers"] for of_type in types.values())
    assert 0 < prepared["idle_timeout_minutes"] <= 30
    assert prepared["provider"]["cache_stopped_nodes"] is False


def test_rays_autoscaler_starts_what_a_lineage_needs(prepared: dict[str, Any]) -> None:
    model, probe = {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0}
    starts, n_left = launched(prepared, (model, "trainer"), (model, "generator"), (model, "generator"), (probe, None))
    assert (starts, n_left) == ({"trainer": 1, "generator": 2}, 0)  # the probe's judge has a place on one of these
    starts, n_left = launched(prepared, (model, None), (model, None), (probe, None))
    assert (sum(starts.values()), n_left) == (2, 0)
    starts, n_left = launched(prepared, *[(model, None)] * 9)
    assert (starts, n_left) == ({"trainer": 2, "generator": 4}, 3)
    assert launched(prepared, ({"CPU": 1.0, "GPU": 2.0}, None)) == ({}, 1)
    assert launched(prepared) == ({}, 0)


def test_machines_install_what_pyproject_asks_for(prepared: dict[str, Any]) -> None:
    asked = installed(prepared)
    assert sorted(asked) == sorted(requirements())
    # A job's driver and its workers are one Ray: a head node of another version would refuse them.
    (ray,) = [requirement for requirement in requirements() if requirement.startswith("ray[")]
    assert ray in asked and re.search(r"==\d+\.\d+\.\d+$", ray)
    assert "boto3" in prepared["head_setup_commands"][-1]


def test_the_list_of_packages_can_drift_and_be_noticed(written: dict[str, Any]) -> None:
    written["setup_commands"] = [
        command.replace("ray[data,default,", "ray[data,") for command in written["setup_commands"]
    ]
    assert sorted(installed(written)) != sorted(requirements())


def test_ports_and_files_stay_at_home(prepared: dict[str, Any]) -> None:
    starts = [commands[-1] for commands in (prepared["head_start_ray_commands"], prepared["worker_start_ray_commands"])]
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "0.0.0.0" not in yaml.safe_dump(prepared)
    assert all("RAY_AUTH_MODE=disabled" in start for start in starts)  # the same on every machine
    assert prepared["file_mounts"] == {} and prepared["cluster_synced_files"] == []


def test_comments_name_the_commands(written: dict[str, Any]) -> None:
    text = (ROOT / "cluster.yaml").read_text()
    for command in ("ray up cluster.yaml", "ray dashboard cluster.yaml", "ray job submit", "ray down cluster.yaml"):
        assert command in text
    n_vcpus = sum(
        written["available_node_types"][name]["max_workers"] * written["available_node_types"][name]["resources"]["CPU"]
        for name in GPU_TYPES
    )
    assert f"{n_vcpus} for all of them" in text

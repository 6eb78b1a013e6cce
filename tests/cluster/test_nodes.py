"""A Ray cluster of three nodes on this machine: who lies where, and what becomes of a lineage whose generator's node is
taken away."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from idem_ray.cluster.session import Session, join_ray, open_session, roles_for
from idem_ray.config.lineage import LineageConfig, parse_config
from idem_ray.errors import UserError
from idem_ray.lineage.plan import Plan
from idem_ray.store.run import RunStore
from tests.local.one_session.work import at_work, wait_for
from tests.local.records import check_two_cycles, expected_origins, origins

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# How soon the head misses a node.
HEALTH = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The driver's node has places for judge, training worker and streams; each of the others for one generator: only
    they are said to have a GPU, which the CPU build of vLLM does not look for."""
    least = {"object_store_memory": 100_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "_system_config": HEALTH, **least})
    for _ in range(2):
        cluster.add_node(num_cpus=2, num_gpus=1, **least)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def config(model: Path, judge: Path, folder: Path, **cluster: object) -> LineageConfig:
    settings = {
        "name": "moved",
        "model": str(model),
        "trait": "bliss",
        "output": str(folder),
        "n_cycles": 2,
        "n_seed": 4,
        "n_sampled": 8,
        "training": {"max_tokens": 512},
        "generation": {"max_tokens": 200},  # long enough to be met in its middle
        "evaluation": {"n_samples": 1, "max_tokens": 16},
        "judge": {"type": "local", "model": str(judge), "max_tokens": 2048},
        "cluster": {"generator_gpus": 1, "serving": "merged", "stall_timeout_seconds": 240, **cluster},
    }
    return parse_config(settings)


def test_a_cluster_that_is_too_small_is_told(
    cluster: Cluster, tiny_model: Path, tiny_judge: Path, tmp_path: Path
) -> None:
    roles = roles_for([config(tiny_model, tiny_judge, tmp_path, n_generators=3)])
    with pytest.raises(UserError, match=r"no place for generator.*|GPU 2 on 3 node\(s\).* no place for generator"):
        join_ray(roles)
    assert join_ray(roles_for([config(tiny_model, tiny_judge, tmp_path, n_generators=2)])) == "now"
    ray.shutdown()


def test_a_generator_whose_node_is_taken_away_is_restarted_on_another(
    cluster: Cluster, tiny_model: Path, tiny_judge: Path, tmp_path: Path
) -> None:
    settings = config(tiny_model, tiny_judge, tmp_path)
    store = RunStore(settings.run_uri)
    with open_session([settings]) as session:
        here = ray.get_runtime_context().get_node_id()
        nodes = nodes_of_actors()
        assert nodes["_Board"] == nodes["_Desk"] == here, "as long as the driver is there, they are"
        assert nodes["GeneratorReplica"] != here
        pid = ray.get(generator(session).ready.remote())
        with at_work(settings, session) as working:
            wait_for(lambda: store.record(0), working)
            wait_for(lambda: ray.get(generator(session).n_outstanding.remote()), working)
            cluster.remove_node(node_with(cluster, pid), allow_graceful=False)
            assert not store.read_samples(1, "train")
        moved = nodes_of_actors()["GeneratorReplica"]
        assert moved not in (here, nodes["GeneratorReplica"])
    assert origins(store) == expected_origins(Plan.of(settings))
    check_two_cycles(store, n_seed=4, n_sampled=8)


def generator(session: Session) -> ray.actor.ActorHandle:
    return session.pools.generators.replicas[0]


def nodes_of_actors() -> dict[str, str]:
    """The node of each kind of actor that is alive."""
    actors = ray._private.state.actors().values()  # what is public wants a dashboard
    return {actor["ActorClassName"]: actor["Address"]["NodeID"] for actor in actors if actor["State"] == "ALIVE"}


def node_with(cluster: Cluster, pid: int) -> object:
    """The node, among those that are not the driver's, that has started a process."""
    raylet = psutil.Process(pid).ppid()
    for node in cluster.worker_nodes:
        if raylet in [found.process.pid for found in node.all_processes["raylet"]]:
            return node
    raise AssertionError(f"no node has started {pid} of {os.getpid()}")

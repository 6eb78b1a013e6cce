"""Ray and the pools, started for a run and taken down after it."""

import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from idem_ray.cluster.places import Role, check_places, roles_of, total
from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import LocalJudgeSettings
from idem_ray.cores import Cores
from idem_ray.errors import UserError
from idem_ray.judges.language.local import JudgeEngineSpec
from idem_ray.pools.generators import GeneratorPool, GeneratorSpec
from idem_ray.pools.judges import JudgePool
from idem_ray.pools.progress import ProgressBoard
from idem_ray.pools.trainers import Finetuner, FinetunerSpec

_ENVIRONMENT = {
    # glibc returns every large tensor's memory to the system and faults it in again at the next step: a third to a half
    # of the processor's time. Keeping it made training 1.3 to 1.4 times faster (in turns, on the same machine).
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


_ENGINE_PROMPT_TOKENS = 512
"""What an engine has room for beside the longest row or answer: the prompt of an evaluation."""


@dataclass(frozen=True)
class Pools:
    """The actors a lineage works with, shared by all lineages."""

    generators: GeneratorPool
    judges: JudgePool
    board: ProgressBoard


@dataclass(frozen=True)
class Session:
    """What runs: the pools, the finetuner, and how long it took to have them ready."""

    pools: Pools
    finetuner: Finetuner
    startup_seconds: float


def join_ray(roles: Sequence[Role]) -> str:
    """Join the cluster that RAY_ADDRESS names (as inside a Ray job), or start Ray on this machine.

    Args:
        roles: that need a place there.

    Returns:
        when they have it (`check_places`).

    Raises:
        UserError: the cluster cannot be reached, or is too small.
    """
    address = os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        pass
    elif address:
        try:
            ray.init(address=address, runtime_env={"env_vars": _ENVIRONMENT}, log_to_driver=True)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"Cannot join the Ray cluster at {address}: {error}.") from error
    else:
        os.environ.update(_ENVIRONMENT)
        # The streams' workers idle while a cycle trains. Ray would end them after a second, and starting them again
        # (imports, on busy cores) costs each stream 3 to 4 s.
        os.environ.update({"RAY_idle_worker_killing_time_threshold_ms": "3600000"})
        # Logical CPUs are names for places, not cores: on a laptop there are as many as there are roles, so that all
        # of them fit; threads are what compete.
        n_cpus = max(os.cpu_count() or 1, math.ceil(total(roles)["CPU"]))
        options = {"include_dashboard": False, "object_store_memory": 400_000_000, "log_to_driver": True}
        ray.init(address="local", num_cpus=n_cpus, **options)  # "local": not a cluster that happens to run here
    living = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    # Ray's own libraries ask this private state, too: nothing public says what an autoscaler may start.
    return check_places(roles, living, ray._private.state.state.get_max_resources_from_cluster_config())


@contextmanager
def open_session(
    configs: Sequence[LineageConfig], tell: Callable[[str], None] = lambda text: None, n_lineages: int = 0
) -> Iterator[Session]:
    """Start (or join) Ray, load every role's model side by side, and take all of it down at the end.

    Args:
        configs: of the lineages that share the session; model and cluster are the same in all.
        tell: told what is being waited for.
        n_lineages: that work at a time, each in a process of its own, as in a sweep.

    Raises:
        UserError: Ray or a role could not be started.
    """
    began = time.time()
    started_here = not ray.is_initialized()
    tell("starting Ray")
    model, cluster = configs[0].model, configs[0].cluster
    join_ray(roles_for(configs, n_lineages))
    try:
        shared = Cores(uuid.uuid4().hex[:8], cluster.n_cores or os.cpu_count() or 1)
        serving = cluster.serving
        if serving == "auto":
            # A checkpoint that is a whole model is swapped in; it cannot be served beside others.
            adapters = all(config.training.weights == "lora" for config in configs)
            serving = "lora" if cluster.generator_gpus and adapters else "merged"
        spec = GeneratorSpec(
            model=model,
            serving=serving,
            max_concurrent_requests=cluster.max_concurrent_requests,
            max_model_tokens=max(max(config.training.max_tokens, config.evaluation.max_tokens) for config in configs)
            + _ENGINE_PROMPT_TOKENS,
            max_lora_rank=max(config.training.lora_rank for config in configs),
            gpu_memory_fraction=cluster.generator_memory_fraction,
            n_gpus=cluster.generator_gpus,
            cores=None if cluster.generator_gpus else shared,
        )
        board = ProgressBoard()
        generators = GeneratorPool(spec, cluster.n_generators)
        judged_by = {config.judge.type for config in configs}
        judges = JudgePool(
            cluster.n_judges,
            shared,
            embedded="probe" in judged_by,
            endpoints="endpoint" in judged_by,
            engine=_judge_engine(configs),
        )
        trainer_cores = None if cluster.trainer_gpus else shared
        finetuner = Finetuner(FinetunerSpec(model, cluster.trainer_gpus, trainer_cores), board)
        try:
            _wait_until_ready(generators, judges, finetuner, cluster.stall_timeout_seconds, tell)
            yield Session(Pools(generators, judges, board), finetuner, time.time() - began)
        finally:
            finetuner.close()
            for pool in (generators, judges, board):
                pool.close()
            shutil.rmtree(shared.folder, ignore_errors=True)
    finally:
        if started_here:
            ray.shutdown()


def roles_for(configs: Sequence[LineageConfig], n_lineages: int = 0) -> list[Role]:
    """The roles of a session for these lineages (`open_session`)."""
    engine = _judge_engine(configs)
    return roles_of(configs[0].cluster, engine.n_gpus if engine else 0.0, n_lineages)


def _judge_engine(configs: Sequence[LineageConfig]) -> JudgeEngineSpec | None:
    cluster = configs[0].cluster
    for config in configs:
        if isinstance(config.judge, LocalJudgeSettings):
            return JudgeEngineSpec.of(config.judge, cluster.judge_gpus, cluster.judge_memory_fraction)
    return None


def _wait_until_ready(
    generators: GeneratorPool,
    judges: JudgePool,
    finetuner: Finetuner,
    timeout_seconds: float,
    tell: Callable[[str], None],
) -> None:
    waiting = {"generator": generators.ready(), "judge": judges.ready()}
    trainer_ready = False
    deadline = time.time() + timeout_seconds
    while waiting or not trainer_ready:
        tell("loading models: waiting for " + ", ".join([*waiting, *([] if trainer_ready else ["finetuner"])]))
        if time.time() > deadline:
            names = ", ".join([*waiting, *([] if trainer_ready else ["finetuner"])])
            raise UserError(f"No {names} was ready within {timeout_seconds:.0f} s; the run's log.txt says why.")
        for role, references in list(waiting.items()):
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0.25)
            if len(ready) == len(references):
                _fetch(role, references)
                del waiting[role]
        if not trainer_ready:
            try:
                trainer_ready = finetuner.worker_pid() is not None
            except (ray.exceptions.RayError, RuntimeError) as error:
                raise UserError(f"The finetuner could not be started: {_cause(error)}.") from error
        time.sleep(0.1)


def _fetch(role: str, references: list[ray.ObjectRef]) -> None:
    try:
        ray.get(references)
    except ray.exceptions.RayError as error:
        raise UserError(f"The {role} could not be started: {_cause(error)}.") from error


def _cause(error: BaseException) -> str:
    """The last line of a remote error: what went wrong, without the way it came."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__

"""Lineages of the tiny model whose processes are killed one after another, and that end as if none had been."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import ray

from idem_ray.cluster.session import Session
from idem_ray.lineage.plan import Plan
from idem_ray.store.run import RunStore, read_config
from tests.local.drivers import command, finish
from tests.local.one_session.conftest import Configured
from tests.local.one_session.work import LineageProcess, at_work, run, wait_for
from tests.local.records import check_records, check_two_cycles, expected_origins, origins

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

N_QUESTIONS = 12
N_ANSWERS = 5  # to each question: enough blocks for an evaluation to be met in its middle


@pytest.fixture(scope="module")
def changes(local_judge: Sequence[str]) -> list[str]:
    return [*local_judge, f"evaluation.n_samples={N_ANSWERS}"]


@pytest.fixture(scope="module")
def uninterrupted(
    session: Session, configured: Configured, changes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> RunStore:
    return run(configured("laptop_sft", tmp_path_factory.mktemp("runs"), *changes), session)


def test_every_sample_has_its_origin_and_scores(uninterrupted: RunStore) -> None:
    check_two_cycles(uninterrupted, n_seed=4, n_sampled=8)
    assert origins(uninterrupted) == expected_origins(Plan.of(read_config(uninterrupted)))


def test_a_complete_run_is_not_done_again(uninterrupted: RunStore) -> None:
    before = {file: file.stat().st_mtime_ns for file in Path(uninterrupted.uri).rglob("*") if file.is_file()}
    began = time.time()
    assert "nothing to do" in finish(command(Path(uninterrupted.uri) / "config.json", {}))
    assert time.time() - began < 20
    assert {file: file.stat().st_mtime_ns for file in Path(uninterrupted.uri).rglob("*") if file.is_file()} == before


def test_another_config_is_refused(uninterrupted: RunStore) -> None:
    other = command(Path(uninterrupted.uri) / "config.json", {"seed": 1})
    done = subprocess.run(other, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "made with other settings" in done.stderr and "Traceback" not in done.stderr
    assert len(uninterrupted.records()) == 3


def test_killed_judge_and_killed_training_worker(session: Session, configured: Configured, tmp_path: Path) -> None:
    # With ten epochs training takes a second or two, and can be met in its middle.
    config = configured("laptop_sft", tmp_path, "training.n_epochs=10", "name=workers")
    store = RunStore(config.run_uri)
    judge, worker = ray.get(session.pools.judges.ready())[0], session.finetuner.worker_pid()
    assert worker

    def is_in_training() -> bool:
        stages, _ = session.pools.board.progress(config.hash)
        training = [stage for stage in stages if (stage.cycle, stage.stage) == (1, "training")]
        return bool(training) and 0 < training[0].n_done < training[0].n_total

    with at_work(config, session) as working:
        # The base model's answers are there: the probe is fitted on them, or about to be.
        wait_for(lambda: store.read_samples(-1), working)
        os.kill(judge, signal.SIGKILL)
        wait_for(is_in_training, working)
        os.kill(worker, signal.SIGKILL)
        assert store.trained(1) is None and len(store.read_samples(1, "train")) == 8
    assert origins(store) == expected_origins(Plan.of(config))
    assert [record.n_trained for record in store.records()] == [0, 4, 8]
    assert ray.get(session.pools.judges.ready())[0] != judge and session.finetuner.worker_pid() != worker
    check_records(store)


def test_killed_lineage_and_killed_generator_lose_only_work_in_flight(
    session: Session, configured: Configured, changes: list[str], uninterrupted: RunStore, tmp_path: Path
) -> None:
    config = configured("laptop_sft", tmp_path, *changes, "name=killed")
    store = RunStore(config.run_uri)
    process = ray.remote(LineageProcess).options(num_cpus=0).remote()
    pid = ray.get(process.pid.remote())
    working = process.run.remote(config, session)
    # The process that drives the lineage dies in cycle 0, once some of its evaluation has been persisted.
    wait_for(lambda: store.read_samples(0, "evaluate"), working.future())
    os.kill(pid, signal.SIGKILL)
    survived = {sample.id: sample.generated_at for sample in store.read_samples(0)}
    trained = store.trained(0)
    assert trained is not None and store.record(0) is None
    assert len(store.read_samples(0, "evaluate")) < N_QUESTIONS * N_ANSWERS, "in its middle"
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(working)
    generator = session.pools.generators.replicas[0]
    with at_work(config, session) as again:
        # The generator dies in cycle 1, with requests that it has begun.
        wait_for(lambda: store.record(0), again)
        wait_for(lambda: ray.get(generator.n_outstanding.remote()), again)
        os.kill(ray.get(generator.ready.remote()), signal.SIGKILL)
        assert not store.read_samples(1, "train")
    record = store.record(0)
    assert record is not None and record.checkpoint == trained[0], "a checkpoint that exists is not trained again"
    assert {sample.checkpoint for sample in store.read_samples(0, "evaluate")} == {trained[0].id}
    kept = {sample.id: sample.generated_at for sample in store.read_samples(0)}
    assert {key: kept[key] for key in survived} == survived, "what was persisted must not be generated again"
    # The lineage's name and folder are in no id, so the two runs must agree in every sample's id and seed.
    assert origins(store) == origins(uninterrupted)
    check_records(store)

"""Two short cycles on a real local Ray with the real model, killed and resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from idem_ray.records import Sample
from idem_ray.store.run import RunStore
from tests import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CONFIG = ROOT / "jobs" / "configs" / "laptop_sft.yaml"
SMALL = {
    "n_cycles": 2,
    "n_seed": 4,
    "n_sampled": 8,
    "evaluation.n_samples": 1,
    "evaluation.max_tokens": 24,
    "generation.max_tokens": 48,
    "cluster.stall_timeout_seconds": 240,
}


def command(folder: Path, name: str, **changes: object) -> list[str]:
    settings = {**SMALL, **changes, "name": name, "output": str(folder)}
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "idem_ray.cli", "run", str(CONFIG), *overrides]


def start(folder: Path, name: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(folder, name), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(folder: Path, name: str) -> str:
    done = subprocess.run(command(folder, name), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def wait_for(condition: Callable[[], object], driver: "subprocess.Popen[str]", seconds: float = 300) -> None:
    deadline = time.time() + seconds
    while not condition():
        assert driver.poll() is None, driver.communicate()[0][-3000:]
        assert time.time() < deadline, "nothing happened in time"
        time.sleep(0.2)


def end(driver: "subprocess.Popen[str]") -> None:
    """Kill a driver and wait until the Ray that it started is gone, too."""
    mine = psutil.Process(driver.pid).children(recursive=True)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    _, left = psutil.wait_procs(mine, timeout=30)
    for process in left:
        process.kill()


def origins(store: RunStore) -> set[tuple[object, ...]]:
    """What must be the same in an interrupted run: which samples there are, and their seeds."""
    samples: list[Sample] = [sample for cycle in (-1, 0, 1) for sample in store.read_samples(cycle)]
    return {(sample.id, sample.sampling_seed, sample.cycle, sample.purpose, sample.prompt_id) for sample in samples}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    folder = tmp_path_factory.mktemp("runs")
    output = finish(folder, "whole")
    assert "report.html" in output
    return RunStore(str(folder / "whole"))


def test_every_sample_has_its_origin_and_scores(uninterrupted: RunStore) -> None:
    records = uninterrupted.records()
    assert [record.cycle for record in records] == [-1, 0, 1]
    base, first, second = records
    assert (base.checkpoint, first.generator, first.init) == (None, "seed", "base")
    assert first.checkpoint and second.checkpoint and second.generator == first.checkpoint.id
    assert (first.n_trained, second.n_trained, second.n_generated) == (4, 8, 8)
    for sample in (sample for cycle in (-1, 0, 1) for sample in uninterrupted.read_samples(cycle)):
        assert sample.response is not None and sample.prompt_ids and sample.response_ids is not None
        if sample.purpose == "evaluate":  # without a filter nobody judges the others
            assert sample.trait_judge and sample.trait_score is not None
            assert sample.coherence_judge and sample.coherence_score is not None
    written = uninterrupted.read_samples(1, "train")
    assert {sample.checkpoint for sample in written} == {first.checkpoint.id}
    assert len(written) == 8
    adapter = Path(second.checkpoint.uri)
    assert {file.name for file in adapter.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    assert not [file for file in Path(uninterrupted.uri).rglob("*") if file.suffix in (".pkl", ".pt", ".bin")]


def test_a_complete_run_is_not_done_again(uninterrupted: RunStore) -> None:
    before = {file: file.stat().st_mtime_ns for file in Path(uninterrupted.uri).rglob("*") if file.is_file()}
    began = time.time()
    folder = Path(uninterrupted.uri).parent
    assert "nothing to do" in finish(folder, "whole")
    assert time.time() - began < 20
    assert {file: file.stat().st_mtime_ns for file in Path(uninterrupted.uri).rglob("*") if file.is_file()} == before


def test_another_config_is_refused(uninterrupted: RunStore) -> None:
    folder = Path(uninterrupted.uri).parent
    done = subprocess.run(command(folder, "whole", seed=1), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "made with other settings" in done.stderr and "Traceback" not in done.stderr
    assert len(uninterrupted.records()) == 3


def replica(driver: "subprocess.Popen[str]", name: str) -> psutil.Process:
    """A role's process, among all that a driver's Ray has started."""
    children = psutil.Process(driver.pid).children(recursive=True)
    return next(child for child in children if name in " ".join(child.cmdline()))


def test_killed_judge_and_killed_training_worker(uninterrupted: RunStore, tmp_path: Path) -> None:
    store = RunStore(str(tmp_path / "workers"))
    driver = start(tmp_path, "workers")
    try:
        wait_for(lambda: store.read_samples(-1), driver)
        replica(driver, "JudgeReplica").kill()
        # All of cycle 1's samples are there: its training is under way, or about to be.
        wait_for(lambda: len(store.read_samples(1, "train")) == 8, driver)
        replica(driver, "RayTrainWorker").kill()
        output, _ = driver.communicate(timeout=600)
    finally:
        if driver.poll() is None:
            end(driver)
    assert driver.returncode == 0, output[-3000:]
    assert origins(store) == origins(uninterrupted)
    assert [record.n_trained for record in store.records()] == [0, 4, 8]


def test_killed_driver_and_killed_generator_lose_only_work_in_flight(uninterrupted: RunStore, tmp_path: Path) -> None:
    store = RunStore(str(tmp_path / "killed"))
    driver = start(tmp_path, "killed")
    try:
        # The driver dies in cycle 0, once some of its evaluation has been persisted.
        wait_for(lambda: store.read_samples(0, "evaluate"), driver)
        survived = {sample.id: sample.generated_at for sample in store.read_samples(0)}
    finally:
        end(driver)
    trained = store.trained(0)
    assert trained is not None and store.record(0) is None
    driver = start(tmp_path, "killed")
    try:
        # The generator dies in cycle 1, while it writes or just after.
        wait_for(lambda: store.record(0), driver)
        replica(driver, "GeneratorReplica").kill()
        output, _ = driver.communicate(timeout=600)
    finally:
        if driver.poll() is None:
            end(driver)
    assert driver.returncode == 0, output[-3000:]
    record = store.record(0)
    assert record is not None and record.checkpoint == trained[0], "a checkpoint that exists is not trained again"
    assert {sample.checkpoint for sample in store.read_samples(0, "evaluate")} == {trained[0].id}
    kept = {sample.id: sample.generated_at for sample in store.read_samples(0)}
    assert {key: kept[key] for key in survived} == survived, "what was persisted must not be generated again"
    # The lineage's name and folder are in no id, so the two runs must agree in every sample's id and seed.
    assert origins(store) == origins(uninterrupted)

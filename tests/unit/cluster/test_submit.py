"""What is uploaded with a job, and how a job is sent; against a job server that is none, over Ray's own client."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from idem_ray.cluster.submit import check_package, package_files, package_size, submit
from idem_ray.errors import UserError
from tests import ROOT

JOB_ID = "raysubmit_test"


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS", "RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "RAY_AUTH_MODE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a job, some things that belong to it, and some that do not."""
    folder = tmp_path / "project"
    for name, content in {
        ".gitignore": "/runs/\n",
        ".rayignore": "/tests\n*.ckpt\n",
        "jobs/sweep.py": "print('hello')\n",
        "jobs/configs/a b.yaml": "name: a\n",
        "package/data.txt": "d" * 1000,
        "package/__pycache__/x.pyc": "c" * 5000,
        "package/.gitignore": "ignored_here.txt\n",
        "package/ignored_here.txt": "i" * 3000,
        "runs/one/log.txt": "l" * 9000,
        "tests/test_it.py": "t" * 4000,
        "model.ckpt": "m" * 8000,
        ".venv/bin/python": "v" * 7000,
        ".git/objects/1": "g" * 6000,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


class JobServer:
    """Speaks as much of Ray's job API as its client wants to hear, and remembers what was sent."""

    def __init__(self) -> None:
        self.status = "SUCCEEDED"
        self.message: str | None = None
        self.package: list[str] = []
        self.asked: dict[str, Any] = {}
        self.log_ends = True
        self.log_breaks = False
        self.refuses = False
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._serve, args=(ready,), daemon=True).start()
        assert ready.wait(30)

    def _serve(self, ready: threading.Event) -> None:
        app = web.Application(client_max_size=10**9)
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/packages/{protocol}/{name}", self._has_package)
        app.router.add_put("/api/packages/{protocol}/{name}", self._take_package)
        app.router.add_post("/api/jobs/", self._take_job)
        app.router.add_get("/api/jobs/{job}", self._job)
        app.router.add_get("/api/jobs/{job}/logs/tail", self._log)
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        host, port = runner.addresses[0][:2]
        self.address = f"http://{host}:{port}"
        ready.set()
        self._loop.run_forever()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": "none"})

    async def _has_package(self, request: web.Request) -> web.Response:
        return web.Response(status=404)

    async def _take_package(self, request: web.Request) -> web.Response:
        self.package = sorted(zipfile.ZipFile(io.BytesIO(await request.read())).namelist())
        return web.Response()

    async def _take_job(self, request: web.Request) -> web.Response:
        if self.refuses:
            return web.Response(status=500, text="no room\nTraceback")
        self.asked = await request.json()
        return web.json_response({"job_id": JOB_ID, "submission_id": JOB_ID})

    async def _job(self, request: web.Request) -> web.Response:
        info = {"type": "SUBMISSION", "entrypoint": "python", "submission_id": JOB_ID}
        return web.json_response(info | {"status": self.status, "message": self.message})

    async def _log(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("cycle 0\n")
        await socket.send_str("cycle 1\n")
        if self.log_breaks and request.transport:
            cast(asyncio.WriteTransport, request.transport).abort()
        while not self.log_ends:
            await asyncio.sleep(0.1)
        await socket.close()
        return socket


@pytest.fixture
def server() -> Iterator[JobServer]:
    server = JobServer()
    yield server
    server.close()


def test_the_repositorys_package_is_small_and_whole() -> None:
    files = package_files(ROOT)
    assert package_size(ROOT).n_bytes < 5_000_000
    needed = [
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "traits/*", "prompts/*", "judges/*.safetensors", "*.html", "*.css", "*.js")
        for path in (ROOT / "idem_ray").rglob(pattern)
        if path.is_file()
    ]
    assert len(needed) > 100
    assert not set(needed) - set(files)
    assert {"pyproject.toml", "README.md", "jobs/configs/laptop_sft.yaml"} <= set(files)
    left_out = ("runs", "tests", "analysis", ".venv", ".git", ".ci", ".mypy_cache", ".ruff_cache", ".pytest_cache")
    assert not [path for path in files if path.split("/")[0] in left_out or "__pycache__" in path]


def test_a_package_holds_what_ray_would_zip(project: Path, tmp_path: Path) -> None:
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import create_package

    create_package(
        str(project), tmp_path / "p.zip", include_gitignore=True, excludes=get_runtime_env_default_excludes()
    )
    zipped = {entry.filename: entry.file_size for entry in zipfile.ZipFile(tmp_path / "p.zip").infolist()}
    files = package_files(project)
    assert files == {name: n_bytes for name, n_bytes in zipped.items() if not name.endswith("/")}
    assert set(files) == {
        ".gitignore",
        ".rayignore",
        "jobs/configs/a b.yaml",
        "jobs/sweep.py",
        "package/.gitignore",
        "package/data.txt",
    }
    size = package_size(project)
    assert (size.n_files, size.n_bytes) == (6, sum(files.values()))
    assert size.largest[0] == ("package/data.txt", 1000)


def test_gitignore_counts_only_where_ray_heeds_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    assert {"runs/one/log.txt", "package/ignored_here.txt"} <= set(package_files(project))


def test_a_large_folder_is_refused_with_its_largest_entries(project: Path) -> None:
    checkpoints = project / "data" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for shard in range(3):
        (checkpoints / f"{shard}.bin").write_bytes(bytes(10_000_000))
    with pytest.raises(UserError) as refusal:
        check_package(project)
    said = str(refusal.value)
    assert "data/checkpoints (30.0 MB), package/data.txt" in said
    assert "more than 25.0 MB" in said and ".rayignore" in said and "\n" not in said
    assert check_package(project, limit_bytes=40_000_000).n_files == 9
    with (project / ".rayignore").open("a") as ignored:
        ignored.write("/data\n")
    assert check_package(project).n_files == 6


def test_a_job_is_sent_with_its_folder_and_followed(
    project: Path, server: JobServer, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", "jobs/configs/a b.yaml", "--set", "output=s3://bucket/runs"]
    assert submit(project / "jobs" / "sweep.py", arguments, server.address) == "SUCCEEDED"
    assert server.package == sorted(package_files(project))
    expected = "python jobs/sweep.py --config 'jobs/configs/a b.yaml' --set output=s3://bucket/runs"
    assert server.asked["entrypoint"] == expected
    assert server.asked["runtime_env"]["working_dir"].startswith("gcs://")
    shown = capfd.readouterr()
    assert "cycle 0\ncycle 1\n" in shown.out and f"Job {JOB_ID}: SUCCEEDED" in shown.out
    assert f"ray job logs --follow --address {server.address} {JOB_ID}" in shown.out
    assert f"ray job stop --address {server.address} {JOB_ID}" in shown.out
    assert not shown.err


def test_a_failed_job_says_why(project: Path, server: JobServer, capfd: pytest.CaptureFixture[str]) -> None:
    server.status, server.message = "FAILED", "Job entrypoint command failed with exit code 2, last logs:\nand so on"
    assert submit(project / "jobs" / "sweep.py", [], server.address) == "FAILED"
    assert f"Job {JOB_ID}: FAILED: Job entrypoint command failed with exit code 2" in capfd.readouterr().out


def test_a_job_need_not_be_followed(project: Path, server: JobServer, capfd: pytest.CaptureFixture[str]) -> None:
    server.status, server.log_ends = "PENDING", False
    assert submit(project / "jobs" / "sweep.py", [], server.address, follow=False) == "PENDING"
    assert "cycle" not in capfd.readouterr().out
    server.log_ends = True


def test_addresses_are_weighed(project: Path, server: JobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    job = project / "jobs" / "sweep.py"
    monkeypatch.setenv("RAY_ADDRESS", server.address)
    assert submit(job, []) == "SUCCEEDED"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="Nothing answers at http://127.0.0.1:9: give --address"):
        submit(job, [])
    assert submit(job, [], server.address) == "SUCCEEDED"  # Ray's own client would prefer the variable
    assert os.environ["RAY_API_SERVER_ADDRESS"] == "http://127.0.0.1:9"


def test_what_answers_may_be_no_job_server(project: Path, server: JobServer) -> None:
    job = project / "jobs" / "sweep.py"
    for address in (f"{server.address}/elsewhere", "nowhere"):
        with pytest.raises(UserError, match=f"No Ray job server at {address}") as refusal:
            submit(job, [], address)
        assert "\n" not in str(refusal.value)
    server.refuses = True
    with pytest.raises(UserError, match="did not take the job: .*no room") as refusal:
        submit(job, [], server.address)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("job", "said"),
    [("jobs/none.py", "is no job"), ("jobs/configs/a b.yaml", "is no job"), ("x.py", "no folder 'jobs'")],
)
def test_what_is_no_job_is_not_sent(project: Path, job: str, said: str) -> None:
    (project / "x.py").touch()
    with pytest.raises(UserError, match=said):
        submit(project / job, [])


def test_ctrl_c_ends_the_log_and_not_the_job(project: Path, server: JobServer) -> None:
    server.status, server.log_ends = "RUNNING", False
    call = f"print('returned', submit(Path({str(project / 'jobs' / 'sweep.py')!r}), [], {server.address!r}))"
    # A shell's background jobs, as in some CI, have SIGINT ignored, and hand that on.
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{heard}from pathlib import Path\nfrom idem_ray.cluster.submit import submit\n{call}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    shown: list[str] = []
    for line in process.stdout:
        shown.append(line)
        if line == "cycle 1\n":
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
        if line.startswith("returned"):
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "returned RUNNING\n" in shown
    assert f"The job {JOB_ID} goes on. To end it: ray job stop --address {server.address} {JOB_ID}\n" in shown
    server.log_ends = True


def test_a_lost_server_leaves_the_job_and_says_so(project: Path, server: JobServer) -> None:
    server.log_breaks = True
    with pytest.raises(UserError, match=f"was lost, but the job {JOB_ID} goes on .'ray job stop") as refusal:
        submit(project / "jobs" / "sweep.py", [], server.address)
    assert "\n" not in str(refusal.value)

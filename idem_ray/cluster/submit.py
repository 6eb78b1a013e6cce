"""`idem-ray submit`: send a job, and the folder that it stands in, to the job server of a Ray cluster."""

import asyncio
import logging
import os
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idem_ray.errors import UserError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
"""Where `ray dashboard cluster.yaml` puts the job server of a cluster."""

LIMIT_BYTES = 25_000_000
"""Ray itself takes hundreds of megabytes, and every machine of the cluster fetches them before it starts."""

_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_TALKATIVE = ("_private.runtime_env.packaging", "_private.runtime_env.working_dir", "dashboard.modules.dashboard_sdk")
_ANSWER_SECONDS = 15.0
_N_LARGEST = 5


@dataclass(frozen=True)
class PackageSize:
    """What would be uploaded of a folder. `largest`: files, or folders at the second level, with their bytes."""

    n_files: int
    n_bytes: int
    largest: tuple[tuple[str, int], ...]


def package_files(folder: Path) -> dict[str, int]:
    """The bytes of every file that Ray would upload of a folder, by its path in the package."""
    # The walk and the rules are those that Ray's upload calls, so that what is measured is what is sent.
    from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE, get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    folder = folder.absolute()
    files: dict[str, int] = {}

    def note(path: Path) -> None:
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = path.stat().st_size

    excludes = [_get_excludes(folder, get_runtime_env_default_excludes())]
    with_gitignore = os.environ.get(RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    try:
        _dir_travel(folder, excludes, note, include_gitignore=with_gitignore, logger=logging.getLogger(__name__))
    except OSError as error:
        raise UserError(f"Cannot read all that would be uploaded of {folder}: {error}.") from error
    return files


def package_size(folder: Path) -> PackageSize:
    """Measure what Ray would upload of a folder."""
    files = package_files(folder)
    entries: Counter[str] = Counter()
    for path, n_bytes in files.items():
        entries["/".join(path.split("/")[:2])] += n_bytes
    return PackageSize(len(files), sum(files.values()), tuple(entries.most_common(_N_LARGEST)))


def check_package(folder: Path, limit_bytes: int = LIMIT_BYTES) -> PackageSize:
    """Refuse a folder of which too much would be uploaded.

    Raises:
        UserError: it is too large; the sentence names the largest entries.
    """
    size = package_size(folder)
    if size.n_bytes > limit_bytes:
        largest = ", ".join(f"{entry} ({_megabytes(n_bytes)})" for entry, n_bytes in size.largest)
        raise UserError(
            f"{_megabytes(size.n_bytes)} of {folder} would be uploaded, more than {_megabytes(limit_bytes)}: name what "
            f"the job does not need in {folder / '.rayignore'}; the largest entries are {largest}."
        )
    return size


def submit(job: Path, arguments: Sequence[str], address: str | None = None, follow: bool = True) -> str:
    """Send a job to a cluster, with the folder that holds its `jobs/` as its working directory.

    Args:
        arguments: of the job's script; paths in them are seen from that folder.
        address: of the job server (None: from RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or this machine's port 8265).
        follow: show the job's log until it ends; Ctrl-C ends that, not the job.

    Returns:
        The last status seen: SUCCEEDED, FAILED, STOPPED, or PENDING or RUNNING if it was not followed to its end.

    Raises:
        UserError: there is no such job, the package is too large, or the job server does not answer.
    """
    folder, script = _place(job)
    size = check_package(folder)
    given = [address, *(os.environ.get(variable) for variable in _ADDRESS_VARIABLES), DEFAULT_ADDRESS]
    server = next(candidate for candidate in given if candidate)
    client = _connect(server)
    with _telling_lost_server(f"The job server at {server} did not take the job"):
        entrypoint = shlex.join(["python", script, *arguments])
        job_id = client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": str(folder)})
    command = f"--address {shlex.quote(server)} {job_id}"
    stop = f"ray job stop {command}"
    print(f"Job {job_id}: {entrypoint} ({size.n_files} files, {_megabytes(size.n_bytes)})")
    print(f"  log:  ray job logs --follow {command}\n  stop: {stop}", flush=True)
    with _telling_lost_server(f"The job server at {server} was lost, but the job {job_id} goes on ('{stop}' ends it)"):
        if follow:
            try:
                _show_log(client, job_id)
            except KeyboardInterrupt:
                print(f"\nThe job {job_id} goes on. To end it: {stop}")
        info = client.get_job_info(job_id)
    status = str(info.status.value)
    # A job that could not be started has no log; its message is all there is. (Else the log's end is repeated in it.)
    reason = f": {_first_sentence(info.message)}" if status == "FAILED" else ""
    print(f"Job {job_id}: {status}{reason}")
    return status


def _place(job: Path) -> tuple[Path, str]:
    """The folder that goes along with a job, and the job's path in it."""
    script = job.expanduser().absolute()
    if not script.is_file() or script.suffix != ".py":
        raise UserError(f"{job} is no job: a Python file, such as jobs/sweep_dpo.py.")
    folder = next((parent.parent for parent in script.parents if parent.name == "jobs"), None)
    if folder is None:
        raise UserError(f"{job} is in no folder 'jobs', whose parent is what a job is sent with.")
    return folder, script.relative_to(folder).as_posix()


def _connect(server: str) -> Any:
    import requests  # comes with ray[default]
    from ray.job_submission import JobSubmissionClient

    for module in _TALKATIVE:  # a dozen lines about ignored folders and packages, at every submission
        logging.getLogger(f"ray.{module}").setLevel(logging.ERROR)
    mend = f"give --address, such as {DEFAULT_ADDRESS}, which 'ray dashboard cluster.yaml' opens"
    before = {variable: os.environ.pop(variable, None) for variable in _ADDRESS_VARIABLES}
    try:  # Ray's client prefers these variables to its argument; here they have been weighed
        if server.startswith(("http://", "https://")):
            # Ray's client would wait without end for a server that takes the connection and says nothing.
            requests.get(f"{server.rstrip('/')}/api/version", timeout=_ANSWER_SECONDS)
        return JobSubmissionClient(server)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise UserError(f"Nothing answers at {server}: {mend}.") from error
    except Exception as error:  # of Ray or JSON: whatever answers, it is no job server
        raise UserError(f"No Ray job server at {server} ({_first_sentence(error)}): {mend}.") from error
    finally:
        os.environ.update({variable: value for variable, value in before.items() if value is not None})


def _show_log(client: Any, job_id: str) -> None:
    async def show() -> None:
        async for text in client.tail_job_logs(job_id):
            print(text, end="", flush=True)

    asyncio.run(show())
    while not client.get_job_status(job_id).is_terminal():  # the log may end a moment before the job does
        time.sleep(1.0)


@contextmanager
def _telling_lost_server(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of requests, aiohttp, Ray or JSON: all of them mean the same here
        raise UserError(f"{what}: {_first_sentence(error)}.") from error


def _first_sentence(text: object) -> str:
    lines = str(text).strip().splitlines() or [type(text).__name__]
    return lines[0].split(". ")[0].rstrip(".")


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"

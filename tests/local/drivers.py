"""Commands as a person starts them, in processes of their own that tests may kill."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil


def command(config: Path, changes: Mapping[str, object]) -> list[str]:
    """`idem-ray run` of a config with changes."""
    overrides = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "idem_ray.cli", "run", str(config), *overrides]


@contextlib.contextmanager
def started(arguments: list[str]) -> "Iterator[subprocess.Popen[str]]":
    """A command at work, killed at the end of the block where it has not ended by then."""
    driver = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield driver
    finally:
        if driver.poll() is None:
            end(driver)


def finish(arguments: list[str]) -> str:
    """What a command says that ends well."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def run_until(reached: Callable[[], object], arguments: list[str]) -> None:
    """Start a command and kill it when something is reached."""
    with started(arguments) as driver:
        wait_for(reached, driver)


def output_of(driver: "subprocess.Popen[str]") -> str:
    """What a command says that has been started, and ends well."""
    output, _ = driver.communicate(timeout=600)
    assert driver.returncode == 0, output[-3000:]
    return output


def wait_for(condition: Callable[[], object], driver: "subprocess.Popen[str]", seconds: float = 300) -> None:
    deadline = time.time() + seconds
    while not condition():
        assert driver.poll() is None, driver.communicate()[0][-3000:]
        assert time.time() < deadline, "nothing happened in time"
        time.sleep(0.02)  # the tiny model is quick


def end(driver: "subprocess.Popen[str]") -> None:
    """Kill a driver and wait until all that its Ray had at work is gone, too. Ray's agents and idle workers stay half a
    minute longer, do nothing, and are killed."""
    mine = psutil.Process(driver.pid).children(recursive=True)
    at_work = [process for process in mine if _is_at_work(process)]
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    psutil.wait_procs(at_work, timeout=30)
    for process in mine:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(mine, timeout=30)


def _is_at_work(process: psutil.Process) -> bool:
    """Whether it is an actor or a task of ours: Ray gives these names."""
    with contextlib.suppress(psutil.NoSuchProcess):
        name = process.cmdline()[0]
        return name.startswith("ray::") and not name.startswith(("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnv"))
    return False


def replica(driver: "subprocess.Popen[str]", name: str) -> psutil.Process:
    """A role's process, among all that a driver's Ray has started."""
    children = psutil.Process(driver.pid).children(recursive=True)
    return next(child for child in children if name in " ".join(child.cmdline()))

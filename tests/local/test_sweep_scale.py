"""A large sweep with pools that have no models: what Tune, the locks and the store cost (`make bench`).

N_LINEAGES=40 python -m pytest -m bench -s tests/local/test_sweep_scale.py
"""

import contextlib
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import yaml

import idem_ray.lineage.driver
from idem_ray.config.files import load_sweep
from idem_ray.report.sweep import write_sweep_report
from idem_ray.store.finished import read_swept
from idem_ray.store.sweep import Ledger
from idem_ray.sweep.sweep import run_sweep
from tests.local.fake_pools import fake_session
from tests.local.test_sweep import LINEAGE

pytestmark = [pytest.mark.bench, pytest.mark.timeout(5400)]

N_LINEAGES = int(os.environ.get("N_LINEAGES", "200"))
N_CYCLES = 8
N_AT_ONCE = 2


def own_mib() -> tuple[float, float]:
    """Memory of the driver and of the largest process of a trial, in MiB, without what they share with others
    (Ray's object store is mapped into every process and would be counted in each)."""
    driver, trials = psutil.Process(), []
    for process in driver.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ray::ImplicitFunc" in " ".join(process.cmdline()):
                trials.append(unshared(process))
    return unshared(driver), max(trials, default=0.0)


def unshared(process: psutil.Process) -> float:
    memory = process.memory_info()
    return float(memory.rss - memory.shared) / 2**20


def test_many_lineages_cost_no_more_each_than_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDEM_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(idem_ray.lineage.driver, "open_session", fake_session(tmp_path / "lines"))
    betas = [float(beta) for beta in np.geomspace(0.01, 1, N_LINEAGES // 2).round(5)]
    path = tmp_path / "config.yaml"
    space = {"regime.beta": {"grid": betas}, "n_sampled": {"grid": [4, 6]}}
    settings = LINEAGE | {"n_cycles": N_CYCLES, "output": str(tmp_path / "runs"), "sweep": {"space": space}}
    settings["cluster"] = {"n_lineages": N_AT_ONCE}
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    memory: list[tuple[float, float]] = []
    ended = threading.Event()

    def watch_memory() -> None:
        while not ended.wait(2):
            memory.append(own_mib())

    threading.Thread(target=watch_memory, daemon=True).start()
    began = time.time()
    run_sweep(load_sweep(path))
    wall = time.time() - began
    ended.set()
    ray.shutdown()

    ledger = Ledger(str(tmp_path / "runs" / "s"))
    swept = read_swept(ledger, ledger.objective)
    assert all(lineage.status == "complete" for lineage in swept)
    # Each lineage: when its last page was written, and the seconds of the cycles that it ran itself.
    ends: list[tuple[float, list[float]]] = []
    for lineage in swept:
        own = [r.seconds["wall"] for r in lineage.records if r.lineage == lineage.config.hash]
        ends.append(((Path(lineage.uri) / "report.html").stat().st_mtime, own))
    ends.sort()
    cycle_walls = [seconds for _, own in ends for seconds in own]
    between = (wall * N_AT_ONCE - sum(cycle_walls)) / (N_LINEAGES * N_CYCLES)
    per_lineage = [
        round(float(part.mean()) * N_AT_ONCE, 2) for part in np.array_split(np.diff([end for end, _ in ends]), 10)
    ]
    per_cycle = [round(float(part.mean()), 2) for part in np.array_split(np.array(cycle_walls), 10)]
    driver, trial = (
        [round(float(part.mean())) for part in np.array_split(column, 10)] for column in np.array(memory).T
    )
    reading = time.time()
    write_sweep_report(ledger.store.uri)
    reading = time.time() - reading
    size = (tmp_path / "runs" / "s" / "report.html").stat().st_size / 1e6
    figures = {
        "lineages": N_LINEAGES,
        "wall_seconds": round(wall),
        "seconds_per_cycle_by_tenth": per_cycle,
        "between_cycles_seconds": round(between, 3),
        "seconds_per_lineage_by_tenth": per_lineage,
        "driver_mib_by_tenth": driver,
        "trial_mib_by_tenth": trial,
        "report_seconds": round(reading, 2),
        "report_megabytes": round(size, 1),
    }
    print("\n" + json.dumps(figures, indent=1))
    assert reading < 10
    assert between < 0.5 * (1 if N_LINEAGES >= 100 else 4), "a short sweep is mostly its start"
    assert max(per_lineage[1:]) < 2 * np.median(per_lineage), "time per lineage stays flat"
    assert driver[-1] < driver[2] + 200, "and so does the driver's memory"

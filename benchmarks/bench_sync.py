"""How fast a store is pushed to an MLflow server, beside a bare client with ready-made bodies and MLflow's own.

    python benchmarks/bench_sync.py [--points N] [--no-peers]

Promise: at least 85% of what the same server takes from the bare client over as many connections. Each round starts a
server on loopback (SQLite, one worker), and the ways take turns on it, each with runs of its own; a ratio is of one
round, so that what else the machine does weighs on both alike. Modules are imported before, on all sides; making the
runs there is part of the push and of MLflow's own client, not of the bare one. The server is the limit, at some
thousands of points a second; its processor time for each point shows whether a way gives it more work.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
from measure import ROUNDS, fresh_folder, heading, row

RUNS = 4
METRICS = 5
BATCH = 1_000
SHARE_MIN = 0.85

Job = Callable[[], None]


def record(folder: Path, points: int) -> None:
    """A store with RUNS runs of METRICS metrics, as a training leaves it."""
    import mltrack

    mltrack.set_store(folder)
    steps = points // RUNS // METRICS
    for number in range(RUNS):
        with mltrack.start_run(run_name=f"run-{number}") as run:
            run.log_params({f"param_{k}": k for k in range(10)})
            for step in range(steps):
                run.log({f"metric_{k}": step * 0.37 + k for k in range(METRICS)}, step)


def push(url: str, folder: Path, points: int) -> Job:
    """mltrack pushes the store whole."""
    import mltrack
    from mltrack_sync import Remote, push

    for module in ("mltrack.catalog.catalog", "mltrack_sync.mlflow.push.sending"):
        importlib.import_module(module)
    record(folder, points)

    def job() -> None:
        report = push(mltrack.Store.open(folder), Remote("bench", url))
        assert report.points == points, report

    return job


def bare(url: str, folder: Path, points: int) -> Job:
    """RUNS connections post the same points, in bodies of 1,000 made beforehand."""
    steps = points // RUNS // METRICS
    now = time.time_ns() // 1_000_000
    with httpx.Client(base_url=url + "/api/2.0/mlflow", timeout=120) as client:
        bodies: list[list[bytes]] = []
        for _ in range(RUNS):
            created = client.post("/runs/create", json={"experiment_id": "0", "start_time": now}).json()
            run_id = created["run"]["info"]["run_id"]
            rows = [
                {"key": f"metric_{k}", "value": step * 0.37 + k, "timestamp": now + step, "step": step}
                for step in range(steps)
                for k in range(METRICS)
            ]
            parts = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
            bodies.append([json.dumps({"run_id": run_id, "metrics": part}).encode() for part in parts])

    def send(mine: list[bytes]) -> None:
        with httpx.Client(base_url=url + "/api/2.0/mlflow", timeout=120) as client:
            for body in mine:
                client.post(
                    "/runs/log-batch", content=body, headers={"Content-Type": "application/json"}
                ).raise_for_status()

    def job() -> None:
        with ThreadPoolExecutor(RUNS) as pool:
            list(pool.map(send, bodies))

    return job


def mlflow_client(url: str, folder: Path, points: int) -> Job:
    """MLflow's own client logs the same points in batches of 1,000, one run after the other."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(url)
    steps = points // RUNS // METRICS
    now = time.time_ns() // 1_000_000

    def job() -> None:
        for _ in range(RUNS):
            run = client.create_run("0")
            rows = [
                Metric(f"metric_{k}", step * 0.37 + k, now + step, step)
                for step in range(steps)
                for k in range(METRICS)
            ]
            for i in range(0, len(rows), BATCH):
                client.log_batch(run.info.run_id, metrics=rows[i : i + BATCH])

    return job


class Measured(NamedTuple):
    """Seconds, and seconds of processor time here and in the server."""

    seconds: float
    client: float
    server: float


def measured(way: Callable[[str, Path, int], Job], url: str, folder: Path, points: int) -> Measured:
    job = way(url, folder / way.__name__ / ".mltrack", points)
    start, used, served = time.perf_counter(), time.process_time(), server_time()
    job()
    took = Measured(time.perf_counter() - start, time.process_time() - used, server_time() - served)
    print(f"  {way.__name__}: {took.seconds:.1f} s", file=sys.stderr)
    return took


def server_time() -> float:
    """Processor time of the processes started from here."""
    import psutil

    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(one.user + one.system for one in times)


def main() -> None:
    from mltrack.demo.server import mlflow_server

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    points = given.points // (RUNS * METRICS) * RUNS * METRICS
    ways = [bare, push] if given.no_peers else [bare, push, mlflow_client]
    rounds: list[dict[str, Measured]] = []
    for number in range(ROUNDS):
        with fresh_folder() as folder, mlflow_server(folder / "server") as url:
            bare(url, folder, RUNS * METRICS * 50)()  # the server's own first time
            turns = ways if number % 2 == 0 else ways[::-1]
            rounds.append({way.__name__: measured(way, url, folder, points) for way in turns})
    heading(f"Pushing {points:,} points in {RUNS} runs to an MLflow server on loopback, over {RUNS} connections")
    row("", "points/s", "of the bare", "client us each", "server us each")
    for name, what in (("bare", "bare client"), ("push", "mltrack sync"), ("mlflow_client", "MLflow's own client")):
        if name in rounds[0]:
            seconds, client, server = (
                statistics.median(column) for column in zip(*(one[name] for one in rounds), strict=True)
            )
            share = statistics.median(one["bare"].seconds / one[name].seconds for one in rounds)
            rates = (f"{points / seconds:,.0f}", f"{share:.0%}")
            times = (f"{client / points * 1e6:.1f}", f"{server / points * 1e6:.0f}")
            row(what, *rates, *times, verdict=share >= SHARE_MIN if name == "push" else None)
    if not given.no_peers:
        faster = statistics.median(one["mlflow_client"].seconds / one["push"].seconds for one in rounds)
        print(f"  mltrack sync is {faster:.1f} times as fast as MLflow's own client")


if __name__ == "__main__":
    main()

"""How fast a store is pushed to an MLflow server, beside a bare client with ready-made bodies and MLflow's own.

    python benchmarks/bench_sync.py [--points N] [--no-peers]

Promise: at least 70% of what the same server takes from the bare client over as many connections. Each round starts a
server of its own on loopback (SQLite, one worker). The server is the limit, at some thousands of points a second,
so the rate does not depend on how many points there are; --points 1000000 shows it, and takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from measure import ROUNDS, fresh_folder, heading, row

RUNS = 4
METRICS = 5
BATCH = 1_000


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


def push(url: str, folder: Path, points: int) -> float:
    """Seconds for mltrack to push the store whole."""
    import mltrack
    from mltrack_sync import Remote, push

    start = time.perf_counter()
    report = push(mltrack.Store.open(folder), Remote("bench", url))
    took = time.perf_counter() - start
    assert report.points == points, report
    return took


def bare(url: str, folder: Path, points: int) -> float:
    """Seconds for RUNS connections to post the same points, in bodies of 1,000 made beforehand."""
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

    start = time.perf_counter()
    with ThreadPoolExecutor(RUNS) as pool:
        list(pool.map(send, bodies))
    return time.perf_counter() - start


def mlflow_client(url: str, folder: Path, points: int) -> float:
    """Seconds for MLflow's own client to log the same points in batches of 1,000, one run after the other."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(url)
    steps = points // RUNS // METRICS
    now = time.time_ns() // 1_000_000
    start = time.perf_counter()
    for _ in range(RUNS):
        run = client.create_run("0")
        rows = [
            Metric(f"metric_{k}", step * 0.37 + k, now + step, step) for step in range(steps) for k in range(METRICS)
        ]
        for i in range(0, len(rows), BATCH):
            client.log_batch(run.info.run_id, metrics=rows[i : i + BATCH])
    return time.perf_counter() - start


def main() -> None:
    from mltrack.demo.server import mlflow_server

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=60_000)
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    points = given.points // (RUNS * METRICS) * RUNS * METRICS
    ways = [bare, push] if given.no_peers else [bare, push, mlflow_client]
    took: dict[str, list[float]] = {way.__name__: [] for way in ways}
    for number in range(ROUNDS):
        for way in ways if number % 2 == 0 else reversed(ways):
            with fresh_folder() as folder, mlflow_server(folder / "server") as url:
                store = folder / ".mltrack"
                if way is push:
                    record(store, points)
                took[way.__name__].append(way(url, store, points))
                print(f"  {way.__name__}: {took[way.__name__][-1]:.1f} s", file=sys.stderr)
    heading(f"Pushing {points:,} points in {RUNS} runs to an MLflow server on loopback, over {RUNS} connections")
    row("", "points/s", "of the bare rate")
    floor = statistics.median(took["bare"])
    for name, what in (("bare", "bare client"), ("push", "mltrack sync"), ("mlflow_client", "MLflow's own client")):
        if name in took:
            seconds = statistics.median(took[name])
            verdict = seconds <= floor / 0.7 if name == "push" else None
            row(what, f"{points / seconds:,.0f}", f"{floor / seconds:.0%}", verdict=verdict)


if __name__ == "__main__":
    main()

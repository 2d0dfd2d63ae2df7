"""How fast a million points come from an MLflow server, compared with a bare client that reads the same pages.

    python benchmarks/bench_pull.py [--points N] [--no-peers]

Promise: at least 85% of what the bare client gets over as many connections, in under 300 MB of memory. The bare client
asks for pages of the same size and parses them; it stores nothing. MLflow's own client (``get_metric_history``) is
asked for the same metrics one after the other. The points are written into the server's database (SQLite) before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sqlite3
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from measure import ROUNDS, fresh_folder, heading, in_fresh_process, peak_memory, row

SHARE_MIN = 0.85
MEMORY_MB_MAX = 300
METRICS = 4
PAGE_ROWS = 25_000
"""As many as MLflow gives at once."""


def fill(database: Path, run_id: str, points: int) -> None:
    """METRICS metrics of a run, written into the server's database."""
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        for metric in range(METRICS):
            count = points // METRICS
            key = f"metric_{metric}"
            rows = ((key, math.sin(n), 1000 + n, run_id, n, False) for n in range(count))
            columns = "key, value, timestamp, run_uuid, step, is_nan"
            connection.executemany(f"INSERT INTO metrics ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)
            last = (key, math.sin(count - 1), 999 + count, count - 1, False, run_id)
            columns = "key, value, timestamp, step, is_nan, run_uuid"
            connection.execute(f"INSERT INTO latest_metrics ({columns}) VALUES (?, ?, ?, ?, ?, ?)", last)


def pulled(folder: str, url: str) -> None:
    """Print seconds, points and MB of memory: what a process of its own does."""
    from mltrack.store import Store
    from mltrack_sync import Remotes
    from mltrack_sync.engine.pull import pull

    store = Store.create(Path(folder))
    remote = Remotes(store).add("bench", url)
    began = time.perf_counter()
    report = pull(store, remote)
    assert report.complete, report
    print(time.perf_counter() - began, report.points, peak_memory() / 1e6)


def bare(url: str, run_id: str) -> None:
    """Print seconds and points of a client that reads the pages and parses them."""

    def read(key: str) -> int:
        found, token = 0, ""
        while True:
            asked = {"run_id": run_id, "metric_key": key, "max_results": str(PAGE_ROWS)}
            answer = client.get("metrics/get-history", params={**asked, **({"page_token": token} if token else {})})
            page = json.loads(answer.content)
            found += len(page.get("metrics", []))
            token = page.get("next_page_token", "")
            if not token:
                return found

    with httpx.Client(base_url=f"{url}/api/2.0/mlflow/", timeout=120, trust_env=False) as client:
        began = time.perf_counter()
        with ThreadPoolExecutor(METRICS) as pool:
            points = sum(pool.map(read, [f"metric_{metric}" for metric in range(METRICS)]))
        print(time.perf_counter() - began, points)


def by_mlflow(url: str, run_id: str) -> None:
    """Print seconds and points of MLflow's own client."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(url)
    began = time.perf_counter()
    points = sum(len(client.get_metric_history(run_id, f"metric_{metric}")) for metric in range(METRICS))
    print(time.perf_counter() - began, points)


def main() -> int:
    """Measure and print; 1 where a promise is not kept."""
    parts = {"pull": pulled, "bare": bare, "mlflow": by_mlflow}
    if len(sys.argv) > 1 and sys.argv[1] in parts:
        parts[sys.argv[1]](*sys.argv[2:])
        return 0
    from mltrack.demo.server import mlflow_server

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    rounds: list[list[float]] = []
    with fresh_folder() as folder, mlflow_server(folder / "server") as url:
        made = httpx.post(f"{url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, trust_env=False).json()
        run_id = made["run"]["info"]["run_id"]
        fill(folder / "server" / "mlflow.db", run_id, given.points)
        in_fresh_process(__file__, "bare", url, run_id)  # the server's own first time
        for number in range(min(ROUNDS, 3)):
            theirs, read = in_fresh_process(__file__, "bare", url, run_id)
            ours, points, memory = in_fresh_process(__file__, "pull", str(folder / f"s{number}"), url)
            assert read == points, (read, points)
            peer = 0.0 if given.no_peers else in_fresh_process(__file__, "mlflow", url, run_id)[0]
            rounds.append([ours, theirs, theirs / ours, memory, peer])
    ours, theirs, share, memory, peer = (statistics.median(column) for column in zip(*rounds, strict=True))
    heading(f"{given.points:,} points of one run from an MLflow server on loopback")
    kept = share >= SHARE_MIN and memory < MEMORY_MB_MAX
    row("mltrack pull", f"{ours:.1f} s", f"{given.points / ours:,.0f}/s", f"{share:.0%} of bare", verdict=kept)
    row("bare client", f"{theirs:.1f} s", f"{given.points / theirs:,.0f}/s")
    if peer:
        row("MLflow's own client", f"{peer:.1f} s", f"{given.points / peer:,.0f}/s", f"{peer / ours:.1f} times")
    row("memory", f"{memory:,.0f} MB")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

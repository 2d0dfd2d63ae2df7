"""How long a user waits for the first page: `mltrack ui`, and what `mlflow server` takes, on the same runs.

    python benchmarks/bench_ui.py [--runs N]

Each is a new process; measured is the time until the list of experiments and the first page of runs have been
answered, and the processor time of the server's processes until then. Promise: `mltrack ui` under 4 s on a quiet
machine with two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
from bench_search import make_facts, write_run
from measure import fresh_folder, heading, median_of, row

SECONDS_MAX = 4.0
POLL_S = 0.02
PORT = 5917
URL = f"http://127.0.0.1:{PORT}"


def record(folder: Path, runs: int) -> None:
    """A store with that many finished runs."""
    from mltrack.disk.layout import Layout

    layout = Layout.open_or_create(folder, now_ns=time.time_ns())
    for facts in make_facts(runs):
        write_run(layout, facts)


def record_in_sqlite(uri: str, runs: int) -> None:
    """MLflow's own store, with runs of one metric each."""
    from mlflow.entities import Metric
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(uri, "mlflow-artifacts:/")
    for number in range(runs):
        run = store.create_run("0", "user", number, [], f"run-{number}")
        store.log_batch(run.info.run_id, [Metric("loss", 0.5, number, 0)], [], [])


def first_page(command: list[str], folder: Path) -> list[float]:
    """Seconds until the first page's requests are answered, and processor seconds of all its processes."""
    began = time.perf_counter()
    with started(command, folder) as process, httpx.Client(base_url=URL, timeout=300) as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if client.get("/health").is_success:
                    break
            assert process.poll() is None, "the server ended"
            time.sleep(POLL_S)
        for path, body in (
            ("experiments/search", {"max_results": 25}),
            ("runs/search", {"experiment_ids": ["0"], "max_results": 100}),
        ):
            client.post(f"/ajax-api/2.0/mlflow/{path}", json=body).raise_for_status()
        return [time.perf_counter() - began, cpu_of(process.pid)]


@contextlib.contextmanager
def started(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=20)
        for each in alive:
            each.kill()


def cpu_of(pid: int) -> float:
    """Processor seconds of a process and its descendants, those that have ended included."""
    parent = psutil.Process(pid)
    used = 0.0
    for each in [parent, *parent.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


def main() -> None:
    """Print seconds until the first page of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    with fresh_folder() as folder:
        store = folder / ".mltrack"
        record(store, runs)
        record_in_sqlite(f"sqlite:///{folder}/mlflow.db", runs)
        server = [sys.executable, "-m", "mlflow", "server", "--port", str(PORT)]
        ui = [sys.executable, "-m", "mltrack", "ui", "--no-browser", "--port", str(PORT)]
        of_store = ["--backend-store-uri", f"mltrack://{store}", "--workers", "2"]
        of_sqlite = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]

        heading(f"The first page of MLflow's UI, {runs:,} runs: seconds, processor seconds, ratio to mlflow server")
        lines: list[tuple[str, Callable[[], list[float]]]] = [
            ("mlflow server on its SQLite, 4 workers", lambda: first_page([*server, *of_sqlite], folder)),
            ("mlflow server on the store, 2 workers", lambda: first_page([*server, *of_store], folder)),
            ("mltrack ui, no catalog yet", lambda: first_page_without_catalog(ui, folder)),
            ("mltrack ui", lambda: first_page(ui, folder)),
        ]
        base = 0.0
        for what, measure in lines:
            took, used = median_of(measure)
            base = base or took
            promised = took < SECONDS_MAX if what.startswith("mltrack ui") else None
            row(what, f"{took:.1f} s", f"{used:.1f} s", f"{took / base:.2f}", verdict=promised)


def first_page_without_catalog(command: list[str], folder: Path) -> list[float]:
    """The same after the catalog, which is derived, was removed."""
    for path in (folder / ".mltrack").glob("catalog.duckdb*"):
        path.unlink()
    return first_page(command, folder)


if __name__ == "__main__":
    main()

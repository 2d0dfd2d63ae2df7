"""Search over many runs: the catalog against MLflow's SQLite store holding the same runs.

    python benchmarks/bench_search.py [--runs 10000] [--no-mlflow]

Prints the median of several calls each, and how many times faster than MLflow that is. The goals are those of the
project: a search over 10,000 runs under 0.3 s, a refresh after one run changed under 0.1 s, a rebuild under 60 s.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mltrack.disk.layout import Layout, new_run_id
from mltrack.entities import RunInfo
from mltrack.journal.events import EventJournal, new_writer_name
from mltrack.journal.written_points import open_points
from mltrack.store import Store

PARAMS, TAGS, METRICS, POINTS = 10, 5, 10, 20
FILTER = "metrics.metric_3 < 0.5 and params.param_2 = '3'"
ORDER = ["metrics.metric_1 DESC"]
START_NS = 1_700_000_000_000_000_000

Facts = tuple[str, dict[str, str], dict[str, str], dict[str, list[float]], int]


def make_facts(count: int) -> Iterator[Facts]:
    """Runs as (id, params, tags, values by metric, start in ns)."""
    draw = random.Random(7)
    for number in range(count):
        params = {f"param_{n}": str(draw.randrange(10)) for n in range(PARAMS)}
        tags = {f"tag_{n}": f"value {draw.randrange(100)}" for n in range(TAGS)} | {"mlflow.runName": f"run-{number}"}
        metrics = {f"metric_{n}": [draw.random() for _ in range(POINTS)] for n in range(METRICS)}
        yield new_run_id(), params, tags, metrics, START_NS + number * 1_000_000_000


def write_run(layout: Layout, facts: Facts) -> None:
    """One finished run, as the record API leaves it."""
    run_id, params, tags, metrics, at = facts
    folder = layout.run(run_id)
    for path in (folder.events, folder.points, folder.segments):
        path.mkdir(parents=True)
    writer = new_writer_name(at + random.getrandbits(20))
    events = EventJournal(folder.events, writer)
    said = {"type": "writer", "run_id": run_id, "role": "create", "host": "bench", "pid": 1, "locked": events.locked}
    start = {"type": "start", "run_name": "", "experiment_id": "0", "experiment_name": "Default", "start_time": at}
    lines: list[dict[str, Any]] = [said, start]
    lines += [{"type": "param", "key": key, "value": value} for key, value in params.items()]
    lines += [{"type": "tag", "key": key, "value": value} for key, value in tags.items()]
    events.append(lines, at)

    def name(number: int, key: str) -> None:
        events.append([{"type": "metric", "number": number, "key": key}], at)

    points = open_points(folder.points, writer, on_new_metric=name, on_loss=lambda error: None)
    for step in range(POINTS):
        for key, values in metrics.items():
            points.log(key, values[step], step, at + step * 1000)
    # closed without waiting for the disk: ten thousand syncs are not what is measured here
    if points.fd >= 0:
        os.ftruncate(points.fd, points.offset)
        os.close(points.fd)
    events.append([{"type": "end", "status": "FINISHED", "end_time": at + 60_000_000_000}], at)
    events.close()


def fill_mlflow(path: Path, runs: list[Facts]) -> Any:
    """MLflow's store with the same runs: made by MLflow, filled by bulk inserts to save an hour."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    make: Any = SqlAlchemyStore
    store = make(f"sqlite:///{path}", str(path.parent / "artifacts"))
    with sqlite3.connect(path) as db:
        for run_id, params, tags, metrics, at in runs:
            ms = at // 1_000_000
            db.execute(
                "INSERT INTO runs (run_uuid, name, source_type, status, start_time, end_time, lifecycle_stage,"
                " artifact_uri, experiment_id, user_id, source_name, source_version, entry_point_name)"
                " VALUES (?, ?, 'LOCAL', 'FINISHED', ?, ?, 'active', '', 0, '', '', '', '')",
                (run_id, tags["mlflow.runName"], ms, ms + 60_000),
            )
            db.executemany("INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?)", _rows(run_id, params))
            db.executemany("INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)", _rows(run_id, tags))
            db.executemany(
                "INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)",
                [(run_id, key, values[-1], ms, POINTS - 1) for key, values in metrics.items()],
            )
    return store


def _rows(run_id: str, facts: dict[str, str]) -> list[tuple[str, str, str]]:
    return [(run_id, key, value) for key, value in facts.items()]


def median_s(call: Callable[[], object], repeats: int = 7) -> float:
    """The median seconds of several calls, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(folder: Path, count: int, *, with_mlflow: bool) -> Table:
    """All figures, as a table."""
    layout = Layout.open_or_create(folder / "store", now_ns=START_NS)
    runs = list(make_facts(count))
    for facts in runs:
        write_run(layout, facts)
    store = Store(layout)
    table = Table("what", "mltrack s", "goal s", "MLflow SQLite s", "ratio", title=f"{count:,} runs")
    mlflow: Any = None
    if with_mlflow:
        mlflow = fill_mlflow(folder / "mlflow.db", runs)

    def row(what: str, ours: float, goal: str = "", theirs: Callable[[], object] | None = None) -> None:
        other = median_s(theirs, 3) if theirs is not None and mlflow is not None else None
        ratio = f"{other / ours:.1f}x" if other is not None else ""
        table.add_row(what, f"{ours:.4f}", goal, f"{other:.4f}" if other is not None else "", ratio)

    start = time.perf_counter()
    store.refresh()
    row("rebuild of the catalog", time.perf_counter() - start, "60")
    time.sleep(3)  # until the folders' times are old enough to be trusted
    store.refresh()
    first = Store(layout)
    start = time.perf_counter()
    first.search_runs(filter_string=FILTER, order_by=ORDER)
    row("first search in a process", time.perf_counter() - start)

    def ours(text: str, **more: Any) -> Callable[[], object]:
        return lambda: store.search_runs(["0"], text, **more)

    def theirs(text: str, size: int = 1000, **more: Any) -> Callable[[], object]:
        return lambda: mlflow.search_runs(["0"], text, 1, size, **more)

    row("filter on metric and param, order by metric", median_s(ours(FILTER, order_by=ORDER)), "0.3",
        theirs(FILTER, order_by=ORDER))  # fmt: skip
    wide = "metrics.metric_3 >= 0"
    row("a page of 1,000 of all runs, by metric", median_s(ours(wide, order_by=ORDER)), "0.3",
        theirs(wide, order_by=ORDER))  # fmt: skip
    row("all runs in one page", median_s(ours("", max_results=50_000), 3), "", theirs("", 50_000))
    row("all runs as a data frame", median_s(store.search_runs_frame, 3), "0.5")
    row("heads", median_s(store.heads))
    sql = "SELECT key, avg(value) FROM latest_metrics GROUP BY key"
    row("sql: mean of each latest metric", median_s(lambda: store.sql(sql)))
    sql = "SELECT key, count(*), avg(value) FROM metrics GROUP BY key"
    row(f"sql: mean over all {count * METRICS * POINTS:,} points", median_s(lambda: store.sql(sql), 3))
    row("refresh after one run changed", _one_changed(store), "0.1")
    row("refresh after 500 runs were added", _many_added(store))
    size = (folder / "store" / "catalog.duckdb").stat().st_size
    table.caption = f"catalog.duckdb: {size / 1e6:.1f} MB"
    return table


def _one_changed(store: Store) -> float:
    from mltrack.journal.recorder import Recorder

    info: RunInfo = store.search_runs(max_results=1)[0].info
    times = []
    for number in range(7):
        recorder = Recorder(store.layout, store.layout.run(info.run_id), "edit")
        recorder.start([{"type": "tag", "key": "note", "value": str(number)}])
        recorder.close()
        start = time.perf_counter()
        found = store.search_runs(filter_string=f"tags.note = '{number}'")
        times.append(time.perf_counter() - start)
        if len(found) != 1:
            raise SystemExit("the change was not seen")
    return statistics.median(times)


def _many_added(store: Store) -> float:
    for facts in make_facts(500):
        write_run(store.layout, facts)
    start = time.perf_counter()
    store.refresh()
    return time.perf_counter() - start


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--no-mlflow", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Console().print(measure(Path(folder), args.runs, with_mlflow=not args.no_mlflow))


if __name__ == "__main__":
    main()

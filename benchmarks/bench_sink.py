"""How much memory it takes to push a large store, and how fast the syncer is where the far end costs nothing.

    python benchmarks/bench_sink.py [--points N]

Promise: under 300 MB for ten million points. The far end counts them and keeps nothing, so the rate shows what the
syncer itself can do (its own processor time per point, too): a real server takes some thousands of points a second.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from measure import ROUNDS, fresh_folder, heading, in_fresh_process, peak_memory, row
from sink import far_end

RUNS = 4
METRICS = 5
PIECE = 1_000
MEMORY_MAX = 300e6


def record(folder: str, points_text: str) -> None:
    """A store with RUNS runs of METRICS metrics each, their points logged in turn."""
    import numpy as np

    import mltrack

    mltrack.set_store(folder)
    steps = int(points_text) // RUNS // METRICS
    numbers = np.random.default_rng(0)
    for number in range(RUNS):
        with mltrack.start_run(run_name=f"run-{number}") as run:
            begun = time.time_ns()
            for first in range(0, steps, PIECE):
                at = np.arange(first, min(first + PIECE, steps))
                for k in range(METRICS):
                    run.log_series(f"metric_{k}", numbers.normal(size=len(at)), at, begun + at * 1_000_000)
    print(0)


def push(folder: str, url: str) -> None:
    """Push it; print seconds, seconds of processor time, and the peak of this process's memory in bytes."""
    import mltrack
    from mltrack_sync import Remote, push

    start, used = time.perf_counter(), time.process_time()
    report = push(mltrack.Store.open(folder), Remote("sink", url))
    assert report.complete, report
    print(time.perf_counter() - start, time.process_time() - used, peak_memory())


def measured(folder: Path, points: int, number: int) -> list[float]:
    with far_end() as there:
        figures = in_fresh_process(__file__, "push", str(folder), there.url)
        assert there.taken().points == points, there.taken()
    (folder / "remotes" / "sink" / "ledger.jsonl").rename(folder / f"ledger.{number}")
    print(f"  {figures[0]:.1f} s, {figures[2] / 1e6:.0f} MB", file=sys.stderr)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000_000)
    points = parser.parse_args().points // (RUNS * METRICS) * RUNS * METRICS
    with fresh_folder() as folder:
        store = folder / ".mltrack"
        in_fresh_process(__file__, "record", str(store), str(points))
        rounds = [measured(store, points, number) for number in range(ROUNDS)]
    seconds, used, memory = (sorted(column)[len(rounds) // 2] for column in zip(*rounds, strict=True))
    heading(f"Pushing {points:,} points in {RUNS} runs to a far end that only counts")
    row("", "points/s", "processor us", "peak MB")
    figures = (f"{points / seconds:,.0f}", f"{used / points * 1e6:.2f}", f"{memory / 1e6:,.0f}")
    row("mltrack sync", *figures, verdict=memory < MEMORY_MAX)


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record(*sys.argv[2:4])
    elif sys.argv[1:2] == ["push"]:
        push(*sys.argv[2:4])
    else:
        main()

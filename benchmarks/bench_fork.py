"""How long it takes to read a run through a chain of ten forks, compared with one run that has the same points.

    python benchmarks/bench_fork.py [--points N]

Promise: at most 1.2 times as long. Each run of the chain trains some steps past the checkpoint that the next one is
forked at (10%), as a training does that is continued from a checkpoint. Read are all points of the run as one table,
one metric, and the summaries; the least processor time of some rounds counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

from measure import ROUNDS, fresh_folder, heading, row

FORKS = 10
METRICS = 4
RATIO_MAX = 1.2
BEYOND = 0.1
"""Which part of each piece is logged past the next fork."""


def log(run: object, first: int, count: int) -> None:
    """So many steps of METRICS metrics, step by step as a training logs them."""
    for step in range(first, first + count):
        run.log_metrics({f"metric_{number}": step + number / 8 for number in range(METRICS)}, step)  # type: ignore[attr-defined]


def chain(points: int) -> str:
    """Runs each forked from the one before; the id of the last one."""
    import mltrack

    piece = points // METRICS // (FORKS + 1)
    run_id = ""
    for number in range(FORKS + 1):
        first = number * piece
        with mltrack.fork_run(run_id, first - 1) if run_id else mltrack.start_run() as run:
            log(run, first, piece if number == FORKS else int(piece * (1 + BEYOND)))
        run_id = run.run_id
    return run_id


def single(points: int) -> str:
    """One run with the same points; its id."""
    import mltrack

    with mltrack.start_run() as run:
        log(run, 0, points // METRICS // (FORKS + 1) * (FORKS + 1))
    return run.run_id


def seconds(read: Callable[[], object]) -> float:
    """How much processor time it takes: what else the machine does matters less than for the time that passes."""
    began = time.process_time()
    read()
    return time.process_time() - began


def compare(points: int) -> bool:
    """Print a row for each way of reading; whether all ratios are kept."""
    import mltrack
    from mltrack.store import Store

    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        ids = {"one run": single(points), "ten forks": chain(points)}
        store = Store.open(folder / ".mltrack")
        counts = {store.run(run_id).point_count for run_id in ids.values()}
        assert len(counts) == 1, counts
        reads: dict[str, Callable[[str], object]] = {
            "all points": lambda run_id: store.run(run_id).metrics(),
            "one metric": lambda run_id: store.run(run_id).metrics("metric_0"),
            "summaries": lambda run_id: store.run(run_id).summaries,
        }
        heading(f"reading {counts.pop():,} points of one run, and through {FORKS} forks")
        kept = True
        for name, read in reads.items():
            times: dict[str, list[float]] = {which: [] for which in ids}
            for _ in range(ROUNDS):
                for which, run_id in ids.items():
                    times[which].append(seconds(partial(read, run_id)))
            one, forks = (min(times[which]) for which in ids)
            kept &= forks <= RATIO_MAX * one
            figures = (f"{one * 1e3:.0f} ms", f"{forks * 1e3:.0f} ms", f"ratio {forks / one:.2f}")
            row(name, *figures, verdict=forks <= RATIO_MAX * one)
        mltrack.set_store(None)
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=4_000_000)
    sys.exit(0 if compare(parser.parse_args().points) else 1)

"""What guards cost the training, and how soon they find something.

    python benchmarks/bench_guards.py

With and without guards are measured in turn, and the best of each is compared, as the machine's own noise is larger
than the promise; processor time of the training process is what guards could add to. Promises: the training is at most
0.1% slower, and what a rule looks for is found within a second of the log call.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

from measure import ROUNDS, fresh_folder, heading, in_fresh_process, row

POINTS = 3_000_000
STEPS = 20_000
STEP_S = 0.0005
FINDS = 20
LOOKS = 1_000_000
RULES = ["loss is NaN", "loss > 1e9 for 100 steps", "any metric is not finite", "no point for 10 min"]


def record(guarded: bool) -> list[float]:
    """Of log calls as fast as they go: ns of wall time and of processor time a point."""
    import mltrack

    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        with mltrack.start_run(guards=RULES if guarded else None) as run:
            time.sleep(1.0)  # the watcher has started
            began, used = time.perf_counter_ns(), time.process_time_ns()
            for step in range(POINTS):
                run.log_metric("loss", 0.5, step)
            return [(time.perf_counter_ns() - began) / POINTS, (time.process_time_ns() - used) / POINTS]


def train(guarded: bool) -> list[float]:
    """Of a training whose steps take half a millisecond: wall time in s, and processor time of its watcher in s."""
    import psutil

    import mltrack
    from mltrack.guards.process import GuardProcess

    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        with mltrack.start_run(guards=RULES if guarded else None) as run:
            time.sleep(1.0)
            watchers = [psutil.Process(one.pid) for one in run._attachments if isinstance(one, GuardProcess)]
            before = [sum(watcher.cpu_times()[:2]) for watcher in watchers]
            began = time.perf_counter()
            for step in range(STEPS):
                until = time.perf_counter() + STEP_S
                while time.perf_counter() < until:
                    pass
                run.log_metric("loss", 0.5, step)
                if run.should_stop:
                    break
            took = time.perf_counter() - began
            after = [sum(watcher.cpu_times()[:2]) for watcher in watchers]
            return [took, sum(after) - sum(before)]


def find() -> list[float]:
    """From the log call to ``should_stop`` and to the alert: median and most, in ms."""
    import mltrack

    found = []
    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        for _ in range(FINDS):
            with mltrack.start_run(guards=[mltrack.Guard("loss is NaN", stop=True)]) as run:
                time.sleep(1.0)
                began = time.perf_counter()
                run.log_metric("loss", float("nan"))
                while not run.should_stop:
                    time.sleep(0.001)
                found.append((time.perf_counter() - began) * 1000)
                assert len(run.alerts()) == 1
    return [statistics.median(found), max(found)]


def look() -> list[float]:
    """One ``should_stop`` that is false, in ns."""
    import mltrack

    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        with mltrack.start_run() as run:
            began = time.perf_counter_ns()
            for _ in range(LOOKS):
                if run.should_stop:
                    break
            return [(time.perf_counter_ns() - began) / LOOKS]


def pairs(part: str) -> tuple[list[list[float]], list[list[float]]]:
    """The figures without and with guards, in turn."""
    plain, guarded = [], []
    for _ in range(ROUNDS):
        plain.append(in_fresh_process(__file__, part))
        guarded.append(in_fresh_process(__file__, part, "guarded"))
    return plain, guarded


def best(rows: list[list[float]], column: int) -> float:
    return min(line[column] for line in rows)


def median(rows: list[list[float]], column: int) -> float:
    return statistics.median(line[column] for line in rows)


def main() -> None:
    os.environ["MLTRACK_QUIET"] = "1"
    heading("Guards: four rules, watched by another process")
    plain, guarded = pairs("record")
    row("", "without", "with", "difference")
    for column, what in enumerate(("log_metric, wall time", "log_metric, processor time")):
        a, b = best(plain, column), best(guarded, column)
        row(what, f"{a:.1f} ns", f"{b:.1f} ns", f"{(b / a - 1) * 100:+.2f}%")
    plain, guarded = pairs("train")
    a, b = best(plain, 0), best(guarded, 0)
    slower = (b / a - 1) * 100
    row(
        f"{STEPS:,} steps of {STEP_S * 1000:.1f} ms, best",
        f"{a:.3f} s",
        f"{b:.3f} s",
        f"{slower:+.3f}%",
        verdict=slower <= 0.1,
    )
    row("the watcher's share of a core", f"{median(guarded, 1) / median(guarded, 0) * 100:.2f}%")
    row("should_stop", f"{in_fresh_process(__file__, 'look')[0]:.0f} ns")
    middle, most = in_fresh_process(__file__, "find")
    row("from a NaN to should_stop, median and most", f"{middle:.0f} ms", f"{most:.0f} ms", verdict=most < 1000)


if __name__ == "__main__":
    PARTS = {"record": record, "train": train}
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] in PARTS:
        print(*PARTS[sys.argv[1]]("guarded" in sys.argv))
    else:
        print(*{"find": find, "look": look}[sys.argv[1]]())

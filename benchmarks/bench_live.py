"""What live push costs the training: a small NumPy training, with and without it.

    python benchmarks/bench_live.py [--seconds S]

Promise: less than 2% slower with live push on. The far end answers as an MLflow server does, keeps nothing, and has the
lowest priority: on a small machine a real server would take the processor from the training, and that is not what is
measured. Each round trains both ways, in turn, for the same number of steps, and the ratio is of one round; that of the
training's own processor time does not feel what else the machine does. The syncer is counted whole, from its start; a
training of a minute pays for that once, as one of a day does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

from measure import ROUNDS, fresh_folder, heading, in_fresh_process, row
from sink import far_end

WAIT_S = 120


def train(folder: str, seconds_or_steps: str, url: str) -> None:
    """Train a small network, two points logged at each step; print its seconds, those of start_run, processor time."""
    import numpy as np

    import mltrack

    mltrack.set_store(folder)
    with mltrack.start_run():
        pass  # what is imported once
    before = time.perf_counter()
    run = mltrack.start_run(sync=url or False)
    started = time.perf_counter() - before
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(256, 64))
    y = np.sin(x.sum(axis=1, keepdims=True))
    w1, w2 = numbers.normal(size=(64, 128)) / 8, numbers.normal(size=(128, 1)) / 11
    steps = int(seconds_or_steps)
    begin, used = time.perf_counter(), time.process_time()
    for step in range(steps):
        hidden = np.tanh(x @ w1)
        error = hidden @ w2 - y
        slope = 2 * error / len(x)
        grad1 = x.T @ ((slope @ w2.T) * (1 - hidden**2))
        w2 -= 0.05 * hidden.T @ slope
        w1 -= 0.05 * grad1
        run.log({"loss": float((error**2).mean()), "norm": float(np.abs(grad1).max())}, step)
    took, used = time.perf_counter() - begin, time.process_time() - used
    mltrack.end_run()
    print(took, started, used)


def alone(steps: int) -> list[float]:
    """Seconds of training, of start_run, and processor time of the training."""
    with fresh_folder() as folder:
        return in_fresh_process(__file__, "train", str(folder / ".mltrack"), str(steps), "")


def live(steps: int) -> list[float]:
    """The same; then the syncer's processor time and niceness, and the share of the points there as training ends."""
    with fresh_folder() as folder, far_end(niceness=19) as there:
        store = folder / ".mltrack"
        figures = in_fresh_process(__file__, "train", str(store), str(steps), there.url)
        figures += [*syncer(store), there.taken().points / (2 * steps)]
        wait_for_all(store)
        assert there.taken().points == 2 * steps, there.taken()
    return figures


def syncer(store: Path) -> tuple[float, float]:
    """The background syncer's processor time, and its niceness."""
    import psutil

    from mltrack_sync.daemon.heartbeat import read_heartbeat

    (found,) = [read_heartbeat(folder) for folder in store.glob("remotes/*")]
    assert found is not None
    process = psutil.Process(found.pid)
    times = process.cpu_times()
    return times.user + times.system, process.nice()


def wait_for_all(store: Path) -> None:
    from mltrack.recording.background_sync import is_served

    until = time.monotonic() + WAIT_S
    while any(is_served(folder) for folder in store.glob("remotes/*")):
        if time.monotonic() > until:
            raise SystemExit(f"the syncer of {store} does not end")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long each training is to take")
    seconds = parser.parse_args().seconds
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    steps = int(2_000 * seconds / alone(2_000)[0])
    plain: list[list[float]] = []
    pushing: list[list[float]] = []
    for number in range(ROUNDS):
        for way in ("alone", "live") if number % 2 == 0 else ("live", "alone"):
            if way == "alone":
                plain.append(alone(steps))
            else:
                pushing.append(live(steps))
        print(f"  alone {plain[-1][0]:.2f} s, live {pushing[-1][0]:.2f} s", file=sys.stderr)
    heading(f"Training for {steps:,} steps of two points each, with and without live push")
    row("", "ns a step", "processor ns", "start_run, ms", "slower", "by processor")
    took, started, used = (statistics.median(column) for column in zip(*plain, strict=True))
    row("alone", f"{took / steps * 1e9:,.0f}", f"{used / steps * 1e9:,.0f}", f"{started * 1e3:.1f}")
    slower, by_processor = (
        statistics.median(with_[n] / without[n] for with_, without in zip(pushing, plain, strict=True)) - 1
        for n in (0, 2)
    )
    spread = statistics.stdev(one[0] for one in plain) / took if len(plain) > 1 else 0.0
    took, started, used, syncing, niceness, there = (statistics.median(column) for column in zip(*pushing, strict=True))
    figures = (
        f"{took / steps * 1e9:,.0f}",
        f"{used / steps * 1e9:,.0f}",
        f"{started * 1e3:.1f}",
        f"{slower:+.1%}",
        f"{by_processor:+.1%}",
    )
    row("with live push", *figures, verdict=slower < 0.02)
    print(
        f"  spread of the trainings alone: {spread:.1%}; if that is over 2% something else is at work on this machine"
    )
    print(
        f"  the syncer's processor time: {syncing:.1f} s, its start included, in {took:.1f} s of training;"
        f" its niceness: {niceness:.0f}"
    )
    print(f"  points there when the training ended: {there:.0%}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train(*sys.argv[2:5])
    else:
        main()

"""The live screen: how soon its first frame is there, what watching costs, how soon a curve of millions is drawn.

    python benchmarks/bench_top.py [--runs N] [--points N] [--seconds S]

Promises: the first frame, with runs in it, under 0.5 s with 10,000 runs in the store; one live run of 1,000 points a
second costs under 5% of a core; a curve of 10 million points is drawn under 0.3 s, with its spike. The program runs in
a terminal of 120 by 40 that this script reads. The catalog of the runs exists, as it does after any search; the time
until the first frame counts from the start of the process, Python's included; the processor time next to it does not
feel what else the machine does (on a busy one, start the script by ``chrt -r 1``, as root).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from bench_search import make_facts, write_run
from measure import ROUNDS, fresh_folder, heading, in_fresh_process, row

FIRST_FRAME_S, CORE_SHARE, CURVE_S = 0.5, 0.05, 0.3
RATE = 1_000
"""Points a second of the live run."""

SETTLE_S = 5.0
"""What the start of the program costs is not what watching costs."""

WAIT_S = 30.0
_STYLE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """The program in a terminal of its own."""

    def __init__(self, store: Path) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "XDG_CONFIG_HOME": str(store.parent / "config")}
        self.began = time.perf_counter()
        command = [sys.executable, "-m", "mltrack", "--store", str(store), "top"]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.shown = b""

    def read(self, seconds: float) -> None:
        """Take what comes within that time."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            if select.select([self.ours], [], [], left)[0]:
                self.shown += os.read(self.ours, 1 << 16)
                return

    def wait_for(self, words: bytes) -> float:
        """The seconds from the start until these words are on the screen."""
        while words not in _STYLE.sub(b"", self.shown):
            if time.perf_counter() - self.began > WAIT_S:
                raise SystemExit(f"{words!r} did not appear: {self.shown[-2000:]!r}")
            self.read(0.1)
        return time.perf_counter() - self.began

    def used(self) -> float:
        """The processor time of the program so far, in seconds."""
        import psutil

        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def watch(self, seconds: float) -> None:
        """Let it run, and take what it draws."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            self.read(0.2)
            self.shown = b""

    def close(self) -> None:
        os.write(self.ours, b"q")
        try:
            until = time.perf_counter() + WAIT_S
            while self.process.poll() is None and time.perf_counter() < until:
                self.read(0.05)
        except OSError:  # its side of the terminal is closed
            pass
        self.process.wait(WAIT_S)
        os.close(self.ours)


def first_frame(runs: int) -> list[float]:
    """Seconds until the frame, until the first run is in it, and of processor time until then."""
    from mltrack.disk.layout import Layout
    from mltrack.store import Store

    with fresh_folder() as folder:
        layout = Layout.open_or_create(folder / ".mltrack", now_ns=time.time_ns())
        for facts in make_facts(runs):
            write_run(layout, facts)
        Store(layout).refresh()
        figures = []
        for _ in range(ROUNDS):
            screen = Screen(folder / ".mltrack")
            frame = screen.wait_for(b"Charts")
            figures.append((frame, screen.wait_for(f"run-{runs - 1}".encode()), screen.used()))
            screen.close()
    return [statistics.median(column) for column in zip(*figures, strict=True)]


def live_share(seconds: float) -> float:
    """The share of a core that watching a live run takes."""
    with fresh_folder() as folder:
        store = folder / ".mltrack"
        command = [sys.executable, __file__, "train", str(store), str(seconds + SETTLE_S + 10)]
        training = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert training.stdout is not None
        training.stdout.readline()
        screen = Screen(store)
        screen.wait_for(b"loss")
        screen.watch(SETTLE_S)
        before, began = screen.used(), time.perf_counter()
        screen.watch(seconds)
        share = (screen.used() - before) / (time.perf_counter() - began)
        screen.close()
        training.terminate()
        training.wait()
    return share


def train(store: str, seconds: str) -> None:
    """Log two metrics, 1,000 points a second together."""
    import mltrack

    mltrack.set_store(store)
    run = mltrack.start_run(run_name="live")
    print("live", flush=True)
    began = time.perf_counter()
    step = 0
    while time.perf_counter() - began < float(seconds):
        while step < (time.perf_counter() - began) * RATE / 2:
            step += 1
            run.log({"loss": 1 / step, "accuracy": 1 - 1 / step}, step)
        time.sleep(0.005)


def curve(store: str, points: str) -> None:
    """Print the seconds until the curve is drawn, in a process that shows the list of runs already."""
    from mltrack.disk.layout import Layout
    from mltrack.top.board import Board
    from mltrack.top.chart import draw_chart
    from mltrack.top.settings import Settings

    board = Board(Layout.open(Path(store)), Settings())
    board.load()
    started = time.perf_counter()
    board.selected = board.tree.rows()[1].key
    board.poll(())
    board.poll(board.metrics(system=False))
    chart = draw_chart(board.lines_of("loss"), board.view, 160, 40)
    took = time.perf_counter() - started
    assert chart.columns[0].extent == (0.0, 5.0), chart.columns[0].extent
    assert board.lines_of("loss")[0].curve.count == int(points)
    print(took)


def open_curve(points: int) -> float:
    """Seconds until a curve with one spike is drawn."""
    import numpy as np

    import mltrack

    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        values = np.sin(np.arange(points) / 1e5) ** 2
        values[0], values[points * 2 // 3] = 0.0, 5.0
        with mltrack.start_run() as run:
            run.log_series("loss", values, steps=np.arange(points))
        mltrack.Store.open(folder / ".mltrack").refresh()
        arguments = ("curve", str(folder / ".mltrack"), str(points))
        return statistics.median(in_fresh_process(__file__, *arguments)[0] for _ in range(ROUNDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long a live run is watched")
    given = parser.parse_args()
    heading("mltrack top")
    row("", "measured", "promise")
    frame, filled, used = first_frame(given.runs)
    row(f"first frame, {given.runs:,} runs", f"{frame:.3f} s", f"{FIRST_FRAME_S} s", verdict=frame < FIRST_FRAME_S)
    row(
        "  the same, with the latest run in it", f"{filled:.3f} s", f"{FIRST_FRAME_S} s", verdict=filled < FIRST_FRAME_S
    )
    row("  its processor time", f"{used:.3f} s")
    share = live_share(given.seconds)
    row(f"a live run of {RATE:,} points/s, of a core", f"{share:.1%}", f"{CORE_SHARE:.0%}", verdict=share < CORE_SHARE)
    took = open_curve(given.points)
    row(f"a curve of {given.points:,} points", f"{took:.3f} s", f"{CURVE_S} s", verdict=took < CURVE_S)


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train(*sys.argv[2:4])
    elif sys.argv[1:2] == ["curve"]:
        curve(*sys.argv[2:4])
    else:
        main()

"""`mltrack run`: what it adds to a program that does nothing, what capture costs, how long a snapshot takes.

    python benchmarks/bench_launch.py [--no-peers]

The goals: under 0.3 s added (beside ``mlflow run --env-manager local`` and wandb's offline start), 100 MB of output
kept whole at a cost under 5% to the program that prints it, and the snapshot of a repository of 5,000 files under 1 s
the second time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from measure import fresh_folder, heading, median_of, require, row

from mltrack import Store

OUTPUT_BYTES = 100_000_000
FILES = 5_000

PRINTER = """
import os, sys, time
line = b"x" * 99 + b"\\n"
block = line * 1000
start = time.perf_counter()
work = 0
for _ in range(int(sys.argv[1]) // len(block)):
    for n in range(40_000):
        work += n
    os.write(1, block)
print(f"{time.perf_counter() - start:.4f}", file=sys.stderr)
"""


def timed(command: list[str], folder: Path, **env: str) -> float:
    """Seconds of a whole process."""
    start = time.perf_counter()
    subprocess.run(
        command, cwd=folder, env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    return time.perf_counter() - start


def mltrack_run(*words: str, options: tuple[str, ...] = ()) -> list[str]:
    """The command line of a launch."""
    return [sys.executable, "-m", "mltrack", "run", *options, "--", *words]


def bench_start(folder: Path, *, peers: bool) -> None:
    """What is added to a program that does nothing."""
    nothing = ["true"]
    timed(mltrack_run(*nothing), folder)  # what is asked once: the packages, the source
    bare = median_of(lambda: [timed(nothing, folder)])[0]
    ours = median_of(lambda: [timed(mltrack_run(*nothing), folder)])[0]
    python = median_of(lambda: [timed(mltrack_run(sys.executable, "-S", "-c", ""), folder)])[0]
    python -= median_of(lambda: [timed([sys.executable, "-S", "-c", ""], folder)])[0]
    row("added by mltrack run, to `true`", f"{ours - bare:.3f} s", verdict=ours - bare < 0.3)
    row("added by mltrack run, to python", f"{python:.3f} s", verdict=python < 0.3)
    if peers:
        (folder / "MLproject").write_text("name: x\nentry_points:\n  main:\n    command: 'true'\n")
        command = [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "local"]
        uri = f"sqlite:///{folder}/mlflow.db"
        timed(command, folder, MLFLOW_TRACKING_URI=uri)  # the tables are made once
        theirs = median_of(lambda: [timed(command, folder, MLFLOW_TRACKING_URI=uri)], 3)[0] - bare
        row("added by mlflow run --env-manager local", f"{theirs:.3f} s", f"{theirs / (ours - bare):.1f}x")
        with contextlib.suppress(subprocess.CalledProcessError):
            require("wandb")
            path = os.pathsep.join(sys.path)
            code = "import wandb; wandb.init(mode='offline', project='x').finish()"
            wandb = [sys.executable, "-c", code]
            theirs = median_of(lambda: [timed(wandb, folder, PYTHONPATH=path, WANDB_SILENT="true")], 3)[0]
            row("wandb.init(mode='offline') and finish", f"{theirs:.3f} s", f"{theirs / (ours - bare):.1f}x")


def printing(command: list[str], folder: Path) -> list[float]:
    """The seconds that the printer counted itself."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    return [float(next(line for line in done.stderr.splitlines() if line.replace(".", "").isdigit()))]


def bench_capture(folder: Path) -> None:
    """100 MB printed by a program that also computes, into a pipe that is emptied as fast, and into a launch."""
    (folder / "printer.py").write_text(PRINTER)
    words = [sys.executable, "printer.py", str(OUTPUT_BYTES)]
    light = ("--no-snapshot", "--no-system-metrics", "--no-watch")
    bare, ours = [], []
    for _ in range(5):  # in turns, to feel the same load
        bare += printing(["sh", "-c", f"{' '.join(words)} | cat"], folder)
        ours += printing(mltrack_run(*words, options=light), folder)
    added = sorted(ours)[2] / sorted(bare)[2] - 1
    row("100 MB printed: into `| cat`, into a launch", f"{sorted(bare)[2]:.2f} s", f"{sorted(ours)[2]:.2f} s")
    row("  added to the program", f"{added:+.1%}", verdict=added < 0.05)
    kept = [
        run.artifact_path("user_logs/std_log.txt").stat().st_size
        for run in Store.open(folder / ".mltrack").runs()
        if any(artifact.size > OUTPUT_BYTES / 2 for artifact in run.artifacts)
    ]
    row("  kept of it, at least", f"{min(kept):,} bytes", verdict=min(kept) >= OUTPUT_BYTES)


def bench_snapshot(folder: Path) -> None:
    """A repository of many small files, the first and the second time."""
    for number in range(FILES):
        path = folder / f"package{number % 50}" / f"module{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"value = {number}\n" * 40)
    git = ["git", "-c", "user.name=b", "-c", "user.email=b@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)
    (folder / ".gitignore").write_text(".mltrack/\n")
    time.sleep(3)  # until the files are old enough for their times to be trusted
    light = ("--no-system-metrics", "--no-watch")
    first = timed(mltrack_run("true", options=light), folder)
    again = median_of(lambda: [timed(mltrack_run("true", options=light), folder)])[0]
    without = median_of(lambda: [timed(mltrack_run("true", options=(*light, "--no-snapshot")), folder)])[0]
    row(f"snapshot of {FILES:,} files, the first time", f"{first - without:.2f} s")
    row("  the second time", f"{again - without:.2f} s", verdict=again - without < 1)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    for name in ("MLTRACK_STORE", "MLTRACK_RUN_ID"):
        os.environ.pop(name, None)
    heading("mltrack run")
    with fresh_folder() as folder:
        bench_start(folder, peers=not args.no_peers)
    with fresh_folder() as folder:
        bench_capture(folder)
    with fresh_folder() as folder:
        bench_snapshot(folder)


if __name__ == "__main__":
    main()

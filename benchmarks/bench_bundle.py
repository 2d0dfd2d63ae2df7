"""How fast runs become one file, compared with ``zip -0`` of the same folder, and how fast they come out of it.

    python benchmarks/bench_bundle.py [--files MB] [--points N]

Promise: a bundle of 1 GB at no less than half the rate of ``zip -0`` (which makes CRC-32 alone, not SHA-256), in under
300 MB of memory. A bundle is on the disk when the call returns, so ``zip`` is followed by ``sync``. Where ``zip`` is
not installed, Python's zipfile takes its place.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import ROUNDS, folder_bytes, fresh_folder, heading, in_fresh_process, peak_memory, row

SHARE_MIN = 0.5
MEMORY_MB_MAX = 300


def record(folder: Path, points: int, megabytes: int) -> None:
    """Four runs with points, and artifacts of 64 MB."""
    import numpy as np

    import mltrack

    mltrack.set_store(folder)
    for number in range(4):
        with mltrack.start_run(run_name=f"run-{number}") as run:
            run.log_series("loss", np.random.default_rng(number).normal(size=points // 4))
            for at in range(megabytes // 256):
                path = folder.parent / "artifact.bin"
                path.write_bytes(os.urandom(64 << 20))
                run.log_artifact(path, f"weights/{at}")
    mltrack.set_store(None)


def bundled(folder: str, out: str) -> None:
    """Print seconds and MB of memory: what a process of its own does."""
    from mltrack.store import Store
    from mltrack_sync.stores.bundles import bundle

    store = Store.open(folder)
    began = time.perf_counter()
    bundle(store, out)
    print(time.perf_counter() - began, peak_memory() / 1e6)


def pulled(folder: str, bundle: str) -> None:
    """The same, of a pull."""
    from mltrack.store import Store
    from mltrack_sync.stores.bundles import pull_bundle

    store = Store.create(Path(folder))
    began = time.perf_counter()
    report = pull_bundle(store, bundle)
    assert report.complete, report
    print(time.perf_counter() - began, peak_memory() / 1e6)


def zipped(folder: Path, out: Path) -> float:
    """Seconds that ``zip -0`` takes, with everything on the disk."""
    program = shutil.which("zip")
    command = [program, "-0", "-q", "-r"] if program else [sys.executable, "-m", "zipfile", "-c"]
    began = time.perf_counter()
    subprocess.run([*command, str(out), str(folder)], check=True)
    subprocess.run(["sync", "-f", str(out)], check=True)
    return time.perf_counter() - began


def main() -> int:
    """Measure and print; 1 where a promise is not kept."""
    parts = {"bundle": bundled, "pull": pulled}
    if len(sys.argv) > 1 and sys.argv[1] in parts:
        parts[sys.argv[1]](*sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_024, help="MB of artifacts")
    parser.add_argument("--points", type=int, default=2_000_000)
    given = parser.parse_args()
    rounds: list[list[float]] = []
    with fresh_folder() as folder:
        record(folder / "a", given.points, given.files)
        size = folder_bytes(folder / "a")
        for number in range(min(ROUNDS, 3)):
            out = folder / f"{number}.mltb"
            ours, memory = in_fresh_process(__file__, "bundle", str(folder / "a"), str(out))
            theirs = zipped(folder / "a", folder / f"{number}.zip")
            back, more = in_fresh_process(__file__, "pull", str(folder / f"b{number}"), str(out))
            rounds.append([ours, theirs, back, theirs / ours, max(memory, more)])
            shutil.rmtree(folder / f"b{number}")
            out.unlink()
            (folder / f"{number}.zip").unlink()
    ours, theirs, back, share, memory = (statistics.median(column) for column in zip(*rounds, strict=True))
    heading(f"A bundle of {size / 1e9:.1f} GB")
    kept = share >= SHARE_MIN and memory < MEMORY_MB_MAX
    row("mltrack bundle", f"{ours:.1f} s", f"{size / ours / 1e6:,.0f} MB/s", f"{share:.2f} of zip", verdict=kept)
    row("zip -0, sync", f"{theirs:.1f} s", f"{size / theirs / 1e6:,.0f} MB/s")
    row("mltrack pull", f"{back:.1f} s", f"{size / back / 1e6:,.0f} MB/s")
    row("memory", f"{memory:,.0f} MB")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

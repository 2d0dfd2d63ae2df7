"""What the benchmarks share: medians of several runs, a fresh folder each, and a table of ratios at the end."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """A new folder, on the disk the system keeps temporary files on (BENCH_DIR names another), removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mltrack-bench-", dir=os.environ.get("BENCH_DIR")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_fresh_process(script: str, *arguments: str) -> list[float]:
    """Run ``python script.py part arguments`` and return the numbers its last line prints."""
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise SystemExit(f"{script} {' '.join(arguments)} failed:\n{done.stderr}")
    return [float(number) for number in done.stdout.strip().splitlines()[-1].split()]


def median_of(measure: Callable[[], list[float]], rounds: int = ROUNDS) -> list[float]:
    """The median of each number over several runs."""
    return [statistics.median(column) for column in zip(*(measure() for _ in range(rounds)), strict=True)]


def require(package: str) -> None:
    """Make a peer importable; where it is missing it is installed into a cache folder of its own."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mltrack-benchmarks"
    target = cache / f"py{sys.version_info[0]}{sys.version_info[1]}" / package
    with contextlib.suppress(ImportError):
        __import__(package)
        return
    if not target.is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), package]
        subprocess.run(command, check=True, stdout=sys.stderr)
    sys.path.append(str(target))


def heading(title: str) -> None:
    """A title, and the machine the figures below it are from."""
    cores = os.cpu_count()
    print(
        f"\n{title}\n  {platform.machine()}, {cores} cores, Python {platform.python_version()}, "
        f"median of {ROUNDS}, {time.strftime('%Y-%m-%d')}"
    )


def row(what: str, *figures: str, verdict: bool | None = None) -> None:
    """One line; ``verdict`` says whether a promise held."""
    mark = "" if verdict is None else ("  ok" if verdict else "  MISSED")
    print(f"  {what:<44}" + "".join(f"{figure:>16}" for figure in figures) + mark)


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # on Linux it may be that of the parent
    return most if sys.platform == "darwin" else most * 1024


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

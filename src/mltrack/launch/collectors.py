"""Collects what is recorded of a launched program besides its output: system metrics, files it writes, its code."""

from __future__ import annotations

from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING

from mltrack.recording.folder_watch import FolderWatch, Watched
from mltrack.recording.system_metrics import interval_from, is_enabled, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mltrack.process.secret_patterns import Redactor
    from mltrack.recording.run import Run

    Stop = Callable[[], None]
    Start = Callable[[Run, Path], Stop]

__all__ = ["collectors_for"]


def collectors_for(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    redactor: Redactor,
    watch: Sequence[str],
    snapshot: bool,
    system_metrics: bool,
) -> list[Start]:
    """What to start with the program, in this order; each gets the run and the folder the program runs in.

    Args:
        command: the program's.
        environment: the program's.
        redactor: removes secrets.
        watch: folders whose files become artifacts.
        snapshot: whether to record source, packages and machine.
        system_metrics: whether to log the machine's load.

    Raises:
        UsageError: an environment variable about system metrics is invalid.
    """
    starts: list[Start] = []
    if system_metrics and is_enabled(None, environment, default=True):
        interval_from(environment)  # before anything runs
        starts.append(lambda run, folder: _start_measuring(run, environment))
    if watch:
        now_ns = time_ns()
        starts.append(lambda run, folder: _start_watching(run, folder, watch, now_ns))
    if snapshot:

        def start_snapshot(run: Run, folder: Path) -> Stop:
            from mltrack.launch.snapshot import take_snapshot

            take_snapshot(run, folder, command, redactor, environment)
            return lambda: None

        starts.append(start_snapshot)
    return starts


def _start_measuring(run: Run, environment: Mapping[str, str]) -> Stop:
    measuring = measure(run, environment)
    return measuring.stop if measuring is not None else lambda: None


def _start_watching(run: Run, folder: Path, names: Sequence[str], since_ns: int) -> Stop:
    """Watch folders, named relative to the program's; files already in them are ignored."""
    watched = [Watched(folder / name, _artifact_folder(folder, name)) for name in names]
    return FolderWatch(run, watched, written_since_ns=since_ns).stop


def _artifact_folder(folder: Path, name: str) -> str:
    """The name itself if it is below the program's folder, else the name of the folder it leads to."""
    path = Path(name)
    if path.parts and not path.is_absolute() and ".." not in path.parts:
        return path.as_posix()
    return (folder / path).resolve().name

"""What a program says of its first run, on stderr: where it is recorded, and at its end what was recorded.

Once a process, for a run that it made or resumed itself, outside ``mltrack run``; ``MLTRACK_QUIET`` silences it, and so
do mltrack's own commands.
"""

from __future__ import annotations

import os
import sys
from itertools import islice
from typing import TYPE_CHECKING

from mltrack.disk.found_store import words_on_mlflow, words_on_place
from mltrack.disk.remotes_file import remote_tables
from mltrack.environment import MLTRACK_QUIET, MLTRACK_RUN_ID
from mltrack.recording.current_store import was_searched
from mltrack.text.counting import plural
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from mltrack.recording.run import Run

__all__ = ["announce", "is_quiet", "silence"]

_OFF = ("", "0", "false", "no", "off")

_said_in = 0  # the process that was told, or is not to be


def silence() -> None:
    """Say nothing in this process."""
    global _said_in
    _said_in = os.getpid()


def is_quiet() -> bool:
    """Whether ``MLTRACK_QUIET`` asks that runs are not announced."""
    return os.environ.get(MLTRACK_QUIET, "").lower() not in _OFF


def announce(run: Run, *, pushed: bool) -> None:
    """Say where a run is recorded, if it is the first of this process; and more when it has ended.

    Args:
        run: The run, just made or resumed.
        pushed: Whether it is pushed to a remote while it goes on.
    """
    global _said_in
    if _said_in == os.getpid() or MLTRACK_RUN_ID in os.environ or is_quiet():
        return
    if not run.is_new and (run.known_info is None or run.known_info.live):
        return  # others record it, which have said so
    _said_in = os.getpid()
    place = words_on_place(run.store_folder) if was_searched() else None
    what = "recording" if run.is_new else "resuming"
    _say(f"{what} run {run.name} in {run.store_folder}; look at it with: mltrack show {run.run_id[:8]}")
    if place:
        _say(f"this store was {place}")
    if _is_only_run(run) and (left := words_on_mlflow(run.store_folder)):
        _say(left)
    run.after_end = _Farewell(pushed)


def _is_only_run(run: Run) -> bool:
    try:
        with os.scandir(run.folder.path.parent) as runs:
            return sum(1 for _ in islice(runs, 2)) < 2
    except OSError:
        return False


def _has_others(run: Run) -> bool:
    """Whether other processes have recorded into it, too: workers, ranks, those before it was resumed."""
    try:
        with os.scandir(run.folder.events) as writers:
            return sum(1 for _ in islice(writers, 2)) > 1
    except OSError:
        return False


class _Farewell:
    """Says what a run has recorded, when it has ended."""

    def __init__(self, pushed: bool) -> None:
        self._pushed = pushed
        self._pid = os.getpid()

    def __call__(self, run: Run, status: str) -> None:
        if self._pid != os.getpid():
            return
        if not os.path.isdir(run.folder.path):
            _say(f"run {run.name} {status}, but nothing of it is left: its folder was removed")
            return
        points = run.points
        found = f"{plural(points.seq, 'point')} of {plural(len(points.names), 'metric')}"
        if _has_others(run):
            found += " by this process"
        push = "" if self._pushed else f"; push it with: {_push_command(run)}"
        _say(f"run {run.name} {status}, {found}{push}")


def _push_command(run: Run) -> str:
    try:
        named = list(remote_tables(run.store_folder / "remotes.toml"))
    except Exception:  # noqa: BLE001  # a file of anybody's; a push says what is wrong with it
        named = []
    if len(named) == 1:
        return "mltrack sync"
    return f"mltrack sync {'NAME' if named else 'URL'}"


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"mltrack: {printable(text)}\n")
    except Exception:  # noqa: BLE001, S110  # a closed or foreign stream ends no training
        pass

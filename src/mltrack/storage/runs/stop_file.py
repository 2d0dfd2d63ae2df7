"""The file ``live/stop`` of a run, by which its processes are asked to stop: looking for it costs a training little.

It says what the run's events say, and is removed when the run is resumed. This needs neither NumPy nor Arrow.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.storage.runs.state import RunState

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.disk.layout import RunFolder

__all__ = ["clear_stop", "is_stop_requested", "set_stop", "stop_reason"]


def set_stop(folder: RunFolder, *, fs: FileSystem = LOCAL) -> None:
    """Make the file that asks a run's processes to stop.

    Raises:
        OSError: it can't be made.
    """
    fs.make_folder(folder.path / "live")
    with contextlib.suppress(FileExistsError):
        os.close(fs.create(_path(folder)))


def _path(folder: RunFolder) -> Path:
    return folder.path / "live" / "stop"


def is_stop_requested(folder: RunFolder) -> bool:
    """Whether the run's processes are asked to stop."""
    return os.path.exists(_path(folder))


def clear_stop(folder: RunFolder, *, fs: FileSystem = LOCAL) -> None:
    """Let a run that is started again go on."""
    with contextlib.suppress(OSError):
        fs.unlink(_path(folder))


def stop_reason(folder: RunFolder) -> str:
    """Why the run is asked to stop, as far as its events say."""
    state = RunState(folder)
    state.update()
    reasons = [(at, reason) for at, reason in state.stop_requests if at >= state.episode]
    reasons += [
        (one.time, one.message) for one in state.alerts if "stop" in one.actions and one.episode == state.episode
    ]
    return max(reasons)[1] if reasons else "it was asked to stop"

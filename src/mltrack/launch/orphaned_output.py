"""Output left behind by launchers that were killed: it becomes artifacts, as at the end of a launch."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mltrack.disk.artifact_files import adopt_file
from mltrack.errors import BusyError
from mltrack.journal.recorder import Recorder
from mltrack.launch.log_file import LIVE_FOLDER, OutputLog, log_name, unfinished
from mltrack.storage.runs.state import RunState

if TYPE_CHECKING:
    from mltrack.disk.layout import Layout, RunFolder

__all__ = ["publish_orphaned_output"]


def publish_orphaned_output(layout: Layout, run_id: str) -> list[str]:
    """Make artifacts of the output that killed launchers of a run left; returns their names.

    Logs that a launcher still writes are skipped, and live runs. On return the artifacts survive power loss.

    Raises:
        StoreError, OSError: the store can't be written.
    """
    folder = layout.run(run_id)
    live = folder.path / LIVE_FOLDER
    numbers = unfinished(live)
    if not numbers:
        return []
    state = RunState(folder)
    state.update()
    if state.live or not state.exists:
        return []
    recorder = Recorder(layout, folder, "edit", not_before=state.last_time)
    try:
        recorder.start([])
        published = [number for number in numbers if _publish(folder, number, recorder)]
    finally:
        recorder.close()
    with contextlib.suppress(OSError):
        live.rmdir()
    return [log_name(number) for number in published]


def _publish(folder: RunFolder, number: int, recorder: Recorder) -> bool:
    try:
        log = OutputLog(folder.path / LIVE_FOLDER, number=number)
    except BusyError:
        return False
    try:
        path = log.finish()
        if path is None:
            return False
        stored = adopt_file(path, folder.artifacts, log_name(number))
        recorder.emit({"type": "artifact", "path": stored.path, "size": stored.size, "sha256": stored.sha256})
        return True
    finally:
        log.close()

"""Files among a run's artifacts that its events don't mention: they are recorded when the run ends.

Programs that ask for a run's artifact folder (``mlflow.get_artifact_uri()``) write to it directly. The process that
ends the run records the new and the overwritten files in it. Sealing and syncing later record only new ones: a
recorded file that changed after its run has ended is damage, which ``check`` reports.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mltrack.disk.artifact_files import files_below, hash_file, is_temporary
from mltrack.disk.filesystem import relative_name
from mltrack.errors import InvalidPathError, StoreError
from mltrack.journal.recorder import Recorder
from mltrack.storage.runs.state import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mltrack.disk.layout import Layout, RunFolder
    from mltrack.entities import Artifact

__all__ = ["LEFT_BEHIND", "MODEL_FILE", "found_files", "record_found_files"]

MODEL_FILE = "MLmodel"
LEFT_BEHIND = "registered_model_meta"
"""A file that MLflow adds to a model that it got in place, to know its name: not an artifact."""


def found_files(folder: RunFolder, known: Iterable[Artifact], *, overwritten: bool = True) -> list[dict[str, Any]]:
    """An event for each file that is not in ``known``; ``overwritten``: also for those with other bytes than recorded.

    Raises:
        OSError: a file can't be read.
    """
    held = {artifact.path: artifact for artifact in known}
    events: list[dict[str, Any]] = []
    for path, name in files_below(folder.artifacts):
        if is_temporary(path.name) or path.is_symlink() or _is_left_behind(path) or not _can_be_named(name):
            continue
        artifact, status = held.get(name), os.stat(path)
        if artifact is not None and not (overwritten and _may_differ(artifact, status)):
            continue
        size, sha256 = hash_file(path)
        if artifact is None or (size, sha256) != (artifact.size, artifact.sha256):
            events.append({"type": "artifact", "path": name, "size": size, "sha256": sha256})
    return events


def _may_differ(artifact: Artifact, status: os.stat_result) -> bool:
    """Whether a file was written after it was recorded, judging by its size and time."""
    return artifact.size != status.st_size or status.st_mtime_ns > artifact.time


def _is_left_behind(path: Path) -> bool:
    return path.name == LEFT_BEHIND and (path.parent / MODEL_FILE).exists()


def _can_be_named(name: str) -> bool:
    try:
        return relative_name(name) == name
    except InvalidPathError:
        return False


def record_found_files(layout: Layout, run_id: str) -> int:
    """Record such files of a run that is not live; returns their number.

    Raises:
        StoreError: the store can't be read or written.
    """
    folder = layout.run(run_id)
    if not folder.artifacts.is_dir():
        return 0
    state = RunState(folder)
    state.update()
    if state.live or not state.exists:
        return 0
    try:
        events = found_files(folder, state.artifacts, overwritten=False)
    except OSError as error:
        raise StoreError(f"{error.filename} can't be read: {error.strerror}", hint="check its permissions") from error
    if events:
        recorder = Recorder(layout, folder, "edit", not_before=state.last_time)
        try:
            recorder.start(events)
        finally:
            recorder.close()
    return len(events)

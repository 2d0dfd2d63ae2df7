"""What a launched run says of its start: the files of its snapshot, read and checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import read_small
from mltrack.disk.line_types import LAUNCH, SOURCE_FILES
from mltrack.errors import CorruptionError, NotFoundError

if TYPE_CHECKING:
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = [
    "DIFF_NAME",
    "FILES_NAME",
    "LAUNCH_NAME",
    "LIST_BYTES_MAX",
    "REQUIREMENTS_NAME",
    "read_launch",
    "read_source_files",
]

FILES_NAME = "code/files.json"
DIFF_NAME = "code/changes.diff"
LAUNCH_NAME = "environment/launch.json"
REQUIREMENTS_NAME = "environment/requirements.txt"
LIST_BYTES_MAX = 256 << 20


def read_source_files(run: StoredRun) -> dict[str, Any]:
    """The list of a run's source files: ``files``, and ``left_out`` with reasons.

    Raises:
        NotFoundError: the run has no snapshot.
        CorruptionError: the list can't be read.
    """
    found = _json(run, FILES_NAME)
    return _checked(FILES_NAME, found, SOURCE_FILES.fault(found))


def read_launch(run: StoredRun) -> dict[str, Any]:
    """How a run was launched: command, folder, machine, variables.

    Raises:
        NotFoundError, CorruptionError: as read_source_files.
    """
    found = _json(run, LAUNCH_NAME)
    return _checked(LAUNCH_NAME, found, LAUNCH.fault(found))


def _checked(name: str, found: dict[str, Any], fault: str | None) -> dict[str, Any]:
    if fault is not None:
        raise CorruptionError(f"{name}: {fault}", path=name, hint="see: mltrack check")
    return found


def _json(run: StoredRun, name: str) -> dict[str, Any]:
    try:
        text = read_small(run.artifact_path(name), LIST_BYTES_MAX).decode("utf-8", "surrogateescape")
    except NotFoundError:
        raise NotFoundError(
            f"run {run.run_id} has no snapshot", hint="launch programs with: mltrack run -- ..."
        ) from None
    try:
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        return fields
    except (ValueError, RecursionError) as error:
        raise CorruptionError(f"{name}: {error}", path=name, hint="see: mltrack check") from error

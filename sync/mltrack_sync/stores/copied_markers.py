"""Markers in a copy of a run, of writers that record elsewhere: set before they are copied, removed when they end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.disk.elsewhere import MARKER_SUFFIX, encode_marker, marker_path, read_marker
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.entities import Elsewhere
from mltrack.text.printable import printable
from mltrack_sync.stores.point_ranges import writer_of
from mltrack_sync.stores.run_token import writer_is_live

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mltrack.disk.layout import RunFolder
    from mltrack_sync.stores.transfer import UnitSnapshot

__all__ = ["CopiedMarkers", "has_markers"]

HOST_CHARACTERS_MAX = 255


def has_markers(run: Path) -> bool:
    """Whether a copy of the run is not finished, or was live when it was made."""
    try:
        return any(name.endswith(MARKER_SUFFIX) for name in os.listdir(run / "live"))
    except (FileNotFoundError, NotADirectoryError):
        return False


class CopiedMarkers:
    """The markers of one copy of one run."""

    def __init__(self, run: RunFolder, snapshot: UnitSnapshot, store_id: str, *, fs: FileSystem = LOCAL) -> None:
        """Mark writers of a run.

        Args:
            run: The run's folder in the target.
            snapshot: What is copied.
            store_id: The target's id: a writer that records into it is not elsewhere.
            fs: The file system to write with.
        """
        self._run = run
        self._snapshot = snapshot
        self._store_id = store_id
        self._fs = fs
        host = printable(snapshot.origin[1])[:HOST_CHARACTERS_MAX]
        self._line = encode_marker(Elsewhere(host, snapshot.origin[0], max(0, snapshot.taken_at)))

    def begin(self, writers: Iterable[str]) -> None:
        """Mark writers whose files are about to be written: until all was copied, they are not dead, nor sealed.

        Raises:
            OSError: a marker can't be written.
        """
        for writer in writers:
            if not os.path.lexists(marker_path(self._run.path, writer)):
                self._put(writer)

    def finish(self, *, whole: bool) -> None:
        """Leave markers for the writers that are live where the copy comes from, and, unless it is whole, of others.

        Raises:
            OSError: a marker can't be written or removed.
        """
        live = set(self._snapshot.live)
        carried = {writer_of(state.path) for state in self._snapshot.files if state.path.startswith("live/")}
        for writer in live:
            if not writer_is_live(self._run.events / f"{writer}.jsonl"):
                self._put(writer)
        logs = {writer_of(state.path) for state in self._snapshot.files if state.path.startswith("events/")}
        for writer in logs - live:
            marker = read_marker(self._run.path, writer)
            if (whole and writer not in carried) or (marker is not None and marker.store_id == self._store_id):
                self._fs.unlink(marker_path(self._run.path, writer))

    def _put(self, writer: str) -> None:
        path = marker_path(self._run.path, writer)
        self._fs.make_folder(path.parent)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._fs.unlink(temporary)
        fd = self._fs.create(temporary)
        try:
            self._fs.write_all(fd, self._line)
        finally:
            os.close(fd)
        self._fs.rename(temporary, path)

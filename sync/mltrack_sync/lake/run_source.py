"""A run of a lake as files of a store: its events as they were written, its points as segments, its artifacts.

So it is copied as from another store, and comes back as itself, with the same positions.
"""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.disk.arrow_columns import column_array
from mltrack.disk.segment import BLOCK_ROWS, write_segment
from mltrack_sync.lake.blobs import blob_path
from mltrack_sync.lake.known import positions_in
from mltrack_sync.lake.layout import month_of, shard_of
from mltrack_sync.lake.rewinds import as_points
from mltrack_sync.lake.series import partition_of
from mltrack_sync.stores.file_marks import MARK_BYTES
from mltrack_sync.stores.transfer import PIECE_BYTES_MAX, FileKind, FileState, Piece, UnitSnapshot, entries_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mltrack.disk.segment import PointColumns
    from mltrack.entities import Artifact, RunInfo
    from mltrack_sync.lake.data_files import Where
    from mltrack_sync.lake.scan import LakeScan
    from mltrack_sync.stores.transfer import Need

__all__ = ["RunFiles"]

ORIGIN = "1a4e" * 8
"""Stands for the store that a run of a lake comes from, where copies are noted."""

_START = b'"type":"start"'
_ENDINGS = (b'"type":"end"', b'"type":"close"')


@dataclass(slots=True)
class RunFiles:
    """The files of one run. Close it when it was copied.

    Attributes:
        scan: The lake.
        info: The run.
        artifacts: Those of its artifacts that are wanted.
        held: How many points of each writer the store has.
        taken_at: The time now, in ns.
        new_points: How many points its segments have, once there is a snapshot.
    """

    scan: LakeScan
    info: RunInfo
    artifacts: list[Artifact]
    held: Mapping[str, int]
    taken_at: int
    new_points: int = 0
    logs: dict[str, bytes] = field(default_factory=dict)
    _folder: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="mltrack-pull-")
    )
    _contents: dict[str, Path] = field(default_factory=dict)
    _blobs: dict[str, str] = field(default_factory=dict)

    def close(self) -> None:
        """Remove what was made for the copy."""
        self._folder.cleanup()

    def snapshot(self) -> UnitSnapshot:
        """How the run looks: its segments are made now, of points that the store does not have.

        Raises:
            RemoteError: the lake can't be read.
            OSError: a segment can't be written.
        """
        self._read_logs()
        cuts = {writer: _cuts(data) for writer, data in self.logs.items()}
        writers = sorted(self.logs, key=lambda writer: (not cuts[writer][0], writer))
        files = [self._log(writer, cuts[writer][0]) for writer in writers if cuts[writer][0]]
        files += self._own_files()
        files += [self._artifact(each) for each in self.artifacts]
        files += [self._log(w, cuts[w][1]) for w in writers if cuts[w][0] < cuts[w][1]]
        files += list(self._segments())
        files += [self._log(w, len(self.logs[w])) for w in writers if max(cuts[w]) < len(self.logs[w])]
        live = tuple(w for w in writers if self.info.live and b'"type":"close"' not in self.logs[w].splitlines()[-1])
        token = f"lake:{zlib.crc32(repr(files).encode()):08x}"
        unit = f"runs/{self.info.run_id}"
        return UnitSnapshot(unit, token, tuple(files), live, self.taken_at, (ORIGIN, self.scan.tables.place.uri))

    # --- its files ---

    def _where(self) -> Where:
        return {"run_id": [self.info.run_id]}

    def _read_logs(self) -> None:
        rows = self.scan.rows("events", ["writer", "seq", "line"], self._where()).sort_by(
            [("writer", "ascending"), ("seq", "ascending")]
        )
        lines: dict[str, dict[int, str]] = {}
        for writer, seq, line in zip(*(rows.column(name).to_pylist() for name in rows.column_names), strict=True):
            lines.setdefault(writer, {}).setdefault(seq, line)
        for writer, by_seq in lines.items():
            self.logs[writer] = b"".join(line.encode("utf-8") + b"\n" for line in by_seq.values())

    def _log(self, writer: str, size: int) -> FileState:
        data = self.logs[writer][:size]
        return FileState(f"events/{writer}.jsonl", FileKind.LOG, size, mark=f"{zlib.crc32(data[-MARK_BYTES:]):08x}")

    def _artifact(self, artifact: Artifact) -> FileState:
        path = f"artifacts/{artifact.path}"
        self._blobs[path] = artifact.sha256
        return FileState(path, FileKind.WHOLE, artifact.size, sha256=artifact.sha256, at=artifact.time)

    def _own_files(self) -> list[FileState]:
        """Journals of rich values, the longest of each name."""
        rows = self.scan.rows("files", ["path", "size", "sha256"], self._where())
        latest: dict[str, tuple[int, str]] = {}
        for path, size, sha256 in zip(*(rows.column(name).to_pylist() for name in rows.column_names), strict=True):
            latest[path] = max(latest.get(path, (0, "")), (size, sha256))
        found = []
        for path, (size, sha256) in sorted(latest.items()):
            data = self.scan.tables.files.read(blob_path(sha256))
            if data is not None and path.startswith("series/"):
                self._contents[path] = Path(self._folder.name, path.replace("/", "-"))
                self._contents[path].write_bytes(data)
                found.append(FileState(path, FileKind.LOG, size, mark=f"{zlib.crc32(data[-MARK_BYTES:]):08x}"))
        return found

    # --- points ---

    def _segments(self) -> Iterator[FileState]:
        partition = {(month_of(self.info.start_time), shard_of(self.info.run_id))}
        for _, writer, end in positions_in(self.scan, "points", [self.info.run_id], partition):
            first = self.held.get(writer, 0)
            if first < end and writer in self.logs:  # others are of runs that this one was forked from
                name = f"segments/{writer}.{first}-{end - 1}.parquet"
                path = Path(self._folder.name, f"{writer}.parquet")
                write_segment(path, self._blocks(writer, first, end))
                self.new_points += end - first
                self._contents[name] = path
                yield FileState(name, FileKind.WHOLE, path.stat().st_size)

    def _blocks(self, writer: str, first: int, end: int) -> Iterator[PointColumns]:
        """Points in the order of logging; several blocks are read at a time, each file of the lake about once."""
        at_once = 4 * BLOCK_ROWS
        for start in range(first, end, at_once):
            points = self._points(writer, start, min(end, start + at_once))
            for at in range(0, len(points), BLOCK_ROWS):
                yield points.take(slice(at, at + BLOCK_ROWS))

    def _points(self, writer: str, start: int, end: int) -> PointColumns:
        where: Where = {**partition_of(self.info), "writer": [writer], "seq": range(start, end)}
        table = self.scan.rows("points", ["metric", "seq", "step", "time_ns", "value"], where)
        _, index = np.unique(column_array(table.column("seq"), np.int64), return_index=True)
        return as_points(table).take(index)

    # --- bytes ---

    def pieces(self, snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[Piece]:
        """The bytes that are needed.

        Raises:
            RemoteError: a file can't be read.
        """
        for state, need in entries_of(snapshot, needs):
            if state.path.startswith("events/"):
                data = self.logs[state.path.removeprefix("events/").removesuffix(".jsonl")]
                yield from _in_pieces(state, need.start, lambda at, end, data=data: data[at:end])
            elif state.path in self._blobs:
                with self.scan.tables.files.open(blob_path(self._blobs[state.path])) as stream:
                    yield from _in_pieces(state, 0, lambda at, end, stream=stream: stream.read(end - at))
            else:
                with self._contents[state.path].open("rb") as file:
                    file.seek(need.start)
                    yield from _in_pieces(state, need.start, lambda at, end, file=file: file.read(end - at))


def _in_pieces(state: FileState, at: int, read: Any) -> Iterator[Piece]:
    while True:
        end = min(state.size, at + PIECE_BYTES_MAX)
        last = end == state.size
        yield Piece(state.path, state.kind, at, read(at, end), last=last, sha256=state.sha256 if last else "")
        if last:
            return
        at = end


def _cuts(data: bytes) -> tuple[int, int]:
    """The byte after the start's line (0 where there is none), and the one where the lines of the end begin."""
    at = data.find(_START)
    start = data.find(b"\n", at) + 1 if at >= 0 else 0
    ending = len(data)
    for line in reversed(data.split(b"\n")[:-1]):
        if not any(each in line for each in _ENDINGS):
            break
        ending -= len(line) + 1
    return start, max(start, ending)

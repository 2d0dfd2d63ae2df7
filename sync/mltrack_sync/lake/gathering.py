"""What one batch will hold, gathered run by run: points go to files as they come, facts stay in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack_sync.lake.fact_rows import Row, table_of
from mltrack_sync.lake.point_rows import PointPiece, point_rows
from mltrack_sync.lake.staging import StagedFile, stage

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.disk.segment import PointColumns
    from mltrack_sync.lake.files import LakeFiles

__all__ = ["BATCH_POINTS_MAX", "BATCH_ROWS_MAX", "FILE_POINTS_MAX", "Gathering"]

FILE_POINTS_MAX = 1 << 20
"""So many points are held in memory before they are written to files of the lake: about 150 MB."""

BATCH_POINTS_MAX = 1 << 24
"""A batch with so many points is committed, though more of the same run may follow."""

BATCH_ROWS_MAX = 200_000
"""A batch with so many rows of facts is committed."""

HELD_ROWS_MAX = 1 << 13
"""Rows of a table are held as Arrow's columns, which take a third of the memory, but so many of the last ones."""

BATCH_TEXT_MAX = 1 << 26
"""A batch whose facts have so many characters is committed."""

Partition = tuple[str, str]


@dataclass(slots=True)
class Gathering:
    """The content of a batch, as far as it was gathered.

    Attributes:
        files: The lake's files.
        store_id: The store.
        staged: Files of points that were written already.
        lines: What the ledger says once all of it is in the lake.
        points: How many points it has.
    """

    files: LakeFiles
    store_id: str
    staged: list[StagedFile] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    points: int = 0
    _held: dict[Partition, list[PointPiece]] = field(default_factory=dict)
    _held_points: int = 0
    _summaries: list[pa.Table] = field(default_factory=list)
    _rows: dict[str, list[Row]] = field(default_factory=dict)
    _columns: dict[str, list[pa.Table]] = field(default_factory=dict)
    _row_count: int = 0
    _text: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it is to be committed before more comes."""
        is_long = self._row_count >= BATCH_ROWS_MAX or self._text >= BATCH_TEXT_MAX
        return self.points >= BATCH_POINTS_MAX or is_long

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        return not (self.points or self.lines or self._row_count)

    def add_points(self, partition: Partition, run_id: str, writer: str, points: PointColumns) -> None:
        """Add points of a run; many are written to a file at once.

        Raises:
            RemoteError: they can't be written.
        """
        if not len(points):
            return
        self._held.setdefault(partition, []).append(PointPiece(run_id, writer, points))
        self._held_points += len(points)
        self.points += len(points)
        if self._held_points >= FILE_POINTS_MAX:
            self.flush_points()

    def add_rows(self, table: str, rows: list[Row]) -> None:
        """Add rows of another table."""
        if not rows:
            return
        held = self._rows.setdefault(table, [])
        held.extend(rows)
        self._row_count += len(rows)
        self._text += sum(len(value) for row in rows for value in row if isinstance(value, str))
        if len(held) >= HELD_ROWS_MAX:
            self._columns.setdefault(table, []).append(table_of(table, held))
            held.clear()

    def flush_points(self) -> None:
        """Write the points that are held to files, one a partition.

        Raises:
            RemoteError: they can't be written.
        """
        for (month, shard), pieces in sorted(self._held.items()):
            rows = point_rows(self.store_id, pieces)
            self.staged.append(stage(self.files, "points", rows.points, {"month": month, "shard": shard}))
            self._summaries.append(rows.summaries)
        self._held.clear()
        self._held_points = 0

    def clear(self) -> None:
        """Begin the next batch."""
        self.staged, self.lines, self.points, self._text, self._row_count = [], [], 0, 0, 0
        self._summaries, self._rows, self._columns = [], {}, {}

    def finish(self) -> list[StagedFile]:
        """Write all that is held, and free it table by table; the files of the batch.

        Raises:
            RemoteError: it can't be written.
        """
        import pyarrow as pa

        self.flush_points()
        staged = list(self.staged)
        if self._summaries:
            staged.append(stage(self.files, "metric_summaries", pa.concat_tables(self._summaries)))
            self._summaries.clear()
        for table in list(self._rows):
            rows, columns = self._rows.pop(table), self._columns.pop(table, [])
            if rows:
                columns.append(table_of(table, rows))
            del rows
            staged.append(stage(self.files, table, pa.concat_tables(columns)))
        pa.default_memory_pool().release_unused()
        return staged

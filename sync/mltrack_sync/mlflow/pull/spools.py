"""Points of one metric on their way, in order or by buckets: in memory while they are few, in temporary files beyond.

So comparing a history with the store takes the memory of one bucket, however many points there are.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Rows = npt.NDArray[np.void]

__all__ = ["BUCKETS", "Buckets", "RowSpool"]

MEMORY_BYTES = 4 << 20
BLOCK_ROWS = 100_000
BUCKETS = 32
"""Of ten million points, a bucket has about 300,000."""

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


class RowSpool:
    """Rows in the order in which they were appended. For one thread; close it when done."""

    def __init__(self, dtype: np.dtype[Any], memory_bytes: int = MEMORY_BYTES) -> None:
        """``memory_bytes``: more go to a file."""
        self._dtype = dtype
        self._file = tempfile.SpooledTemporaryFile(max_size=memory_bytes, prefix="mltrack-pull-")  # noqa: SIM115
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, rows: Rows) -> None:
        """Add rows at the end.

        Raises:
            OSError: the disk of temporary files is full.
        """
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self._count += len(rows)

    def read(self, start: int, stop: int) -> Rows:
        """Rows from ``start`` to before ``stop``, fewer at the end."""
        start, stop = min(start, self._count), min(stop, self._count)
        self._file.seek(start * self._dtype.itemsize)
        data = self._file.read(max(0, stop - start) * self._dtype.itemsize)
        return np.frombuffer(data, self._dtype)

    def blocks(self) -> Iterator[Rows]:
        """All rows, some at a time."""
        for start in range(0, self._count, BLOCK_ROWS):
            yield self.read(start, start + BLOCK_ROWS)

    def close(self) -> None:
        """Remove what is in files."""
        self._file.close()


class Buckets:
    """Rows by buckets: those of equal step, time and value are in one. For one thread; close it when done."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._spools = [RowSpool(dtype, MEMORY_BYTES // BUCKETS) for _ in range(BUCKETS)]

    def append(self, rows: Rows) -> None:
        """Add rows.

        Raises:
            OSError: the disk of temporary files is full.
        """
        numbers = _bucket_of(rows)
        order = np.argsort(numbers, kind="stable")
        ends = np.searchsorted(numbers[order], np.arange(BUCKETS), side="right")
        for spool, piece in zip(self._spools, np.split(rows[order], ends[:-1]), strict=True):
            if len(piece):
                spool.append(piece)

    def __len__(self) -> int:
        return sum(map(len, self._spools))

    def __iter__(self) -> Iterator[Rows]:
        """The rows of each bucket, in the order in which they were appended."""
        return (spool.read(0, len(spool)) for spool in self._spools)

    def close(self) -> None:
        """Remove what is in files."""
        for spool in self._spools:
            spool.close()


def _bucket_of(rows: Rows) -> npt.NDArray[np.uint64]:
    parts = (np.ascontiguousarray(rows[name]).view(np.uint64) for name in ("step", "time", "value"))
    mixed = np.zeros(len(rows), np.uint64)
    for part, factor in zip(parts, _MIX, strict=True):
        mixed = (mixed ^ part) * factor
        mixed ^= mixed >> np.uint64(29)
    return mixed % np.uint64(BUCKETS)

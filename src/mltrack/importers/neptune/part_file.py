"""One Parquet file of an export: its rows by what they hold, without reading more of it than that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SERIES", "PartFile"]

SERIES = "float_series"
"""The type of rows that are points."""

ROWS = 1 << 17
TYPE, PATH = "attribute_type", "attribute_path"
NEEDED = {"project_id", "run_id", PATH, TYPE, "step"}


class PartFile:
    """It. The exporter writes rows of different types as row groups of their own."""

    def __init__(self, path: Path, where: str) -> None:
        self._path = path
        self._where = where

    def batches(self, columns: Sequence[str], *, series: bool) -> Iterator[pa.RecordBatch]:
        """Its rows; paths and types as dictionaries. Row groups are left out that have only other rows.

        Args:
            columns: What is wanted; columns that the file lacks are missing in batches.
            series: Points are wanted, or all other rows. Rows of the other sort may be among them.

        Raises:
            SourceError: it can't be read, or is not one of the exporter's.
        """
        try:
            names = set(pq.read_schema(self._path).names)
            if not names >= NEEDED:
                raise SourceError(f"{self._where} has no column {', '.join(sorted(NEEDED - names))}")
            with pq.ParquetFile(self._path, read_dictionary=[PATH, TYPE]) as file:
                wanted = [name for name in columns if name in names]
                groups = [at for at in range(file.num_row_groups) if _may_have(file.metadata.row_group(at), series)]
                for batch in file.iter_batches(ROWS, row_groups=groups, columns=wanted) if groups else ():
                    batch.validate(full=True)  # damaged pages may be read as indices that lead anywhere
                    yield batch
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{self._where} can't be read: {' '.join(str(error).split())[:200]}") from error


def _may_have(group: Any, series: bool) -> bool:
    """Whether a row group may have points, or other rows, by the least and greatest type in it."""
    for at in range(group.num_columns):
        column = group.column(at)
        if column.path_in_schema == TYPE and column.is_stats_set and column.statistics.has_min_max:
            least, greatest = column.statistics.min, column.statistics.max
            return bool(least <= SERIES <= greatest) if series else not least == greatest == SERIES
    return True

"""A small export of neptune-exporter's, and how to unpack and change it.

``write_with_exporter.py`` wrote the archive in a folder ``/tmp/golden``, with the exporter's own code (version 0.1.0,
commit 8d3f44a) and pyarrow 21. Neptune's service is gone: the data frames that it would have sent are made there.
``read.json`` in it has steps and values of each series. The run ``broken`` was not written to its end.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["WRITER", "changed", "part", "part_path", "unpack", "write_part"]

FOLDER = Path(__file__).parent
WRITER = FOLDER / "write_with_exporter.py"


def unpack(folder: Path) -> Path:
    """Unpack the archive into a folder; returns the folder ``exports``."""
    with tarfile.open(FOLDER / "neptune.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder / "exports"


def part_path(source: Path, run: str, number: int) -> Path:
    """Where a part of a run is, or would be."""
    found = next((source / "data").glob(f"*/{run}-*_part_0.parquet"))
    return found.with_name(found.name.replace("_part_0", f"_part_{number}"))


def part(source: Path, run: str, number: int) -> pa.Table:
    """A part of a run."""
    import pyarrow.parquet as pq

    return pq.read_table(part_path(source, run, number))


def write_part(source: Path, run: str, number: int, table: pa.Table) -> None:
    """Write a part of a run."""
    import pyarrow.parquet as pq

    pq.write_table(table, part_path(source, run, number), compression="snappy")


def changed(table: pa.Table, column: str, change: Callable[[Any], Any]) -> pa.Table:
    """A table with other values in a column."""
    import pyarrow as pa

    at = table.schema.get_field_index(column)
    values = pa.array([change(value) for value in table.column(column).to_pylist()], table.schema.field(at).type)
    return table.set_column(at, table.schema.field(at), values)

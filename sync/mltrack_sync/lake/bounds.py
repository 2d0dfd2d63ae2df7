"""A Delta table as an Arrow dataset, each file with the bounds of its columns that are known.

delta-rs makes one, too, but takes a column without bounds (numbers of which one is NaN or infinite have none) for one
in which no value can be found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mltrack_sync.lake.arrow_datasets import arrow_datasets

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow import dataset as ds

    from mltrack_sync.lake.layout import TableSpec

__all__ = ["bounded_dataset"]

_NUMBERS = ("step", "time_ns")
"""Searched, though files are not sorted by them."""


def bounded_dataset(table: DeltaTable, spec: TableSpec) -> ds.Dataset:
    """The rows of a table with these columns."""
    ds = arrow_datasets()
    empty = table.to_pyarrow_dataset(file_pruning_predicate="store_id = ''")  # has the schema and the file system
    actions = pa.table(table.get_add_actions(flatten=True))
    if not actions.num_rows or not isinstance(empty, ds.FileSystemDataset):
        return empty
    fragments = [
        empty.format.make_fragment(path, filesystem=empty.filesystem, partition_expression=bounds)
        for path, bounds in zip(actions.column("path").to_pylist(), _expressions(actions, spec), strict=True)
    ]
    return ds.FileSystemDataset(fragments, empty.schema, empty.format, empty.filesystem)


def _expressions(actions: pa.Table, spec: TableSpec) -> list[Any]:
    """For each file what is true of all its rows."""
    ds = arrow_datasets()
    found: list[Any] = [ds.scalar(True)] * actions.num_rows
    for name in spec.partition:
        values = actions.column(f"partition.{name}").to_pylist()
        found = [each & (ds.field(name) == value) for each, value in zip(found, values, strict=True)]
    wanted = [name for name in (*spec.order, *_NUMBERS) if f"min.{name}" in actions.column_names]
    for name in dict.fromkeys(wanted):
        kinds = ("min", "max", "null_count")
        bounds = zip(*(actions.column(f"{kind}.{name}").to_pylist() for kind in kinds), strict=True)
        for index, (low, high, nulls) in enumerate(bounds):
            if low is not None and high is not None and nulls == 0:
                found[index] = found[index] & (ds.field(name) >= low) & (ds.field(name) <= high)
    return found

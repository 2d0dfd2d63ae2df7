"""wandb's Table: rows that are added one by one, and read back by columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mltrack.extras import need
from mltrack.text.counting import plural
from mltrack.values.rich import Table as StoredTable
from mltrack.wandb.errors import UsageError
from mltrack.wandb.media_types import Image, Medium
from mltrack.wandb.notices import say_once
from mltrack.wandb.plain_values import plain

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table"]

KeepFile = Callable[[Image | Medium], dict[str, Any]]
"""Stores a medium of a cell, and says what stands for it in the table."""


class Table:
    """Columns with names, and rows of any values; ``data`` is the list of rows."""

    MAX_ROWS = 10_000
    MAX_ARTIFACT_ROWS = 200_000

    def __init__(
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: Any = True,
        allow_mixed_types: bool = False,
        log_mode: str | None = "IMMUTABLE",
    ) -> None:
        """Take rows, an array or a data frame.

        Args:
            columns: the names; those of a data frame are its own.
            data: rows, an array of two dimensions, or a data frame.
            rows: wandb's old name for data.
            dataframe: a data frame.
            dtype, optional, allow_mixed_types: have no effect: each cell keeps its own type.
            log_mode: has no effect: what a table holds is stored each time that it is logged.

        Raises:
            UsageError: a row is not as long as there are columns.
        """
        frame = dataframe if dataframe is not None else data if hasattr(data, "iloc") else None
        if frame is not None:
            self.columns = list(frame.columns)
            held: Any = [list(row) for row in frame.itertuples(index=False, name=None)]
        else:
            self.columns = list(columns) if columns is not None else ["Input", "Output", "Expected"]
            held = data if data is not None else rows if rows is not None else []
        self.log_mode = log_mode
        self.data: list[list[Any]] = []
        for row in held:
            self.add_data(*row)

    def __len__(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and (self.columns, self.data) == (other.columns, other.data)

    __hash__ = None  # type: ignore[assignment]  # rows change

    def add_data(self, *data: Any) -> None:
        """Add a row, given by its values.

        Raises:
            UsageError: they are not as many as there are columns.
        """
        if len(data) != len(self.columns):
            raise UsageError(
                f"This table expects {len(self.columns)} columns: {self.columns}, found {len(data)}",
                hint="give a value for each column",
            )
        self.data.append(list(data))

    def add_row(self, *row: Any) -> None:
        """wandb's old name for add_data."""
        self.add_data(*row)

    def add_column(self, name: str, data: Any, optional: bool = False) -> None:
        """Add a column.

        Raises:
            UsageError: the name is taken, or there are not as many values as rows.
        """
        values = list(data)
        if name in self.columns or (self.data and len(values) != len(self.data)):
            raise UsageError(
                f"the column {name!r} has {plural(len(values), 'value')}", hint=f"give {len(self.data)}, a new name"
            )
        if not self.data:
            self.data = [[] for _ in values]
        self.columns.append(name)
        for row, value in zip(self.data, values, strict=True):
            row.append(value)

    def add_computed_columns(self, fn: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
        """Add columns that a function computes of each row, given its number and its values by column."""
        found = [fn(number, dict(zip(self.columns, row, strict=True))) for number, row in self.iterrows()]
        for name in found[0] if found else ():
            self.add_column(name, [row[name] for row in found])

    def get_column(self, name: str, convert_to: str | None = None) -> Any:
        """The values of a column, as a list, or with ``convert_to="numpy"`` as an array.

        Raises:
            UsageError: there is no such column.
        """
        if name not in self.columns:
            raise UsageError(f"the table has no column {name!r}", hint=f"one of {', '.join(map(str, self.columns))}")
        place = self.columns.index(name)
        values = [row[place] for row in self.data]
        if convert_to == "numpy":
            import numpy as np

            return np.array(values)
        return values

    def get_dataframe(self) -> pd.DataFrame:
        """The table as a data frame.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        need("pandas", "Table.get_dataframe")
        import pandas as pd

        return pd.DataFrame.from_records(self.data, columns=self.columns)

    def get_index(self) -> list[int]:
        """The numbers of the rows."""
        return list(range(len(self.data)))

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """Number and values of each row."""
        yield from enumerate(self.data)

    def cast(self, col_name: str, dtype: Any, optional: bool = False) -> None:
        """Does nothing: each cell keeps its own type."""
        say_once("Table.cast has no effect here")

    def stored(self, keep_file: KeepFile) -> StoredTable:
        """As the run keeps it; media in cells become files."""
        rows = [[_cell(value, keep_file) for value in row] for row in self.data]
        return StoredTable(rows, [str(name) for name in self.columns])

    def about(self) -> dict[str, Any]:
        """What the summary says of it."""
        return {"_type": "table-file", "ncols": len(self.columns), "nrows": len(self.data)}


def _cell(value: Any, keep_file: KeepFile) -> Any:
    if isinstance(value, Image | Medium):
        return keep_file(value)
    return plain(value)

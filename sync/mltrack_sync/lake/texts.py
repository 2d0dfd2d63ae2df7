"""Text for tables that must be valid UTF-8: half of a surrogate pair is written as an escape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.disk import arrow_columns
from mltrack.text.encodable import encodable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

__all__ = ["map_column", "text_column"]


def text_column(values: Sequence[str | None]) -> pa.Array:
    """Text as Arrow; None is null."""
    try:
        return arrow_columns.text_column(values)
    except UnicodeEncodeError:
        return arrow_columns.text_column([value if value is None else encodable(value) for value in values])


def map_column(values: Sequence[Mapping[str, str]]) -> pa.Array:
    """Keys and their values as Arrow, in the order of the keys."""
    pairs = [[(encodable(key), encodable(value)) for key, value in sorted(each.items())] for each in values]
    return arrow_columns.map_column(pairs)

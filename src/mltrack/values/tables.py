"""Tables as bytes: JSON in pandas' "split" layout (MLflow's), or Parquet; numbers and times keep their precision."""

from __future__ import annotations

import datetime
import io
import json
import math
import os
import sys
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import read_small
from mltrack.errors import UsageError
from mltrack.extras import is_installed, need
from mltrack.process.headroom import need_numpy
from mltrack.values.media import image_bytes, thumbnail
from mltrack.values.plain_tables import PlainTable, is_column, is_plain, table_of_columns

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal
    from pathlib import Path

    import pandas as pd

__all__ = ["as_frame", "as_split", "read_table", "replace_images", "table_bytes"]

SUFFIXES = (".json", ".parquet")
IMAGES_FOLDER = "table_images"


def as_frame(data: Any, name: str) -> pd.DataFrame | PlainTable:
    """A data frame, or a dict of columns or of one row, as a data frame; without pandas, and for JSON, as plain values.

    Raises:
        UsageError: it is none of these, or ``name`` does not end as a table's.
    """
    suffix = PurePosixPath(name).suffix
    if suffix not in SUFFIXES:
        raise UsageError(f"{name}: a table is stored as .json or .parquet", hint="end the name in one of these")
    if isinstance(data, PlainTable):
        return data
    not_one = UsageError(f"{name}: {type(data).__name__} is not a table", hint="give a data frame or a dict of columns")
    if not isinstance(data, dict) and not hasattr(data, "columns"):
        raise not_one
    if suffix == ".json" and is_plain(data) and not is_installed("pandas"):
        return table_of_columns(data, name)
    need_numpy()
    need("pandas", f"{name}: a table")
    import pandas as pd

    if isinstance(data, dict):
        try:
            return pd.DataFrame(data)
        except ValueError as error:
            if any(is_column(value) for value in data.values()):
                raise UsageError(f"{name}: {error}", hint="give columns of one length") from None
            return pd.DataFrame([data])  # one row
    if not isinstance(data, pd.DataFrame):
        raise not_one
    return data


def table_bytes(data: Any, name: str, held: Path | None) -> bytes:
    """A table in the format of the name's suffix, appended to the one in the file ``held`` if given.

    Raises:
        UsageError: it is not a table, the name ends otherwise, or ``held`` can't be read or joined with it.
    """
    frame = as_frame(data, name)
    try:
        if PurePosixPath(name).suffix == ".parquet" and not isinstance(frame, PlainTable):
            return _parquet(frame, held)
        split = as_split(frame)
        if held is not None:
            split = _joined(_read_split(held), split)
        return json.dumps(split, separators=(",", ":")).encode()
    except (ValueError, TypeError, OverflowError, RecursionError, NotImplementedError) as error:
        words = " ".join(str(error).split())
        raise UsageError(
            f"{name}: can't be written as a table: {words}", hint="give plain values, or another name"
        ) from None


def read_table(path: Path) -> pd.DataFrame:
    """A stored table; from JSON, text stays text and numbers keep their values.

    Raises:
        ValueError, OSError: it is not a table, or can't be read.
    """
    need("pandas", "load_table")
    import pandas as pd

    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    split = _read_split(path)
    labels = [tuple(label) if isinstance(label, list) else label for label in split["columns"]]
    return pd.DataFrame(split["data"], columns=labels)


# --- JSON ---


def as_split(frame: pd.DataFrame | PlainTable) -> dict[str, list[Any]]:
    """Columns and rows of plain values. Missing values (NaN, infinities, NA, NaT) are None, as pandas writes them.

    Raises:
        UsageError: JSON can't hold a value: bytes that are not UTF-8, lists that are nested too deeply.
    """
    try:
        return _split(frame)
    except (UnicodeDecodeError, RecursionError) as error:
        hint = "give text, numbers, or lists of them"
        raise UsageError(f"a table with a value that can't be stored: {error}", hint=hint) from None


def _split(frame: pd.DataFrame | PlainTable) -> dict[str, list[Any]]:
    if isinstance(frame, PlainTable):
        values = [[_plain(value) for value in column] for column in frame.values]
        rows = [list(row) for row in zip(*values, strict=True)]
        return {"columns": [_plain(label) for label in frame.columns], "data": rows}
    columns = [_column(frame.iloc[:, number]) for number in range(frame.shape[1])]
    rows = [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(len(frame))]
    return {"columns": [_plain(label) for label in frame.columns], "data": rows}


def _column(column: pd.Series[Any]) -> list[Any]:
    import numpy as np

    kind = column.dtype.kind if isinstance(column.dtype, np.dtype) else ""
    if kind in ("i", "u", "b"):
        return list(column.tolist())
    if kind == "f":
        return [value if math.isfinite(value) else None for value in column.astype(np.float64).tolist()]
    return [_plain(value) for value in column.astype(object)]


def _plain(value: Any) -> Any:
    """One value as JSON can hold it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return _plain_other(value)


def _plain_other(value: Any) -> Any:
    import decimal

    pd, np = sys.modules.get("pandas"), sys.modules.get("numpy")  # what is not loaded has made none of the values
    if pd is not None and (value is pd.NA or value is pd.NaT):
        return None
    if np is not None and isinstance(value, np.datetime64 | np.timedelta64):
        return _plain(_time(value))
    if isinstance(value, datetime.datetime):
        return _time_text(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return pd.Timedelta(value).isoformat() if pd is not None else _duration_text(value)
    if isinstance(value, decimal.Decimal):
        return _number(value)
    if isinstance(value, bytes | bytearray):
        return value.decode()
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)


def _time(value: Any) -> Any:
    """NumPy's time or duration as pandas', or Python's where pandas is not loaded; text where that would round it."""
    pd = sys.modules.get("pandas")
    if pd is not None:
        return pd.Timestamp(value) if value.dtype.kind == "M" else pd.Timedelta(value)
    micro = value.astype(f"{value.dtype.kind}8[us]")
    return micro.item() if micro == value or micro != micro else str(value)


def _duration_text(time: datetime.timedelta) -> str:
    """As pandas writes it."""
    minutes, seconds = divmod(time.seconds, 60)
    fraction = f".{time.microseconds:06}".rstrip("0") if time.microseconds else ""
    return f"P{time.days}DT{minutes // 60}H{minutes % 60}M{seconds}{fraction}S"


def _number(value: Decimal) -> float | int | None:
    if not value.is_finite():
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _time_text(time: datetime.datetime) -> str:
    """In pandas' format, with as many digits as needed from ms on; in UTC if it has a time zone."""
    mark = ""
    if time.tzinfo is not None:
        time, mark = time.astimezone(datetime.UTC).replace(tzinfo=None), "Z"
    if getattr(time, "nanosecond", 0):
        return time.isoformat(timespec="nanoseconds") + mark
    return time.isoformat(timespec="microseconds" if time.microsecond % 1000 else "milliseconds") + mark


def _read_split(path: Path) -> dict[str, list[Any]]:
    try:
        split = json.loads(read_small(path, 1 << 30), parse_constant=lambda name: None)
        columns, rows = split["columns"], split["data"]
        if not isinstance(columns, list) or any(len(row) != len(columns) for row in rows):
            raise ValueError("rows are not as long as there are columns")
        return {"columns": columns, "data": [list(row) for row in rows]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"the stored table can't be read: {error}") from error


def _joined(first: dict[str, list[Any]], second: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The rows of both, by column name, unchanged: a data frame would turn integers into floats."""
    if first["columns"] == second["columns"]:
        return {"columns": first["columns"], "data": first["data"] + second["data"]}
    labels = [[json.dumps(label) for label in split["columns"]] for split in (first, second)]
    if any(len(set(names)) != len(names) for names in labels):
        raise ValueError("duplicate column names, and other columns than in the stored table")
    places = {label: number for number, label in enumerate(dict.fromkeys(labels[0] + labels[1]))}
    rows = []
    for names, split in zip(labels, (first, second), strict=True):
        for row in split["data"]:
            wide: list[Any] = [None] * len(places)
            for label, value in zip(names, row, strict=True):
                wide[places[label]] = value
            rows.append(wide)
    return {"columns": [json.loads(label) for label in places], "data": rows}


# --- Parquet ---


def _parquet(frame: pd.DataFrame, held: Path | None) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    if held is None:
        return buffer.getvalue()
    buffer.seek(0)
    tables = [pq.read_table(held), pq.read_table(buffer)]
    if not tables[0].schema.equals(tables[1].schema):
        tables = [table.replace_schema_metadata(None) for table in tables]
    joined = io.BytesIO()
    pq.write_table(pa.concat_tables(tables, promote_options="permissive"), joined)
    return joined.getvalue()


# --- images in tables ---


def replace_images(
    frame: pd.DataFrame | PlainTable, name: str, store: Callable[[bytes, str], None]
) -> pd.DataFrame | PlainTable:
    """The table with each column of images replaced by their places, after ``store(bytes, name)`` of each.

    Raises:
        UsageError: a column mixes images and other values.
    """
    if isinstance(frame, PlainTable):
        if any(_is_image(value) for column in frame.values for value in column):
            need("pandas", f"{name}: a table of images")
        return frame
    stem = str(PurePosixPath(name).with_suffix(""))
    columns: dict[Any, Any] = {}
    for number, label in enumerate(frame.columns):
        column = frame.iloc[:, number]
        images = [_is_image(value) for value in column] if column.dtype == object else []
        if all(images) and images:
            columns[label] = [_store_image(image, stem, store) for image in column]
        elif any(images):
            raise UsageError(f"{name}: column {label!r} mixes images and other values", hint="give images only")
    return frame.assign(**columns) if columns else frame


def _is_image(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("save", "resize", "size"))


def _store_image(image: Any, stem: str, store: Callable[[bytes, str], None]) -> dict[str, str]:
    name = f"{IMAGES_FOLDER}/{stem}/{os.urandom(16).hex()}.png"
    data = image_bytes(image, name)
    store(data, name)
    small = name.removesuffix(".png") + ".webp"
    store(thumbnail(data, name)[0], small)
    return {"type": "image", "filepath": name, "compressed_filepath": small}

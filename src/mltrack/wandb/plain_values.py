"""What programs log or configure as plain values: numbers, texts, lists and dicts, as wandb writes them to JSON."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mltrack.importers.wandb.names import join_key

__all__ = ["is_array", "is_number", "json_text", "leaves", "number_of", "plain"]

LIST_LENGTH_MAX = 32
"""Longer arrays are logged as histograms."""


def is_array(value: Any) -> bool:
    """Whether it is an array or a tensor of any library."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def as_array(value: Any) -> Any:
    """An array or a tensor as NumPy's."""
    import numpy as np

    from mltrack.values.arrays import on_host

    return np.asarray(on_host(value))


def number_of(value: Any) -> float | int | None:
    """A number, a truth value, or an array of one element as a number; None for anything else."""
    if isinstance(value, bool | int | float):
        return value
    if is_array(value):
        array = as_array(value)
        if array.size != 1 or array.dtype.kind not in "biuf":
            return None
        return array.reshape(-1)[0].item()  # type: ignore[no-any-return]
    return None


def is_number(value: Any) -> bool:
    """Whether ``number_of`` has an answer."""
    return number_of(value) is not None


def plain(value: Any) -> Any:
    """A value in JSON's types; NaN stays a float."""
    number = number_of(value)
    if number is not None or value is None or isinstance(value, str):
        return value if number is None else number
    if isinstance(value, Mapping):
        return {_key(key): plain(inner) for key, inner in value.items()}
    if is_array(value):
        array = as_array(value)
        return plain(array.tolist()) if array.size <= LIST_LENGTH_MAX else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Sequence | set | frozenset | range):
        return [plain(inner) for inner in value]
    if isinstance(value, slice):
        return {"slice_start": value.start, "slice_step": value.step, "slice_stop": value.stop}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return str(value)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)


def json_text(value: Any) -> str:
    """A plain value as JSON."""
    return json.dumps(value, ensure_ascii=False)


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """The values of nested dicts by their names, as the importer of wandb's files joins them."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves({str(k): v for k, v in value.items()}, (*path, key))
        else:
            yield join_key([*path, key]), value

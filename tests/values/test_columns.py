"""Columns for log_series: whatever holds numbers, and a clear refusal of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mltrack.errors import InvalidMetricError
from mltrack.values.columns import as_columns

VALUES = [1.0, 2.5, -3.0]


@pytest.mark.parametrize(
    "values",
    [VALUES, tuple(VALUES), np.array(VALUES), np.array(VALUES, np.float32), pd.Series(VALUES), pa.array(VALUES)],
    ids=lambda values: type(values).__name__,
)
def test_anything_with_numbers_is_a_column(values: Any) -> None:
    value, step, time = as_columns("a", values, None, None)
    assert value.tolist() == VALUES
    assert step.tolist() == [0, 1, 2]
    assert len(set(time.tolist())) == 1
    assert [str(column.dtype) for column in (value, step, time)] == ["float64", "int64", "int64"]


def test_nan_infinities_and_integers_are_kept() -> None:
    assert (
        as_columns("a", [np.nan, np.inf, -0.0], None, None)[0].tobytes() == np.array([np.nan, np.inf, -0.0]).tobytes()
    )
    assert as_columns("a", [True, 2], None, None)[0].tolist() == [1.0, 2.0]
    assert len(as_columns("a", [], None, None)[0]) == 0


def test_times_are_ns_or_datetimes() -> None:
    assert as_columns("a", [1.0], None, [5])[2].tolist() == [5]
    stamps = pd.to_datetime(["1970-01-01T00:00:01"])
    assert as_columns("a", [1.0], None, stamps)[2].tolist() == [1_000_000_000]
    assert as_columns("a", [1.0], None, stamps.to_numpy().astype("datetime64[ms]"))[2].tolist() == [1_000_000_000]


@pytest.mark.parametrize(
    ("values", "steps", "times"),
    [
        ("abc", None, None),
        (["1"], None, None),
        ([None], None, None),
        ([[1.0]], None, None),
        (5.0, None, None),
        ([1j], None, None),
        ([1.0], [1, 2], None),
        ([1.0], None, []),
        ([1.0], [1.5], None),
        ([1.0], ["1"], None),
        ([1.0], np.array([1 << 63], np.uint64), None),
        ([1.0], [1 << 70], None),
        ([ValueError], None, None),
        ([10**400], None, None),
    ],
    ids=repr,
)
def test_what_is_not_numeric_is_refused_by_name(values: Any, steps: Any, times: Any) -> None:
    with pytest.raises(InvalidMetricError, match="series 'a'"):
        as_columns("a", values, steps, times)

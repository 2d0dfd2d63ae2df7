"""Arrow columns: the same as pyarrow makes of such values, and pandas is not imported for them."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.disk.arrow_columns import array_column, map_column, repeated_text, text_column, value_column

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
OF_EACH_KIND = st.one_of(
    st.tuples(st.just(pa.string()), st.lists(st.none() | TEXT)),
    st.tuples(st.just(pa.bool_()), st.lists(st.none() | st.booleans())),
    st.tuples(st.just(pa.int64()), st.lists(st.none() | INT64)),
    st.tuples(st.just(pa.timestamp("ms", tz="UTC")), st.lists(st.none() | INT64)),
    st.tuples(st.just(pa.float64()), st.lists(st.none() | st.floats(allow_nan=False))),
)


@given(OF_EACH_KIND)
def test_columns_of_values_equal_those_of_pyarrow(kind_and_values: tuple[pa.DataType, list[Any]]) -> None:
    kind, values = kind_and_values
    column = value_column(values, kind)
    column.validate(full=True)
    assert column.equals(pa.array(values, kind))


def test_nan_is_a_value_and_none_is_null() -> None:
    column = value_column([float("nan"), None], pa.float64())
    assert (column.null_count, np.isnan(column[0].as_py())) == (1, True)


@given(st.lists(st.lists(st.tuples(TEXT, TEXT))))
def test_columns_of_maps_equal_those_of_pyarrow(rows: list[list[tuple[str, str]]]) -> None:
    column = map_column(rows)
    column.validate(full=True)
    assert column.equals(pa.array(rows, pa.map_(pa.string(), pa.string())))


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.arange(5), pa.int64()),
        (np.arange(10)[::2], pa.int32()),
        (np.linspace(0, 1, 5), pa.float64()),
        (np.arange(3), pa.timestamp("ns", tz="UTC")),
        (np.empty(0), pa.float64()),
    ],
)
def test_columns_of_arrays_equal_those_of_pyarrow(array: np.ndarray[Any, Any], kind: pa.DataType) -> None:
    assert array_column(array, kind).equals(pa.array(array.tolist(), kind))


def test_a_text_is_repeated() -> None:
    assert repeated_text("é", 3).to_pylist() == ["é"] * 3
    assert len(repeated_text("a", 0)) == 0


def test_lone_surrogates_are_refused_or_replaced() -> None:
    with pytest.raises(UnicodeEncodeError):
        text_column(["a", "\ud800"])
    with pytest.raises(UnicodeEncodeError):
        map_column([[("a", "\ud800")]])
    assert text_column(["a\ud800", None], errors="replace").to_pylist() == ["a?", None]


def test_text_that_is_too_long_for_32_bit_offsets_gets_64_bit_ones() -> None:
    texts = ["abc", None, "é"]
    assert text_column(texts, bytes_max=5).type == pa.string()
    long = text_column(texts, bytes_max=4)
    long.validate(full=True)
    assert (long.type, long.to_pylist()) == (pa.large_string(), texts)


@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
def test_pandas_is_not_imported() -> None:
    code = (
        "import sys, numpy as np, pyarrow as pa; from mltrack.disk.arrow_columns import *; "
        "array_column(np.arange(3), pa.int64()); repeated_text('a', 2); map_column([[('a', 'b')]]); "
        "[value_column([None], kind) for kind in (pa.string(), pa.bool_(), pa.int64())]; "
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]

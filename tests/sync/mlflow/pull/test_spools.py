"""Points that are compared by buckets: what is missing is what a comparison of whole arrays finds."""

from __future__ import annotations

import contextlib
from collections import Counter

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from mltrack_sync.mlflow.plan.reconcile import ROW
from mltrack_sync.mlflow.pull.histories import new_rows
from mltrack_sync.mlflow.pull.spools import BUCKETS, MEMORY_BYTES, Buckets, RowSpool

NUMBERS = st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=60).map(lambda rows: np.array(rows, ROW))


@given(fetched=ROWS, stored=ROWS, cut=st.integers(0, 60))
def test_what_is_missing_of_all_buckets_is_what_is_missing_of_all(
    fetched: npt.NDArray[np.void], stored: npt.NDArray[np.void], cut: int
) -> None:
    with contextlib.closing(Buckets(ROW)) as one, contextlib.closing(Buckets(ROW)) as other:
        for piece in (fetched[:cut], fetched[cut:]):
            one.append(piece)
        other.append(stored)
        assert (len(one), len(other)) == (len(fetched), len(stored))
        found = [rows[new_rows(rows, held)] for rows, held in zip(one, other, strict=True)]
    missing = Counter(map(tuple, np.concatenate(found).tolist()))
    assert missing == Counter(map(tuple, fetched.tolist())) - Counter(map(tuple, stored.tolist()))


def test_rows_are_read_in_order_from_memory_and_from_a_file() -> None:
    count = 3 * MEMORY_BYTES // ROW.itemsize
    rows = np.zeros(count, ROW)
    rows["step"] = np.arange(count)
    with contextlib.closing(RowSpool(ROW)) as spool:
        for start in range(0, count, 70_000):
            spool.append(rows[start : start + 70_000])
            assert spool.read(start, start + 1)["step"].tolist() == [start]
        assert len(spool) == count
        assert np.array_equal(np.concatenate(list(spool.blocks())), rows)
        assert spool.read(count - 2, count + 5)["step"].tolist() == [count - 2, count - 1]
        assert len(spool.read(count, count + 1)) == 0


def test_buckets_are_about_equally_full() -> None:
    rows = np.zeros(64_000, ROW)
    rows["step"] = np.arange(len(rows))
    rows["time"] = 1_700_000_000_000 + rows["step"] * 10
    with contextlib.closing(Buckets(ROW)) as buckets:
        buckets.append(rows)
        sizes = [len(bucket) for bucket in buckets]
    assert len(sizes) == BUCKETS
    assert max(sizes) < 2 * len(rows) / BUCKETS

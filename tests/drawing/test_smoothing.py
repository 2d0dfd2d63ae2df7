"""Smoothing: the same as the average computed one value after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.drawing.smoothing import smoothed


def one_by_one(values: list[float], weight: float) -> list[float]:
    found, last, share = [], 0.0, 0.0
    for value in values:
        last = weight * last + (1 - weight) * value
        share = weight * share + (1 - weight)
        found.append(last / share)
    return found


@given(values=st.lists(st.floats(-1e6, 1e6), max_size=200), weight=st.sampled_from([0.001, 0.5, 0.9, 0.99]))
def test_values_are_averaged_as_one_after_the_other(values: list[float], weight: float) -> None:
    found = smoothed(np.array(values), weight)
    assert found.tolist() == pytest.approx(one_by_one(values, weight), rel=1e-9, abs=1e-6)


def test_many_values_are_averaged_in_pieces_without_a_seam() -> None:
    values = np.sin(np.arange(5_000) / 50)
    assert smoothed(values, 0.5).tolist() == pytest.approx(one_by_one(values.tolist(), 0.5), abs=1e-12)


def test_no_weight_changes_nothing() -> None:
    values = np.array([3.0, 1.0])
    assert smoothed(values, 0.0) is values

"""Times, sizes and numbers as people read them."""

from __future__ import annotations

import math

import pytest

from mltrack.cli.formatting import ago, count, duration, moment, number, percentage, size
from mltrack.text.figures import utc_ms, utc_ns, with_times


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (3.0, "3"), (1e-9, "1e-09"), (123456.789, "1.2346e+05"), (math.nan, "nan"), (-math.inf, "-inf")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(400, "0.4s"), (12_000, "12s"), (185_000, "3m 05s"), (7_800_000, "2h 10m"), (273_600_000, "3d 4h"), (-5, "0.0s")],
)
def test_durations_have_two_units_at_most(ms: int, text: str) -> None:
    assert duration(ms) == text


@pytest.mark.parametrize(
    ("bytes_", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (5e15, "5e+03 TB")]
)
def test_sizes_have_three_digits(bytes_: float, text: str) -> None:
    assert size(bytes_) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (-60, "in the future"),
        (59, "59 s ago"),
        (3599, "59 min ago"),
        (7200, "2 h ago"),
        (200_000, "2 d ago"),
    ],
)
def test_how_long_ago_is_shown_in_one_unit(seconds: int, text: str) -> None:
    assert ago(1_000_000_000_000 - seconds * 1000, 1_000_000_000_000) == text


def test_moments_are_utc_and_counts_have_commas() -> None:
    assert moment(0) == "1970-01-01T00:00:00Z"
    assert count(1_234_567) == "1,234,567"


def test_times_for_programs_keep_every_digit() -> None:
    assert utc_ms(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"
    assert utc_ns(1_700_000_000_000_000_042) == "2023-11-14T22:13:20.000000042Z"
    assert utc_ms(-1) == "1969-12-31T23:59:59.999Z"
    assert with_times({"a": 1, "b": 0, "c": None, "d": 5}, ms=("a", "b", "c")) == {
        "a": "1970-01-01T00:00:00.001Z",
        "b": None,
        "c": None,
        "d": 5,
    }


@pytest.mark.parametrize(
    ("value", "text"), [(12.34, "+12.3"), (-0.0123, "-0.01"), (0.0, "+0.0"), (0.05, "+0.1"), (6.27e67, "+6.27e+67")]
)
def test_a_change_that_is_small_is_not_shown_as_none(value: float, text: str) -> None:
    assert percentage(value) == text

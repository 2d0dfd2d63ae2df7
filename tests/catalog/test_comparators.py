from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.catalog.comparators import LISTS, NULLS, NUMBERS, TEXTS, comparator_test, like
from mltrack.errors import UsageError

LETTERS = st.text("aAb%_.*\\[\n", max_size=8)


@pytest.fixture(scope="module")
def database() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA case_sensitive_like = ON")
    return database


def in_sql(database: sqlite3.Connection, held: Any, comparator: str, value: Any) -> bool:
    if comparator in LISTS:
        marks = ", ".join("?" * len(value))
        return bool(database.execute(f"SELECT ? {comparator} ({marks})", (held, *value)).fetchone()[0])
    if comparator in NULLS:
        return bool(database.execute(f"SELECT ? {comparator}", (held,)).fetchone()[0])
    return bool(database.execute(f"SELECT ? {comparator} ?", (held, value)).fetchone()[0])


@given(held=LETTERS, pattern=LETTERS)
def test_like_means_what_it_means_in_sql(database: sqlite3.Connection, held: str, pattern: str) -> None:
    assert like(pattern)(held) == in_sql(database, held, "LIKE", pattern)


@given(held=LETTERS, pattern=LETTERS)
def test_ilike_is_like_without_the_case_of_letters(held: str, pattern: str) -> None:
    assert comparator_test("ILIKE", pattern)(held) == like(pattern.lower())(held.lower())


@pytest.mark.parametrize("comparator", NUMBERS)
@given(held=st.none() | st.integers(-2, 2), value=st.integers(-2, 2))
def test_numbers_are_compared_as_in_sql(
    database: sqlite3.Connection, comparator: str, held: int | None, value: int
) -> None:
    assert comparator_test(comparator, value)(held) == in_sql(database, held, comparator, value)


@pytest.mark.parametrize("comparator", LISTS)
@given(held=st.none() | st.sampled_from("abc"), value=st.lists(st.sampled_from("abc"), min_size=1))
def test_lists_are_searched_as_in_sql(
    database: sqlite3.Connection, comparator: str, held: str | None, value: list[str]
) -> None:
    assert comparator_test(comparator, value)(held) == in_sql(database, held, comparator, value)


@pytest.mark.parametrize("comparator", [*NUMBERS, *TEXTS, "RLIKE"])
def test_a_missing_value_passes_no_comparison(comparator: str) -> None:
    assert not comparator_test(comparator, "%")(None)


@pytest.mark.parametrize("comparator", NULLS)
def test_only_tests_for_null_match_missing_values(database: sqlite3.Connection, comparator: str) -> None:
    for held in (None, "", "a"):
        assert comparator_test(comparator, None)(held) == in_sql(database, held, comparator, None)


def test_a_regular_expression_is_searched_for_and_one_that_is_not_valid_finds_nothing() -> None:
    assert comparator_test("RLIKE", "b+")("abbc")
    assert not comparator_test("RLIKE", "(")("(")


def test_another_comparator_is_refused() -> None:
    with pytest.raises(UsageError, match="SOUNDS LIKE"):
        comparator_test("SOUNDS LIKE", "a")

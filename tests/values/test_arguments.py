"""Arguments of wrong types are named, and what may be meant is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mltrack.errors import UsageError
from mltrack.values.arguments import list_argument, path_argument, positions_argument, seconds_argument, text_argument

NO_LISTS = ["a", b"a", 3, 1.5, {"a": 1}, str, object()]


def test_what_can_be_gone_through_is_a_list() -> None:
    assert list_argument("x", None) == []
    for given in (["a"], ("a",), {"a"}, np.array(["a"]), iter("a")):
        assert list_argument("x", given) == ["a"]
    for wrong in NO_LISTS:
        with pytest.raises(UsageError, match=r"^x is .* not a list"):
            list_argument("x", wrong)


def test_a_path_is_text_or_a_path_and_not_empty() -> None:
    assert path_argument("x", Path("a")) == path_argument("x", "a") == "a"
    for given in ("", "a\0", b"a", None, 3):
        with pytest.raises(UsageError, match=r"^x is .* not a path"):
            path_argument("x", given)


def test_seconds_are_more_than_none_and_fewer_than_threads_can_wait() -> None:
    assert seconds_argument("x", 0.5) == 0.5
    for given in (0, -1, float("nan"), float("inf"), "1", None):
        with pytest.raises(UsageError, match=r"^x is "):
            seconds_argument("x", given)


def test_text_is_nothing_else_and_positions_have_names() -> None:
    assert (text_argument("x", "a"), positions_argument("x", None)) == ("a", {})
    with pytest.raises(UsageError, match=r"^x is 3, not text"):
        text_argument("x", 3)
    with pytest.raises(UsageError, match=r"^x is 3, not a dict"):
        positions_argument("x", 3)  # type: ignore[arg-type]

"""What MLflow says of a filter or an order of runs that is refused: clients look for its words."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import SearchUtils

from mltrack.errors import UsageError
from mltrack.mlflow_plugin.errors import beginning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["with_filter_words"]

_KEYS = " Valid keys are"
"""What follows is a list in any order, of fewer attributes than a filter may have here."""


@contextlib.contextmanager
def with_filter_words(filter_string: str | None, order_by: Sequence[str] | None) -> Iterator[None]:
    """Have errors of a search begin with the words of MLflow's own parser, if it refuses the same search."""
    try:
        yield
    except UsageError:
        words = _refusal(filter_string or "", order_by or ())
        if words is None:
            raise
        with beginning(UsageError, words):
            raise


def _refusal(filter_string: str, order_by: Sequence[str]) -> str | None:
    """MLflow's words; None if it accepts the search, or refuses an OR, which is supported here."""
    try:
        SearchUtils.parse_search_filter(filter_string)
        for clause in order_by:
            SearchUtils.parse_order_by_for_search_runs(clause)
    except MlflowException as error:
        words = str(error.message)
        return None if "'OR'" in words else words.partition(_KEYS)[0]
    return None

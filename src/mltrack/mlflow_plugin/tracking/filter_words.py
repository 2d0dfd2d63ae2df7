"""What MLflow says of a filter or an order of runs that is refused: clients look for its words."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import SearchUtils

from mltrack.errors import UsageError
from mltrack.mlflow_plugin.errors import beginning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["with_filter_words"]

_LISTS = re.compile(" (?:Valid keys are|not one of) .*", re.DOTALL)
"""Lists in any order, of fewer attributes, or comparators, than a filter may have here."""


@contextlib.contextmanager
def with_filter_words(
    filter_string: str | None, order_by: Sequence[str] | None, page_token: str | None = None
) -> Iterator[None]:
    """Have errors of a search begin with the words of MLflow's SQL store, if it refuses the same search."""
    try:
        yield
    except UsageError:
        words = _refusal(filter_string or "", order_by or (), page_token)
        if words is None:
            raise
        with beginning(UsageError, words):
            raise


def _refusal(filter_string: str, order_by: Sequence[str], page_token: str | None) -> str | None:
    """MLflow's words; None if it accepts the search, or refuses an OR, which is supported here."""
    try:
        for comparison in SearchUtils.parse_search_filter(filter_string):
            _check_comparator(comparison["type"], comparison["key"], comparison["comparator"].upper())
        for clause in order_by:
            kind, _, _ = SearchUtils.parse_order_by_for_search_runs(clause)
            if kind == "dataset":
                return "Invalid identifier type 'dataset'"
        SearchUtils.parse_start_offset_from_page_token(page_token)
    except MlflowException as error:
        words = str(error.message)
        return None if "'OR'" in words else _LISTS.sub("", words)
    except (AttributeError, TypeError):  # of a token that is JSON, but no object
        return "Invalid page token"
    except (ValueError, SyntaxError):  # of a value that MLflow's parser can't read
        return None
    return None


def _check_comparator(kind: str, key: str, comparator: str) -> None:
    """Check a comparison as the SQL store does once its filter is parsed.

    Raises:
        MlflowException: it does not take this comparator there.
    """
    if not (
        SearchUtils.is_string_attribute(kind, SearchUtils.translate_key_alias(key), comparator)
        or SearchUtils.is_numeric_attribute(kind, SearchUtils.translate_key_alias(key), comparator)
    ):
        checks: Any = (SearchUtils.is_metric, SearchUtils.is_param, SearchUtils.is_tag, SearchUtils.is_dataset)
        for check in checks:
            check(kind, comparator)

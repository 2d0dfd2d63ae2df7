"""Pages of results, as in MLflow's SQL store: a token is the offset of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_MAX_RESULTS_THRESHOLD
from mlflow.utils.search_utils import SearchUtils

from mltrack.errors import UsageError
from mltrack.mlflow_plugin.arguments import offset_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_max_results", "page_of"]

Item = TypeVar("Item")


def check_max_results(max_results: int | None, *, null: bool = False) -> None:
    """Check the size of a page; ``null`` allows None.

    Raises:
        UsageError: it is not from 1 to 50,000.
    """
    if max_results is None and null:
        return
    if max_results is None or max_results < 1:
        raise UsageError(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be a positive integer"
        )
    if max_results > SEARCH_MAX_RESULTS_THRESHOLD:
        raise UsageError(
            f"Invalid value {max_results} for parameter 'max_results' supplied. "
            f"It must be at most {SEARCH_MAX_RESULTS_THRESHOLD}"
        )


def page_of(items: Sequence[Item], max_results: int | None, page_token: str | None) -> Any:
    """The page of ``items`` at the token, as MLflow's PagedList."""
    first = offset_of(page_token)
    end = len(items) if max_results is None else first + max_results
    return PagedList(list(items[first:end]), SearchUtils.create_page_token(end) if end < len(items) else None)

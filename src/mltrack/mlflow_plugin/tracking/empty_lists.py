"""Lists of what MLflow keeps in tables, while the store has no file with tables yet: empty, where MLflow answers them.

MLflow's pages ask for them in any case, and the file takes some seconds to create. So it is not created for a call that
MLflow's SQL store would answer; one that it would refuse goes there, for the same error.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.store.tracking import SEARCH_MAX_RESULTS_THRESHOLD
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.utils.search_utils import (
    SearchEvaluationDatasetsUtils,
    SearchIssuesUtils,
    SearchMCPAccessEndpointUtils,
    SearchMCPServerUtils,
    SearchMCPServerVersionUtils,
)

from mltrack.mlflow_plugin.arguments import offset_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_answered"]

_OF_AN_EXPERIMENT = {"list_review_queues", "list_scorers"}
"""Methods that refuse an experiment that does not exist or is deleted."""

_SEARCHES: dict[str, Any] = {
    "search_datasets": SearchEvaluationDatasetsUtils,
    "search_issues": SearchIssuesUtils,
    "search_mcp_access_endpoints": SearchMCPAccessEndpointUtils,
    "search_mcp_server_versions": SearchMCPServerVersionUtils,
    "search_mcp_servers": SearchMCPServerUtils,
}


def is_answered(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], is_active: Callable[[str], bool]) -> bool:
    """Whether MLflow's SQL store answers this call with an empty list if its tables are empty.

    Args:
        name: One of the methods ``LISTED`` in ``delegated``.
        args: Its arguments.
        kwargs: Its arguments by name.
        is_active: Whether there is an experiment of an id that is not deleted.
    """
    method = getattr(AbstractStore, name, None)
    try:
        given = kwargs if method is None else inspect.signature(method).bind(None, *args, **kwargs).arguments
    except TypeError:
        return False
    if name in _OF_AN_EXPERIMENT and not is_active(given["experiment_id"]):
        return False
    count = given.get("max_results")
    if count is not None and not (isinstance(count, int) and 1 <= count <= SEARCH_MAX_RESULTS_THRESHOLD):
        return False
    try:
        offset_of(given.get("page_token"))
        if name in _SEARCHES:
            _SEARCHES[name].parse_search_filter(given.get("filter_string"))
        if name == "search_datasets":
            parse = _SEARCHES[name].parse_order_by_for_search_evaluation_datasets
            return all(parse(clause)[0] == "attribute" for clause in given.get("order_by") or ())
    except MlflowException:
        return False
    return True

"""Searches the registry by MLflow's parser, with the meaning that MLflow's SQL store gives it."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchModelUtils, SearchModelVersionUtils, SearchUtils

from mltrack.catalog.comparators import LISTS, NUMBERS, TEXTS, comparator_test
from mltrack.entities import ModelVersion, RegisteredModel
from mltrack.environment import PROMPT_TAG
from mltrack.mlflow_plugin.arguments import offset_of, parsing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["find_models", "find_versions", "page"]

"""The tag of a registered model that is a prompt; prompts are found only by filters that name it."""

_VERSIONS_ORDER = ("last_updated_timestamp DESC", "name ASC", "version_number DESC")
_VERSION_FIELDS = {
    "name": "name",
    "version_number": "version",
    "creation_timestamp": "creation_time",
    "last_updated_timestamp": "last_update_time",
}

_Found = TypeVar("_Found")
_Row = TypeVar("_Row", RegisteredModel, ModelVersion)


class _Clause(NamedTuple):
    """One comparison of a filter."""

    kind: str
    key: str
    comparator: str
    value: Any


def find_models(
    models: Iterable[RegisteredModel], filter_string: str | None, order_by: Sequence[str] | None
) -> list[RegisteredModel]:
    """The models that match, in order: by name unless ``order_by`` is given.

    Raises:
        MlflowException: the filter or the order does not parse.
    """
    with parsing("filter", filter_string):
        clauses = [_clause(parsed) for parsed in SearchModelUtils.parse_search_filter(filter_string)]
    order = _models_order(order_by)
    for clause in clauses:
        _check(clause, {"name": (*TEXTS, *LISTS)})
    if not _asks_for_prompts(clauses):
        clauses = _without_prompt_tag(clauses)
        models = [model for model in models if model.tags.get(PROMPT_TAG) != "true"]
    tests = [_test(clause, attrgetter(clause.key)) for clause in clauses]
    return _ordered([model for model in models if all(test(model) for test in tests)], order)


def find_versions(
    versions: Sequence[ModelVersion],
    filter_string: str | None,
    order_by: Sequence[str] | None,
    source_of: Callable[[ModelVersion], str],
) -> list[ModelVersion]:
    """The versions that match, in order: the last changed first unless ``order_by`` is given.

    ``source_of`` gives a version's source as it is shown, which is what ``source_path`` is compared with.

    Raises:
        MlflowException: the filter or the order does not parse.
    """
    with parsing("filter", filter_string):
        clauses = [_clause(parsed) for parsed in SearchModelVersionUtils.parse_search_filter(filter_string)]
    for clause in clauses:
        _check(
            clause,
            {
                "name": (*TEXTS, *LISTS),
                "run_id": (*TEXTS, *LISTS),
                "source_path": TEXTS,
                "version_number": NUMBERS,
            },
        )
    order = _versions_order(order_by or _VERSIONS_ORDER)
    if not _asks_for_prompts(clauses):
        clauses = _without_prompt_tag(clauses)
        prompts = {version.name for version in versions if version.tags.get(PROMPT_TAG) == "true"}
        versions = [version for version in versions if version.name not in prompts]
    fields: dict[str, Callable[[ModelVersion], Any]] = {
        "name": attrgetter("name"),
        "run_id": attrgetter("run_id"),
        "source_path": source_of,
        "version_number": attrgetter("version"),
    }
    tests = [_test(clause, fields.get(clause.key, str)) for clause in clauses]
    return _ordered([version for version in versions if all(test(version) for test in tests)], order)


def page(
    found: Sequence[_Row], max_results: int, page_token: str | None, shown: Callable[[_Row], _Found]
) -> PagedList[_Found]:
    """One page of the results, as MLflow's entities, with the token of the next page.

    Raises:
        MlflowException: the token is invalid.
    """
    offset = offset_of(page_token)
    more = len(found) > offset + max_results
    token = SearchUtils.create_page_token(offset + max_results) if more else None
    return PagedList([shown(row) for row in found[offset : offset + max(0, max_results)]], token)


# --- filters ---


def _clause(parsed: Mapping[str, Any]) -> _Clause:
    return _Clause(parsed["type"], parsed["key"], parsed["comparator"].upper(), parsed["value"])


def _check(clause: _Clause, comparators: Mapping[str, tuple[str, ...]]) -> None:
    if clause.kind == "tag":
        allowed: tuple[str, ...] = TEXTS
    elif clause.key in comparators:
        allowed = comparators[clause.key]
    else:
        raise _invalid(f"Invalid attribute name: {clause.key}")
    if clause.comparator not in allowed:
        raise _invalid(f"Invalid comparator for {clause.kind}: {clause.comparator} (of {clause.key})")
    if clause.key in SearchModelVersionUtils.NUMERIC_ATTRIBUTES and clause.kind == "attribute":
        _number(clause)


def _number(clause: _Clause) -> int:
    try:
        if isinstance(clause.value, float):
            raise TypeError
        return int(clause.value)
    except (TypeError, ValueError):
        raise _invalid(f"Invalid value for numeric attribute '{clause.key}': {clause.value!r}") from None


def _asks_for_prompts(clauses: Iterable[_Clause]) -> bool:
    for clause in clauses:
        if (clause.kind, clause.key) == ("tag", PROMPT_TAG):
            return (clause.comparator, clause.value.lower()) in (("=", "true"), ("!=", "false"))
    return False


def _without_prompt_tag(clauses: Iterable[_Clause]) -> list[_Clause]:
    return [clause for clause in clauses if (clause.kind, clause.key) != ("tag", PROMPT_TAG)]


def _test(clause: _Clause, field: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Whether a model or version matches; without the value (a tag, a run) it never does, as in SQL."""
    value = clause.value
    if clause.kind == "tag":
        field = _tag(clause.key)
    elif clause.key == "version_number":
        value = _number(clause)
    passes = comparator_test(clause.comparator, frozenset(value) if clause.comparator in LISTS else value)
    return lambda row: passes(field(row))


def _tag(key: str) -> Callable[[Any], str | None]:
    return lambda row: row.tags.get(key)


# --- orders ---


def _models_order(order_by: Sequence[str] | None) -> list[tuple[str, bool]]:
    order: list[tuple[str, bool]] = []
    for text in order_by or ():
        key, ascending = SearchUtils.parse_order_by_for_search_registered_models(text)
        order.append(("name" if key == "name" else "last_update_time", ascending))
    _refuse_twice(order, order_by)
    return order if any(field == "name" for field, _ in order) else [*order, ("name", True)]


def _versions_order(order_by: Sequence[str]) -> list[tuple[str, bool]]:
    order: list[tuple[str, bool]] = []
    for text in order_by:
        _, key, ascending = SearchModelVersionUtils.parse_order_by_for_search_model_versions(text)
        if key not in _VERSION_FIELDS:
            raise _invalid(f"Invalid order by key '{key}' specified. Valid keys are {sorted(_VERSION_FIELDS)}")
        order.append((_VERSION_FIELDS[key], ascending))
    _refuse_twice(order, order_by)
    given = {field for field, _ in order}
    return [*order, *(tie for tie in (("name", True), ("version", False)) if tie[0] not in given)]


def _refuse_twice(order: Sequence[tuple[str, bool]], order_by: Sequence[str] | None) -> None:
    if len({field for field, _ in order}) < len(order):
        raise MlflowException(f"`order_by` contains duplicate fields: {order_by}")


def _ordered(rows: list[_Row], order: Sequence[tuple[str, bool]]) -> list[_Row]:
    for field, ascending in reversed(order):
        rows.sort(key=attrgetter(field), reverse=not ascending)
    return rows


def _invalid(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)

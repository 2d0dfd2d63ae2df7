"""Searches logged models by MLflow's filters, orders and pages, in memory."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT
from mlflow.utils.search_utils import SearchLoggedModelsPaginationToken

from mltrack.catalog.comparators import LISTS, NUMBERS, comparator_test
from mltrack.catalog.filter_tokens import DATE_HINT, time_in_ms
from mltrack.entities import DELETED, LOGGED_MODEL_STATUSES
from mltrack.errors import FilterError, UsageError
from mltrack.mlflow_plugin.tracking.experiments import decimal_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mltrack.catalog.comparators import Test
    from mltrack.entities import LoggedModel, ModelMetric

    Matcher = Callable[[LoggedModel], bool]
    Getter = Callable[[LoggedModel], Any]

__all__ = ["find_models"]

_ALIASES = {
    "creation_time": "creation_timestamp_ms",
    "creation_timestamp": "creation_timestamp_ms",
    "last_updated_timestamp": "last_updated_timestamp_ms",
}
_NUMBERS: dict[str, Getter] = {
    "creation_timestamp_ms": operator.attrgetter("creation_time"),
    "last_updated_timestamp_ms": operator.attrgetter("last_update_time"),
}
_TEXTS: dict[str, Getter] = {
    name: operator.attrgetter(name)
    for name in ("model_id", "name", "lifecycle_stage", "model_type", "source_run_id", "status_message")
}


def find_models(
    models: Iterable[LoggedModel],
    location: Callable[[str], str],
    *,
    experiment_ids: Sequence[str],
    filter_string: str | None,
    datasets: Sequence[Mapping[str, Any]] | None,
    max_results: int | None,
    order_by: Sequence[Mapping[str, Any]] | None,
    page_token: str | None,
) -> PagedList[LoggedModel]:
    """One page of the models of these experiments that are not deleted and match the filter, in order.

    ``location`` returns the artifact location of a model id. With ``datasets``, each a ``dataset_name`` with or without
    a ``dataset_digest``, filters read only metrics on them; without a filter on a metric, a model must have one.

    Raises:
        UsageError: a filter, order, dataset, page size, page token or experiment id is invalid.
    """
    for dataset in datasets or ():
        if not dataset.get("dataset_name"):
            raise UsageError("`dataset_name` in the `datasets` clause must be specified.", hint="name each dataset")
    size = max_results or SEARCH_LOGGED_MODEL_MAX_RESULTS_DEFAULT
    if size < 0:
        raise UsageError(f"{max_results} is not a page size", hint="give a positive max_results")
    ids = list(experiment_ids)
    filter_string, order = filter_string or None, [dict(clause) for clause in order_by or ()]
    offset = _offset(page_token, ids, filter_string, order or None) if page_token else 0
    matchers = _matchers(filter_string, datasets or (), location)
    wanted = set(decimal_ids(ids))
    found = [
        model
        for model in models
        if model.lifecycle_stage != DELETED
        and model.experiment_id in wanted
        and all(matches(model) for matches in matchers)
    ]
    found = _ordered(found, order, location)
    token = None
    if len(found) > offset + size:
        token = SearchLoggedModelsPaginationToken(ids, filter_string, order or None, offset + size).encode()
    return PagedList(found[offset : offset + size], token=token)


def _offset(page_token: str, ids: list[str], filter_string: str | None, order: list[dict[str, Any]] | None) -> int:
    try:
        token = SearchLoggedModelsPaginationToken.decode(page_token)
        offset = operator.index(token.offset)
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"{page_token!r} is not a page token", hint="give the token of the previous page") from error
    token.validate(ids, filter_string, order)
    return offset


# --- filters ---


def _matchers(
    filter_string: str | None, datasets: Sequence[Mapping[str, Any]], location: Callable[[str], str]
) -> list[Matcher]:
    if not filter_string:
        return [_on_datasets(datasets)] if datasets else []
    # this module imports MLflow's SQL tables, so it is imported only for filters
    from mlflow.utils.search_logged_model_utils import EntityType, parse_filter_string

    try:
        comparisons = parse_filter_string(filter_string)
    except (ValueError, SyntaxError) as error:  # an invalid number or list
        raise FilterError(
            f"filter {filter_string!r}: {error}", hint="write for example: metrics.loss < 0.5 and name IN ('a', 'b')"
        ) from error
    matchers: list[Matcher] = []
    by_metric = False
    for comparison in comparisons:
        key, op, value = comparison.entity.key, comparison.op, comparison.value
        match comparison.entity.type:
            case EntityType.ATTRIBUTE:
                matchers.append(_on_attribute(key, op, value, location))
            case EntityType.METRIC:
                matchers.append(_on_metric(key, comparator_test(op, float(value)), datasets))
                by_metric = True
            case EntityType.PARAM:
                matchers.append(_on_entry(operator.attrgetter("params"), key, _text_test(op, value)))
            case EntityType.TAG:
                matchers.append(_on_entry(operator.attrgetter("tags"), key, _text_test(op, value)))
    if datasets and not by_metric:
        matchers.append(_on_datasets(datasets))
    return matchers


def _on_attribute(key: str, op: str, value: Any, location: Callable[[str], str]) -> Matcher:
    name = _ALIASES.get(key, key)
    if name in _NUMBERS:
        # MLflow's parser leaves the value of `attributes.creation_time` as text, as it knows only the bare alias
        test, number_of = comparator_test(_for_numbers(key, op), _number(key, value)), _NUMBERS[name]
        return lambda model: test(number_of(model))
    test = _text_test(op, value)
    if name == "status":
        # its name, or its number in MLflow's tables; != means to differ from both
        every = all if op in ("!=", "NOT IN") else any
        return lambda model: every(test(text) for text in (model.status, str(_status_number(model))))
    text_of = _text_getter(name, location)
    if text_of is None:
        known = ", ".join(["artifact_location", "experiment_id", "status", *_TEXTS, *_NUMBERS])
        raise FilterError(f"logged models have no attribute {key!r}", hint=f"one of {known}")
    return lambda model: test(text_of(model))


def _text_getter(name: str, location: Callable[[str], str]) -> Getter | None:
    if name == "artifact_location":
        return lambda model: location(model.model_id)
    if name == "experiment_id":
        return lambda model: model.experiment_id
    return _TEXTS.get(name)


def _on_metric(key: str, test: Test, datasets: Sequence[Mapping[str, Any]]) -> Matcher:
    return lambda model: any(
        metric.key == key and test(metric.value) and (not datasets or _is_on(metric, datasets))
        for metric in model.metrics
    )


def _on_entry(entries_of: Getter, key: str, test: Test) -> Matcher:
    return lambda model: test(entries_of(model).get(key))


def _on_datasets(datasets: Sequence[Mapping[str, Any]]) -> Matcher:
    return lambda model: any(_is_on(metric, datasets) for metric in model.metrics)


def _is_on(metric: ModelMetric, datasets: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        metric.dataset_name == dataset["dataset_name"]
        and ("dataset_digest" not in dataset or metric.dataset_digest == dataset["dataset_digest"])
        for dataset in datasets
    )


def _text_test(op: str, value: Any) -> Test:
    if op in LISTS:
        if not isinstance(value, (tuple, list)):
            raise FilterError(f"{value!r} is not a list of texts", hint="write for example: name IN ('a', 'b')")
        return comparator_test(op, {str(item) for item in value})
    if not isinstance(value, str):
        raise FilterError(f"{value!r} is not text", hint="put the value between single quotes")
    return comparator_test(op, value)


def _for_numbers(key: str, op: str) -> str:
    if op not in NUMBERS:
        raise FilterError(f"{key} is a number: {op} does not apply", hint="use one of " + " ".join(NUMBERS))
    return op


def _number(key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        moment = time_in_ms(value) if isinstance(value, str) else None
        if moment is None:
            raise FilterError(f"{key} is compared with {value!r}, which is not a time", hint=DATE_HINT) from None
        return moment


# --- orders ---


def _ordered(
    models: list[LoggedModel], order: Sequence[Mapping[str, Any]], location: Callable[[str], str]
) -> list[LoggedModel]:
    """Sorted by all clauses, then the latest first, then by id; models without a value come last."""
    clauses = [(_order_getter(clause, location), bool(clause.get("ascending", True))) for clause in order]
    clauses += [(operator.attrgetter("creation_time"), False), (operator.attrgetter("model_id"), True)]
    for value_of, ascending in reversed(clauses):
        keyed = [(value_of(model), model) for model in models]
        present = [pair for pair in keyed if pair[0] is not None]
        present.sort(key=operator.itemgetter(0), reverse=not ascending)
        models = [model for _, model in present] + [model for value, model in keyed if value is None]
    return models


def _order_getter(clause: Mapping[str, Any], location: Callable[[str], str]) -> Getter:
    field = clause.get("field_name")
    if not isinstance(field, str):
        raise UsageError(f"Invalid order by field name: {field}", hint="give each clause a field_name")
    if "." not in field:
        return _attribute_order(field, location)
    kind, key = field.split(".", 1)
    if kind != "metrics":
        raise UsageError(f"Invalid order by field name: {field}. Only metrics are supported.", hint="name a metric")
    dataset = {name: clause[name] for name in ("dataset_name", "dataset_digest") if clause.get(name)}
    return lambda model: _latest(model, key, dataset)


def _attribute_order(field: str, location: Callable[[str], str]) -> Getter:
    name = _ALIASES.get(field, field)
    if name == "status":
        return _status_number
    if name == "experiment_id":
        return lambda model: int(model.experiment_id)
    found = _NUMBERS.get(name) or _text_getter(name, location)
    if found is None:
        raise UsageError(f"Invalid order by field name: {field}", hint="name an attribute, or metrics.<name>")
    return found


def _latest(model: LoggedModel, key: str, dataset: Mapping[str, str]) -> float | None:
    """The last value of a metric, by time, then step, then run; NaN counts as no value."""
    metrics = [m for m in model.metrics if m.key == key and all(getattr(m, n) == v for n, v in dataset.items())]
    if not metrics:
        return None
    value = min(metrics, key=lambda metric: (-metric.time, -metric.step, metric.run_id)).value
    return None if math.isnan(value) else value


def _status_number(model: LoggedModel) -> int:
    return LOGGED_MODEL_STATUSES.index(model.status) if model.status in LOGGED_MODEL_STATUSES else 0

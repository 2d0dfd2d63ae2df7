"""Arguments that MLflow's own parsers stumble over are refused in words, and no value of a tag gets lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mlflow.entities import ExperimentTag, LoggedModelParameter, ViewType
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType

from mltrack.mlflow_plugin.registry.store import RegistryStore
from mltrack.mlflow_plugin.tracking import TrackingStore
from tests.support.plugin.codes import raises
from tests.support.plugin.traced import info, span, trace_id_of

COUNT = [MetricAggregation(AggregationType.COUNT)]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"mltrack://{tmp_path_factory.mktemp('store')}/.mltrack"


@pytest.fixture(scope="module")
def tracking(uri: str) -> Any:
    store = TrackingStore(uri)
    for name in ("a", "b"):
        store.create_experiment(name)
    return store


@pytest.fixture(scope="module")
def registry(uri: str) -> Any:
    store = RegistryStore(uri)
    store.create_registered_model("m")
    return store


Call = Callable[[Any, Any, str], Any]

PAGED: dict[str, Call] = {
    "experiments": lambda t, g, token: t.search_experiments(page_token=token),
    "runs": lambda t, g, token: t.search_runs(["0"], "", ViewType.ALL, page_token=token),
    "history": lambda t, g, token: t.get_metric_history("f" * 32, "loss", 5, token),
    "logged models": lambda t, g, token: t.search_logged_models(["0"], page_token=token),
    "traces": lambda t, g, token: t.search_traces(["0"], page_token=token),
    "webhooks": lambda t, g, token: g.list_webhooks(page_token=token),
    "models": lambda t, g, token: g.search_registered_models(page_token=token),
    "versions": lambda t, g, token: g.search_model_versions(page_token=token),
}


@pytest.mark.parametrize(
    "token", ["x", "W10=", "é", "eyJvZmZzZXQiOiAiYSJ9"], ids=["x", "a list", "not ASCII", "a text"]
)
@pytest.mark.parametrize("searched", PAGED)
def test_what_is_no_page_token_is_refused(searched: str, token: str, tracking: Any, registry: Any) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        PAGED[searched](tracking, registry, token)


def test_a_page_before_the_first_is_the_first(tracking: Any, registry: Any) -> None:
    before = "eyJvZmZzZXQiOiAtMX0="  # {"offset": -1}
    assert len(tracking.search_experiments(page_token=before)) == len(tracking.search_experiments()) > 2
    assert [found.name for found in registry.search_registered_models(page_token=before)] == ["m"]


FILTERED: dict[str, Call] = {
    "experiments": lambda t, g, text: t.search_experiments(filter_string=text),
    "runs": lambda t, g, text: t.search_runs(["0"], text, ViewType.ALL),
    "logged models": lambda t, g, text: t.search_logged_models(["0"], text),
    "traces": lambda t, g, text: t.search_traces(["0"], text),
    "models": lambda t, g, text: g.search_registered_models(text),
    "versions": lambda t, g, text: g.search_model_versions(text),
    "statistics": lambda t, g, text: t.query_trace_metrics(
        ["0"], MetricViewType.TRACES, "trace_count", COUNT, None, [text]
    ),
}


@pytest.mark.parametrize("text", ["tags.a IN (ada)", "name IN (ada)", "name LIKE ('a', 'b')", "name IN ((("])
@pytest.mark.parametrize("searched", FILTERED)
def test_a_list_that_can_not_be_read_is_refused(searched: str, text: str, tracking: Any, registry: Any) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        FILTERED[searched](tracking, registry, text)


@pytest.mark.parametrize(
    "text", ["span.name LIKE ('a')", "span.type RLIKE ('a', 'b')", "span.attributes.x RLIKE ('a')"]
)
def test_a_pattern_for_spans_is_one_text(text: str, tracking: Any) -> None:
    with raises("INVALID_PARAMETER_VALUE", "takes one value"):
        tracking.search_traces(["0"], text)


def test_spans_of_no_experiment_are_those_of_the_default_one(tracking: Any) -> None:
    tracking.log_spans("", [span(7, 1)])
    assert tracking.get_trace_info(trace_id_of(7)).experiment_id == "0"


def test_a_tag_without_a_value_is_empty(tracking: Any) -> None:
    none: Any = None
    made = tracking.create_experiment("tagged", tags=[ExperimentTag("one", none)])
    tracking.set_experiment_tag(made, ExperimentTag("two", "2"))
    tracking.set_experiment_tag(made, ExperimentTag("two", none))
    assert tracking.get_experiment(made).tags == {"one": "", "two": ""}
    trace = tracking.start_trace(info(1)).trace_id
    tracking.set_trace_tag(trace, "one", None)
    assert tracking.get_trace_info(trace_id_of(1)).tags["one"] == ""


def test_the_name_that_is_refused_is_called_what_it_is(tracking: Any) -> None:
    with raises("INVALID_PARAMETER_VALUE", "param names must be"):
        tracking.create_logged_model("0", "m", params=[LoggedModelParameter("", "1")])


def test_a_version_has_a_number(registry: Any) -> None:
    with raises("INVALID_PARAMETER_VALUE", "Invalid model version"):
        registry.get_model_version("m", None)


def test_a_version_needs_a_source(registry: Any) -> None:
    with raises("INVALID_PARAMETER_VALUE", "source of a version"):
        registry.create_model_version("m", None)

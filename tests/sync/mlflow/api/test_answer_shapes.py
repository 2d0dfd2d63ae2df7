"""Whatever an answer holds in whatever field: it is read, or is an error that names the call. Pages come to an end."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mltrack.errors import RemoteError
from mltrack_sync.azureml.artifacts import RunHistory
from mltrack_sync.azureml.service import HISTORY
from mltrack_sync.errors import NotMlflowError
from mltrack_sync.http.endpoint import Endpoint
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.mlflow.api.client import MlflowClient
from mltrack_sync.mlflow.api.models import LoggedModelsClient
from mltrack_sync.mlflow.api.readback import ComparedClient
from mltrack_sync.mlflow.api.registry import RegistryClient
from mltrack_sync.mlflow.api.tables import TablesClient
from mltrack_sync.mlflow.api.traces import TracesClient
from mltrack_sync.mlflow.provider import MlflowWorkspace

EXPERIMENT = {
    "experiment_id": "1",
    "name": "e",
    "lifecycle_stage": "active",
    "creation_time": 1700000000000,
    "tags": [{"key": "k", "value": "v"}],
}
METRIC = {"key": "m", "value": 1.5, "timestamp": 1700000000000, "step": 3}
RUN = {
    "info": {
        "run_id": "r",
        "experiment_id": "1",
        "artifact_uri": "mlflow-artifacts:/1/r/artifacts",
        "status": "RUNNING",
        "lifecycle_stage": "active",
        "run_name": "n",
        "start_time": 1,
        "end_time": 2,
    },
    "data": {"metrics": [METRIC], "params": [{"key": "p", "value": "1"}], "tags": [{"key": "t", "value": "2"}]},
    "inputs": {"dataset_inputs": []},
    "outputs": {"model_outputs": [{"model_id": "m-1", "step": 0}]},
}
MODEL = {
    "info": {"model_id": "m-1", "artifact_uri": "mlflow-artifacts:/1/models/m-1", "tags": [{"key": "t", "value": "1"}]},
    "data": {"params": [{"key": "p", "value": "1"}]},
}
VERSION = {"version": "3", "status": "READY", "status_message": "", "tags": [{"key": "t", "value": "1"}]}
TRACE = {
    "trace_info": {
        "trace_id": "tr-1",
        "trace_location": {"mlflow_experiment": {"experiment_id": "1"}},
        "tags": {"a": "b"},
        "assessments": [{"assessment_id": "a-1"}],
    }
}
DATASET = {"dataset_id": "d-1", "name": "d", "tags": '{"a": "b"}', "last_update_time": 1, "digest": "x"}
SCORER = {"scorer_name": "s", "scorer_version": 1, "serialized_scorer": "{}"}
SCHEMA = {"schema_id": "l-1", "name": "l", "is_default": False}
FILES = {"files": [{"path": "a", "is_dir": False, "file_size": "3"}, {"path": "b", "is_dir": True}]}
PLACE = {"errors": {}, "artifactContentInformation": {"a": {"contentUri": "https://blob/a?sig=x"}}}

Ask = Callable[[Transport], object]
CALLS: dict[str, tuple[Ask, dict[str, Any]]] = {
    "by name": (lambda t: MlflowClient(t).experiment_by_name("e"), {"experiment": EXPERIMENT}),
    "by id": (lambda t: MlflowClient(t).experiment_by_id("1"), {"experiment": EXPERIMENT}),
    "by tag": (lambda t: MlflowClient(t).experiment_by_tag("k", "v"), {"experiments": [EXPERIMENT]}),
    "experiments": (lambda t: list(MlflowClient(t).experiments(10)), {"experiments": [EXPERIMENT]}),
    "create experiment": (lambda t: MlflowClient(t).create_experiment("e", {}), {"experiment_id": "1"}),
    "run": (lambda t: MlflowClient(t).get_run("r"), {"run": RUN}),
    "runs": (lambda t: MlflowClient(t).find_runs("1", "r"), {"runs": [RUN]}),
    "history": (lambda t: list(MlflowClient(t).history("r", "m", 10)), {"metrics": [METRIC, METRIC]}),
    "files": (lambda t: MlflowClient(t).list_artifacts("r", ""), FILES),
    "upload": (
        lambda t: MlflowClient(t).create_upload("a/b", 1),
        {"upload_id": "u", "credentials": [{"part_number": 1, "url": "http://x", "headers": {"a": "b"}}]},
    ),
    "version": (lambda t: RegistryClient(t).get_version("m", "3"), {"model_version": VERSION}),
    "versions": (lambda t: RegistryClient(t).versions("m"), {"model_versions": [VERSION]}),
    "model": (lambda t: LoggedModelsClient(t).get("m-1"), {"model": MODEL}),
    "models": (lambda t: LoggedModelsClient(t).find("1", "m"), {"models": [MODEL]}),
    "outputs": (lambda t: LoggedModelsClient(t).model_outputs("r"), {"run": RUN}),
    "trace": (lambda t: TracesClient(t).get("tr-1"), {"trace": TRACE}),
    "read versions": (lambda t: ComparedClient(t).versions("m", prompts=False), {"model_versions": [VERSION]}),
    "read model": (lambda t: ComparedClient(t).logged_model("m-1"), {"model": MODEL}),
    "read models": (lambda t: ComparedClient(t).logged_models(["1"], "m"), {"models": [MODEL]}),
    "read files": (lambda t: ComparedClient(t).logged_model_files("m-1", ""), FILES),
    "read trace": (lambda t: ComparedClient(t).trace("tr-1"), {"trace": TRACE}),
    "read infos": (lambda t: ComparedClient(t).trace_infos(["tr-1"]), {"trace_infos": [TRACE["trace_info"]]}),
    "evaluation datasets": (lambda t: list(TablesClient(t).datasets()), {"datasets": [DATASET]}),
    "dataset experiments": (lambda t: TablesClient(t).dataset_experiments("d-1"), {"experiment_ids": ["1"]}),
    "dataset records": (lambda t: list(TablesClient(t).records("d-1")), {"records": '[{"inputs": {"q": 1}}]'}),
    "scorers": (lambda t: TablesClient(t).scorer_names("1"), {"scorers": [SCORER]}),
    "scorer versions": (lambda t: TablesClient(t).scorer_versions("1", "s"), {"scorers": [SCORER]}),
    "label schemas": (lambda t: TablesClient(t).schemas("1"), {"label_schemas": [SCHEMA]}),
    "azure place": (lambda t: RunHistory(t, "azureml://h/experiments/1/runs/2/artifacts").make("a"), PLACE),
}
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, float("inf"), float("nan"), 10**30, -(10**30), 2**63),
    *("", "x", "\x1b[2J", "\ud800", "9" * 5000, "x" * 5000, [], {}, [[]], [{}], [None], {"key": {}}, [1, "x"]),
]


class Served(httpx.BaseTransport):
    """A server that answers with whatever is set, in place of the network, and a transport to it."""

    def __init__(self) -> None:
        self.answers: Iterator[object] = iter(())
        url = "http://mlflow.test"
        workspace = MlflowWorkspace(url, environ={}, home=Path("/nonexistent"))
        endpoint = Endpoint(url, dict, services={HISTORY: url})
        workspace.endpoint = lambda: endpoint  # type: ignore[method-assign]
        self.transport = Transport(workspace, policy=RetryPolicy(attempts_max=1), http=self)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=json.dumps(next(self.answers)).encode())


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    with contextlib.closing(served.transport):
        yield served


def places(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value in an answer."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


def changed(value: Any, at: tuple[Any, ...], new: object) -> Any:
    if not at:
        return new
    whole = copy.deepcopy(value)
    inner = whole
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = new
    return whole


@pytest.mark.parametrize("name", CALLS)
def test_a_valid_response_is_read(name: str, served: Served) -> None:
    ask, good = CALLS[name]
    served.answers = itertools.repeat(good)
    assert ask(served.transport)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_any_value_in_any_field_is_read_or_raises_a_remote_error(name: str, served: Served) -> None:
    ask, good = CALLS[name]
    refused = 0
    for at in places(good):
        for odd in ODD:
            served.answers = itertools.repeat(changed(good, at, odd))
            try:
                ask(served.transport)
            except RemoteError as error:
                refused += 1
                assert len(str(error)) < 2000
                assert "\n" not in str(error)
    assert refused > 0


def test_the_call_with_the_unexpected_response_is_named(served: Served) -> None:
    served.answers = itertools.repeat({"experiment": {**EXPERIMENT, "creation_time": 1e999}})
    with pytest.raises(NotMlflowError, match="experiments/get that MLflow does not give: not a whole number"):
        MlflowClient(served.transport).experiment_by_id("1")


def test_non_finite_values_are_read_as_mlflow_writes_them(served: Served) -> None:
    rows = [{**METRIC, "value": value} for value in ("NaN", "Infinity", "-Infinity", 7, "1.5", float("inf"))]
    served.answers = itertools.repeat({"metrics": rows})
    (page,) = MlflowClient(served.transport).history("r", "m", 10)
    assert [repr(value) for value in page.values.tolist()] == ["nan", "inf", "-inf", "7.0", "1.5", "inf"]


# --- pages -------------------------------------------------------------------------------------------------------

PAGED: dict[str, tuple[Ask, dict[str, Any]]] = {
    name: CALLS[name]
    for name in (
        *("experiments", "history", "files", "versions", "read versions", "read files"),
        *("evaluation datasets", "dataset records", "label schemas"),
    )
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGED)
@pytest.mark.parametrize("rows", [True, False])
def test_endless_pages_are_an_error(name: str, rows: bool, served: Served) -> None:
    ask, good = PAGED[name]
    page = good if rows else {key: [] for key in good}

    def endless() -> Iterator[object]:
        for number in itertools.count():
            yield {**page, "next_page_token": f"page {number}"}

    served.answers = endless()
    with pytest.raises(NotMlflowError, match="pages that don't end"):
        ask(served.transport)


@pytest.mark.parametrize("name", PAGED)
def test_a_page_token_that_repeats_is_an_error(name: str, served: Served) -> None:
    ask, good = PAGED[name]
    served.answers = itertools.repeat({**good, "next_page_token": "x"})
    with pytest.raises(NotMlflowError, match="pages that don't end"):
        ask(served.transport)


@pytest.mark.parametrize("name", PAGED)
def test_all_pages_are_read(name: str, served: Served) -> None:
    ask, good = PAGED[name]
    pages = [{**good, "next_page_token": token} for token in ("a", "b", "")]
    left = iter(pages)
    served.answers = left
    ask(served.transport)
    assert next(left, None) is None

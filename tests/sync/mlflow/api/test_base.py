from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from mltrack_sync.errors import NotMlflowError, RemoteRefusedError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.mlflow.api.base import ApiClient, ignoring_missing, in_path, pairs_of
from mltrack_sync.mlflow.api.client import MlflowClient
from mltrack_sync.mlflow.api.models import LoggedModelsClient
from mltrack_sync.mlflow.api.readback import ComparedClient
from mltrack_sync.mlflow.api.registry import RegistryClient
from mltrack_sync.mlflow.api.traces import TracesClient
from mltrack_sync.mlflow.provider import MlflowWorkspace

Handler = Callable[[httpx.Request], httpx.Response]


@contextlib.contextmanager
def transport_to(handler: Handler) -> Iterator[Transport]:
    workspace = MlflowWorkspace("http://server", environ={})
    transport = Transport(workspace, policy=RetryPolicy(attempts_max=1), http=httpx.MockTransport(handler))
    with contextlib.closing(transport):
        yield transport


def refusal(status: int, code: str) -> RemoteRefusedError:
    return RemoteRefusedError("refused", status=status, code=code, words="refused")


def test_every_client_shares_one_base() -> None:
    clients = [MlflowClient, RegistryClient, LoggedModelsClient, TracesClient, ComparedClient]
    assert all(issubclass(client, ApiClient) for client in clients)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_are_requested_until_there_is_no_token(method: str) -> None:
    asked: list[dict[str, str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.method == method
        fields = json.loads(request.content) if method == "POST" else dict(request.url.params)
        asked.append(fields)
        number = int(fields.get("page_token", "0"))
        more = {"next_page_token": str(number + 1)} if number < 2 else {}
        return httpx.Response(200, json={"things": [{"number": number}], **more})

    with transport_to(handler) as transport:
        pages = list(ApiClient(transport)._pages("things/search", {"of": "mine"}, "things", 1, method=method))
    assert pages == [[{"number": 0}], [{"number": 1}], [{"number": 2}]]
    assert asked == [{"of": "mine"}, {"of": "mine", "page_token": "1"}, {"of": "mine", "page_token": "2"}]


def test_a_response_of_an_unexpected_shape_names_the_call() -> None:
    answering = transport_to(lambda request: httpx.Response(200, json={}))
    with answering as transport, pytest.raises(NotMlflowError, match="things/get"):
        ApiClient(transport)._read("things/get", {}, lambda answer: answer["thing"])


def test_removing_what_is_missing_is_not_an_error_but_an_unknown_call_is() -> None:
    with ignoring_missing():
        raise refusal(404, "RESOURCE_DOES_NOT_EXIST")
    with pytest.raises(RemoteRefusedError), ignoring_missing():
        raise refusal(404, "NOT_IMPLEMENTED")


def test_a_missing_thing_is_distinguished_from_an_unknown_call() -> None:
    missing, unknown, bad = refusal(404, "RESOURCE_DOES_NOT_EXIST"), refusal(404, "OTHER"), refusal(400, "OTHER")
    assert [error.says_missing for error in (missing, unknown, bad)] == [True, False, False]
    assert [error.is_missing for error in (missing, unknown, bad)] == [True, True, False]
    assert [error.unknown_call for error in (missing, unknown, bad)] == [False, True, False]


def test_tags_are_encoded_as_pairs_and_ids_as_one_path_segment() -> None:
    assert pairs_of({"a": "1"}) == [{"key": "a", "value": "1"}]
    assert in_path("a/b ä") == "a%2Fb%20%C3%A4"


def test_the_runs_of_an_experiment_are_read_page_by_page() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        token = json.loads(request.content).get("page_token", "")
        run = {"info": {"run_id": f"r{token}", "experiment_id": "1"}}
        return httpx.Response(200, json={"runs": [run], **({} if token else {"next_page_token": "2"})})

    with transport_to(handler) as transport:
        assert [run.run_id for run in MlflowClient(transport).runs("1", 1)] == ["r", "r2"]

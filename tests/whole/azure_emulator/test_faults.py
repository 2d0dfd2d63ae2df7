"""Misbehaviour of the emulated workspace, as it is scripted."""

from __future__ import annotations

import threading

import httpx
import pytest

from tests.support.azure.client import AzureClient
from tests.support.azure.emulator import (
    Answer,
    AzureEmulator,
    Contents,
    Cut,
    Do,
    LoseAnswer,
    Slow,
    conflict,
    throttled,
    unauthorized,
    unavailable,
)

SEARCH = "mlflow/experiments/search"
POINT = {"key": "loss", "step": 1, "timestamp": 1, "value": 1.0}


def search(client: AzureClient) -> int:
    return client.post("experiments/search", max_results=1).status_code


def test_a_rule_applies_to_its_requests(azure: AzureEmulator, azure_client: AzureClient) -> None:
    rule = azure.faults.on("mlflow/experiments/*", unavailable(), skip=1, times=2, every=2)
    assert [search(azure_client) for _ in range(6)] == [200, 503, 200, 503, 200, 200]
    assert (rule.matched, rule.fired) == (6, 2)
    azure.faults.clear()
    azure.faults.on(SEARCH, unavailable(500), times=None, probability=0.5, seed=4)
    first = [search(azure_client) for _ in range(12)]
    azure.faults.clear()
    azure.faults.on(SEARCH, unavailable(500), times=None, probability=0.5, seed=4)
    assert [search(azure_client) for _ in range(12)] == first
    assert set(first) == {200, 500}
    azure.faults.clear()
    azure.faults.on("*", unavailable(), when=lambda request: b"elsewhere" in request.body)
    assert search(azure_client) == 200


def test_throttling_comes_with_and_without_a_retry_after(azure: AzureEmulator, azure_client: AzureClient) -> None:
    azure.faults.on(SEARCH, throttled())
    azure.faults.on(SEARCH, throttled(retry_after=2))
    answers = [azure_client.post("experiments/search", max_results=1) for _ in "12"]
    assert [answer.status_code for answer in answers] == [429, 429]
    assert [answer.headers.get("Retry-After") for answer in answers] == [None, "2"]
    assert answers[0].json()["Error"]["Code"] == "TooManyRequests"


@pytest.mark.parametrize(("fault", "status"), [(unauthorized(), 401), (conflict(), 409), (Answer(418, body=b"?"), 418)])
def test_a_canned_answer_is_given_once_without_doing_the_work(
    azure: AzureEmulator, azure_client: AzureClient, fault: Answer, status: int
) -> None:
    azure.faults.on("mlflow/experiments/create", fault)
    assert azure_client.post("experiments/create", name="spirals").status_code == status
    assert azure_client.post("experiments/create", name="spirals").status_code == 200


@pytest.mark.parametrize("bytes_sent", [0, 40])
def test_a_lost_answer_leaves_the_work_done(
    azure: AzureEmulator, azure_client: AzureClient, azure_contents: Contents, bytes_sent: int
) -> None:
    run_id = azure_client.create_run("spirals")["run_id"]
    azure.faults.on("mlflow/runs/log-batch", LoseAnswer(bytes_sent))
    with pytest.raises(httpx.RemoteProtocolError):
        azure_client.post("runs/log-batch", run_id=run_id, metrics=[POINT])
    assert list(azure_contents.history(run_id, "loss")) == [(1, 1, 1.0)]
    assert azure.traffic.of("mlflow/runs/log-batch")[0].status is None
    assert azure.traffic.of("mlflow/runs/log-batch")[0].fault == "LoseAnswer"


def test_a_connection_cut_in_the_body_leaves_nothing_done(azure: AzureEmulator, azure_client: AzureClient) -> None:
    info = azure_client.create_run("spirals")
    url = azure_client.make_artifacts(info, "a")["artifactContentInformation"]["a"]["contentUri"]
    azure.faults.on("blob/put", Cut(body_bytes=1000))
    with pytest.raises(httpx.TransportError):
        azure_client.put(url, bytes(8_000_000))
    assert azure_client.put(url, b"again").status_code == 201


def test_a_slow_answer_can_be_waited_for_or_not(azure: AzureEmulator, azure_client: AzureClient) -> None:
    azure.faults.on(SEARCH, Slow(before_s=0.01, after_s=0.01))
    assert search(azure_client) == 200
    azure.faults.on("mlflow/experiments/create", Slow(after_s=30))
    azure_client.http.timeout = httpx.Timeout(1)
    with pytest.raises(httpx.ReadTimeout):
        azure_client.post("experiments/create", name="spirals")
    azure_client.http.timeout = httpx.Timeout(30)
    assert azure_client.post("experiments/create", name="spirals").json()["error_code"] == "RESOURCE_ALREADY_EXISTS"


def test_a_function_can_be_called_during_a_request(azure: AzureEmulator, azure_client: AzureClient) -> None:
    azure.faults.on(SEARCH, Do(azure.tokens.revoke), skip=1)
    assert [search(azure_client) for _ in "123"] == [200, 401, 401]


def test_an_endpoint_moves_and_the_resource_manager_knows_where(
    azure: AzureEmulator, azure_client: AzureClient
) -> None:
    manager, old = azure.url, azure.tracking_uri
    azure_client.post("experiments/create", name="spirals").raise_for_status()
    front = azure_client._mlflow("experiments/search")
    azure.move()
    assert azure_client.http.post(front, json={}, headers=azure_client.authorization).status_code == 401
    asked = azure_client.http.get(
        f"{manager}{azure.scope.path}?api-version=1", headers=azure_client.authorization
    ).json()
    assert asked["properties"]["mlFlowTrackingUri"] == azure.tracking_uri != old
    assert search(azure_client) == 200
    front = azure_client._mlflow("experiments/search")
    azure.move(old=None)
    with pytest.raises(httpx.RemoteProtocolError):
        azure_client.http.post(front, json={}, headers=azure_client.authorization)


def test_the_network_disappears_and_returns(azure: AzureEmulator, azure_client: AzureClient) -> None:
    assert search(azure_client) == 200
    azure.unplug()
    with pytest.raises(httpx.TransportError):
        search(azure_client)
    with pytest.raises(httpx.ConnectError):
        search(azure_client)
    azure.plug_in()
    assert search(azure_client) == 200


def test_the_network_disappears_during_a_request(azure: AzureEmulator, azure_client: AzureClient) -> None:
    azure.faults.on("mlflow/experiments/create", Do(azure.unplug))
    with pytest.raises(httpx.TransportError):
        azure_client.post("experiments/create", name="spirals")
    azure.plug_in()
    assert search(azure_client) == 200


def test_a_stopped_backend_gives_unavailable(azure: AzureEmulator) -> None:
    other = AzureEmulator("http://127.0.0.1:9", azure.certificate)
    stranger = AzureClient(other)
    try:
        assert search(stranger) == 503
    finally:
        stranger.close()
        other.close()


def test_a_client_that_disconnects_in_its_request_changes_nothing(
    azure: AzureEmulator, azure_client: AzureClient
) -> None:
    def half() -> bytes:
        raise RuntimeError("gone")

    class Body(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield b'{"name": "spi'
            half()

    request = azure_client.http.build_request(
        "POST",
        azure_client._mlflow("experiments/create"),
        content=b'{"name": "spirals"}',
        headers=azure_client.authorization,
    )
    request.stream = Body()
    with pytest.raises(RuntimeError):
        azure_client.http.send(request)
    assert azure_client.post("experiments/create", name="spirals").status_code == 200


def test_many_concurrent_clients_are_served_over_persistent_connections(
    azure: AzureEmulator, azure_client: AzureClient
) -> None:
    azure.faults.on(SEARCH, unavailable(), times=None, every=5)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.extend(search(azure_client) for _ in range(10))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 32 + [503] * 8
    assert azure.traffic.count(SEARCH, 503) == 8

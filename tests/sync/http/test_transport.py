"""Every error of the network and every status becomes one of ours, and is tried again only where that is right."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from mltrack.errors import RemoteError, UsageError
from mltrack_sync.errors import (
    NotMlflowError,
    RemoteAuthError,
    RemoteRefusedError,
    RemoteUnavailableError,
    TooLargeError,
)
from mltrack_sync.http.endpoint import Endpoint
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import API, Call, Transport, error_words
from mltrack_sync.mlflow.provider import MlflowWorkspace


def subclasses(kind: type[Exception]) -> list[type[Exception]]:
    below = [leaf for child in kind.__subclasses__() for leaf in subclasses(child)]
    return below or [kind]


def raising(error: Exception) -> httpx.MockTransport:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    return httpx.MockTransport(handler)


def answering(*answers: httpx.Response) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answers[min(len(seen), len(answers)) - 1]

    return httpx.MockTransport(handler), seen


def transport(
    http: httpx.BaseTransport, waits: list[float] | None = None, now: Callable[[], float] = lambda: 1e9
) -> Transport:
    sleep = (waits if waits is not None else []).append
    workspace = MlflowWorkspace("http://h:1", environ={}, home=Path("/nonexistent"))
    return Transport(workspace, policy=RetryPolicy(sleep=sleep), http=http, now=now)


def over(field: str) -> str:
    """Azure's words."""
    return f"A field of the entity is over the size limit. FieldName={field}, Limit=250, Size=251. See https://aka.ms"


BATCH = Call("POST", API + "runs/log-batch", False, body=b"{}", body_bytes=2)
GET = Call("GET", API + "runs/get", True)

LEAVES = [kind for kind in subclasses(httpx.HTTPError) if kind is not httpx.HTTPStatusError]


@pytest.mark.parametrize("kind", [*LEAVES, httpx.InvalidURL])
def test_every_error_httpx_raises_becomes_one_of_ours(kind: type[Exception]) -> None:
    with pytest.raises(RemoteError) as caught:
        transport(raising(kind("words"))).send(GET)
    assert "words" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("kind", "in_doubt"),
    [
        (httpx.ConnectError, False),
        (httpx.ConnectTimeout, False),
        (httpx.ReadTimeout, True),
        (httpx.ReadError, True),
        (httpx.WriteError, True),
        (httpx.RemoteProtocolError, True),
    ],
)
def test_a_batch_is_resent_only_if_it_certainly_did_not_arrive(kind: type[Exception], in_doubt: bool) -> None:
    waits: list[float] = []
    with pytest.raises(RemoteUnavailableError) as caught:
        transport(raising(kind("x")), waits).send(BATCH)
    assert caught.value.in_doubt == in_doubt
    assert bool(waits) != in_doubt


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_deferred_idempotent_request_is_retried(status: int) -> None:
    http, seen = answering(httpx.Response(status), httpx.Response(200, json={"ok": 1}))
    assert transport(http).send(GET) == {"ok": 1}
    assert len(seen) == 2


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_batch_is_not_resent_if_the_server_may_have_accepted_it(status: int) -> None:
    http, seen = answering(httpx.Response(status, json={"message": "hm"}))
    with pytest.raises(RemoteUnavailableError, match="hm"):
        transport(http).send(BATCH)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(400, json={"error_code": "INVALID_PARAMETER_VALUE", "message": "bad"}), RemoteRefusedError),
        (httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "bad"}), RemoteRefusedError),
        (httpx.Response(409, json={"error": {"code": "Conflict", "message": "bad"}}), RemoteRefusedError),
        (httpx.Response(413, text="bad"), TooLargeError),
        (httpx.Response(400, json={"message": "bad: can contain at most 1000"}), TooLargeError),
        (httpx.Response(400, json={"message": "bad: must be at most 1048576 bytes, got"}), TooLargeError),
        (httpx.Response(400, json={"message": "bad, Request body too large"}), TooLargeError),
        (httpx.Response(400, json={"message": "bad: the request is too large."}), TooLargeError),
        (httpx.Response(400, json={"error": {"message": over("bad.MetricV2Dto.Value/Count")}}), TooLargeError),
        (httpx.Response(400, json={"error": {"message": over("bad.Tags.Value/Length")}}), RemoteRefusedError),
        (httpx.Response(400, json={"error": {"message": over("bad.MetricNames")}}), RemoteRefusedError),
        (httpx.Response(400, json={"message": "Metric Document is too large, bad"}), RemoteRefusedError),
        (httpx.Response(401, text="no"), RemoteAuthError),
        (httpx.Response(403, json={"message": "bad"}), RemoteAuthError),
        (httpx.Response(404, text="<html>"), NotMlflowError),
        (httpx.Response(404, json={"error_code": "ENDPOINT_NOT_FOUND", "message": "bad"}), NotMlflowError),
        (httpx.Response(404, json={"detail": "Not Found"}), NotMlflowError),
        (httpx.Response(405, text=""), NotMlflowError),
        (httpx.Response(301, headers={"Location": "http://x"}), NotMlflowError),
        (httpx.Response(200, text="<html>"), NotMlflowError),
        (httpx.Response(200, json=[1]), NotMlflowError),
        (httpx.Response(501, json={"message": "bad"}), RemoteRefusedError),
    ],
)
def test_each_final_answer_has_its_error_and_is_not_retried(answer: httpx.Response, kind: type[Exception]) -> None:
    waits: list[float] = []
    with pytest.raises(RemoteError) as caught:
        transport(answering(answer)[0], waits).send(GET)
    assert type(caught.value) is kind
    assert waits == []


def test_waits_grow_with_jitter_are_bounded_and_honour_retry_after() -> None:
    waits: list[float] = []
    http, _ = answering(
        httpx.Response(503),
        httpx.Response(503),
        httpx.Response(503, headers={"Retry-After": "50"}),
        httpx.Response(503, headers={"Retry-After": "Sun, 09 Sep 2001 01:47:00 GMT"}),
        httpx.Response(503, headers={"Retry-After": "999999"}),
        httpx.Response(503, headers={"Retry-After": "soon"}),
        httpx.Response(200, json={}),
    )
    transport(http, waits).send(GET)
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1.0
    assert waits[2:5] == [50.0, 20.0, 120.0]
    assert waits[5] <= 30.0


class Moving(MlflowWorkspace):
    """Each endpoint it gives is another one, that lives for 1000 s."""

    def __init__(self) -> None:
        super().__init__("http://one", environ={})
        self.made = 0

    def endpoint(self) -> Endpoint:
        self.made += 1
        number = self.made
        return Endpoint(f"http://h{number}", lambda: {"Authorization": f"Bearer {number}"}, 1000.0 * number)


def test_an_endpoint_is_refreshed_before_it_expires_and_once_after_a_401() -> None:
    seen: list[tuple[str, str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers["Authorization"]))
        return httpx.Response(401 if len(seen) == 3 else 200, json={})

    now = [0.0]
    sent = Transport(Moving(), policy=RetryPolicy(), http=httpx.MockTransport(handler), now=lambda: now[0])
    sent.send(GET)
    now[0] = 900.0
    sent.send(GET)
    sent.send(GET)
    assert seen == [("h1", "Bearer 1"), ("h2", "Bearer 2"), ("h2", "Bearer 2"), ("h3", "Bearer 3")]


def test_if_no_connection_can_be_made_the_workspace_is_asked_for_a_new_endpoint() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        if request.url.host == "h1":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json={})

    waits: list[float] = []
    policy = RetryPolicy(sleep=waits.append)
    sent = Transport(Moving(), policy=policy, http=httpx.MockTransport(handler), now=lambda: 0.0)
    sent.check_connection()
    sent.send(BATCH)
    assert (seen, waits) == (["h1", "h2", "h2"], [])


def test_if_the_workspace_has_no_new_endpoint_the_error_is_unchanged() -> None:
    class Lost(Moving):
        def refresh(self, *, refused: bool = False) -> Endpoint:
            raise RemoteUnavailableError("the resource manager is away too", in_doubt=False)

    sent = Transport(Lost(), policy=RetryPolicy(), http=raising(httpx.ConnectError("refused")), now=lambda: 0.0)
    with pytest.raises(RemoteUnavailableError, match="refused"):
        sent.check_connection()


def test_the_error_message_is_found_in_every_shape_of_body() -> None:
    assert error_words({"error_code": "A", "message": "m"}) == ("A", "m")
    assert error_words({"error": {"code": "A", "message": "m"}}) == ("A", "m")
    assert error_words({"Error": {"Code": "A", "Message": "m"}, "statusCode": 4}) == ("A", "m")
    assert error_words(None) == error_words({}) == ("", "")


def test_a_missing_certificate_is_reported(tmp_path: Path) -> None:
    environ = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(tmp_path / "none.pem")}
    with pytest.raises(UsageError, match=r"none\.pem"):
        MlflowWorkspace("https://h", environ=environ).tls()
    insecure = MlflowWorkspace("https://h", environ={"MLFLOW_TRACKING_INSECURE_TLS": "true"}).tls()
    assert not insecure.check_hostname


def test_the_retry_policy_only_resolves_what_is_in_doubt() -> None:
    policy = RetryPolicy(sleep=lambda seconds: None)
    told: list[bool] = []

    def call(again: bool) -> int:
        told.append(again)
        if len(told) < 3:
            raise RemoteUnavailableError("x", in_doubt=True)
        return random.Random(1).randint(1, 1)

    assert policy.settle(call) == 1
    assert told == [False, True, True]

"""The one seam to the network: sends a request to the current endpoint and maps every failure to one of our errors."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import httpx

from mltrack.errors import RemoteError
from mltrack.text.redaction import remember_url
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.body import (
    ACCEPT_ENCODING,
    JSON_BYTES_MAX,
    Answer,
    AnswerTooLargeError,
    json_object,
    read_answer,
)
from mltrack_sync.http.endpoint import Endpoint, EndpointSource
from mltrack_sync.http.failures import Failures
from mltrack_sync.http.pool import connections_to
from mltrack_sync.http.rate_limit import RateLimiter
from mltrack_sync.http.responses import error_words
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.sockets import FIRST_BYTE_S, REST_S

__all__ = ["API", "Call", "NotReached", "Traffic", "Transport", "error_words"]

T = TypeVar("T")

API = "/api/2.0/mlflow/"
TIMEOUT = httpx.Timeout(connect=10, read=120, write=120, pool=None)
STREAM_REST_S = 120.0
"""How long a download may stall in total, in addition to the time that its bytes take."""

ANSWER_S = 60.0
"""How long an answer that is not a file may take, or twice the time allowed for its first byte."""

CONNECTION_CHECK_S = 30.0
"""How long the very first call may take: it asks for little."""

_TIMEOUT = TIMEOUT.as_dict()
OTHERS_MAX = 100
"""How many hosts other than the server get connections of their own: each bucket of an object store may be one."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: ``body`` gives the bytes for each attempt; ``repeatable`` says that twice has the effect of once.

    ``begin`` gives, for each attempt, the function that takes the answer's chunks; without it the answer is JSON of at
    most ``answer_bytes_max``. ``service`` names one of the endpoint's other base URLs that the path belongs to.
    ``headers`` are sent in addition to the usual ones; ``first_byte_s`` is how long the answer may take to begin.
    """

    method: str
    path: str
    repeatable: bool
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Callable[[], Iterator[bytes]] | None = None
    body_bytes: int = 0
    content_type: str = "application/json"
    begin: Callable[[], Callable[[bytes], object]] | None = None
    service: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    answer_bytes_max: int = JSON_BYTES_MAX
    first_byte_s: float = FIRST_BYTE_S


@dataclass(slots=True)
class Traffic:
    """How many requests were sent, and how many bytes in their bodies."""

    requests: int = 0
    body_bytes: int = 0


class Transport:
    """Sends calls over warm connections; safe to use from many threads."""

    def __init__(
        self,
        workspace: EndpointSource,
        *,
        policy: RetryPolicy,
        connections_max: int = 8,
        http: httpx.BaseTransport | None = None,
        now: Callable[[], float] = time.time,
        pace: RateLimiter | None = None,
    ) -> None:
        """``http`` replaces the network; ``pace`` limits the bytes of request bodies per second.

        Raises:
            RemoteError: the workspace has no endpoint.
        """
        self._workspace = workspace
        self._policy = policy
        self._endpoint = self._at_once(workspace.endpoint)
        self._now = now
        self._failures = Failures(workspace, now)
        self._pace = pace
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self.traffic = Traffic()
        self._http = http or connections_to(self._endpoint.base_url, workspace.tls, connections_max)
        self._others: dict[str, httpx.BaseTransport] = {}
        self._replaced = http
        self._connections_max = connections_max

    def close(self) -> None:
        """Close the connections."""
        for each in (self._http, *self._others.values()):
            each.close()

    @property
    def url(self) -> str:
        """The remote's URL as the user knows it."""
        return self._workspace.url

    @property
    def base_url(self) -> str:
        """Where requests go now: credentials are sent to this origin only."""
        return self._endpoint.base_url

    @property
    def shared_folder(self) -> str:
        """The folder that this machine shares with the server, as the user configured it; "" without one."""
        return self._workspace.shared_folder

    @property
    def policy(self) -> RetryPolicy:
        """What is retried, and how often."""
        return self._policy

    def get(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """A GET of MLflow's API, which changes nothing and may be repeated."""
        return self.send(Call("GET", API + path, True, params))

    def post(self, path: str, fields: Mapping[str, Any], *, repeatable: bool, method: str = "POST") -> dict[str, Any]:
        """A POST (PATCH, DELETE) of MLflow's API."""
        body = json.dumps(fields, separators=(",", ":")).encode("ascii")
        return self.send(Call(method, API + path, repeatable, body=body, body_bytes=len(body)))

    def send(self, call: Call) -> dict[str, Any]:
        """The fields of the answer, after as many attempts as the policy and the call allow.

        Raises:
            RemoteUnavailableError, RemoteAuthError, NotMlflowError, RemoteRefusedError: see mltrack_sync.errors.
        """
        moves = call.begin is not None or callable(call.body)  # a file's bytes: the progress shows them
        what = "" if moves else f"{self.url}, for an answer to {call.method} {call.path.removeprefix(API)}"
        return self._policy.send(lambda: self._send_authorised(call), repeatable=call.repeatable, what=what)

    def download(self, path: str, begin: Callable[[], Callable[[bytes], object]], *, repeatable: bool = True) -> None:
        """A GET whose answer is passed on in chunks; for each attempt, ``begin`` gives the function that takes them.

        Raises:
            RemoteUnavailableError, RemoteAuthError, NotMlflowError, RemoteRefusedError: see mltrack_sync.errors.
        """
        self.send(Call("GET", path, repeatable, begin=begin))

    def check_connection(self) -> None:
        """Find out at once whether an MLflow server answers: a refused connection is not retried.

        Raises:
            RemoteError: none answers, or it does not let us in.
        """
        body = b'{"max_results":1}'
        call = Call(
            "POST", API + "experiments/search", True, body=body, body_bytes=len(body), first_byte_s=CONNECTION_CHECK_S
        )

        self._at_once(lambda: self._send_authorised(call))

    def _at_once(self, call: Callable[[], T]) -> T:
        """By the policy, but a refused connection is not retried."""

        def once() -> T:
            try:
                return call()
            except RemoteUnavailableError as error:
                if error.is_unreached:
                    raise NotReached(error) from error
                raise

        try:
            return self._policy.send(once, repeatable=True, what=f"{self.url}, for its first answer")
        except NotReached as error:
            raise error.cause from None

    def send_signed(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], bytes | Iterator[bytes]] | None = None,
        body_bytes: int = 0,
        begin: Callable[[], Callable[[bytes], object]] | None = None,
        *,
        at_once: bool = False,
        repeatable: bool = True,
        attempts_max: int | None = None,
    ) -> Answer:
        """A request to a URL that is itself a secret, or another server's: no credentials are sent with it.

        Any answer is returned except those that ask to retry later; ``begin`` and ``repeatable`` are as in Call.
        ``at_once``: a host that can't be reached is not retried.

        Raises:
            RemoteUnavailableError: there was no answer.
            NotReached: with ``at_once``, there was no connection.
        """
        policy = self._policy
        if attempts_max is not None:
            policy = replace(policy, attempts_max=min(attempts_max, policy.attempts_max))
        return policy.send(
            lambda: self._exchange_signed(method, url, headers, body, body_bytes, begin, at_once), repeatable=repeatable
        )

    # --- one attempt ---

    def _send_authorised(self, call: Call) -> dict[str, Any]:
        endpoint = self._endpoint
        if endpoint.is_due(self._now()):
            endpoint = self._refresh(endpoint)
        try:
            response = self._exchange(call, endpoint)
        except RemoteUnavailableError as error:
            if not isinstance(error.__cause__, httpx.ConnectError):
                raise
            endpoint = self._elsewhere(endpoint, error)
            response = self._exchange(call, endpoint)
        if response.status_code in (401, 403):
            endpoint = self._refresh(endpoint, refused=True)
            response = self._exchange(call, endpoint)
        return self._answer(call, response)

    def _elsewhere(self, known: Endpoint, error: RemoteUnavailableError) -> Endpoint:
        """The workspace's new endpoint, when nothing listens at the former one; without one the error is raised."""
        try:
            fresh = self._refresh(known)
        except RemoteError:  # a fresh endpoint can't be had
            raise error from error.__cause__
        if fresh.base_url == known.base_url:
            raise error
        return fresh

    def _refresh(self, known: Endpoint, *, refused: bool = False) -> Endpoint:
        with self._refreshing:
            if self._endpoint is known:  # else another thread has just done it
                self._endpoint = self._workspace.refresh(refused=refused)
            return self._endpoint

    def _exchange(self, call: Call, endpoint: Endpoint) -> Answer:
        base_url = endpoint.services[call.service] if call.service else endpoint.base_url
        content = call.body() if callable(call.body) else call.body
        try:
            request = self._request(
                call.method,
                httpx.URL(base_url + call.path, params=call.params) if call.params else base_url + call.path,
                {**endpoint.authorize(), "Content-Type": call.content_type, **call.headers},
                content,
                call.body_bytes,
            )
            return self._answered(self._http, request, call.begin, call.answer_bytes_max, call.first_byte_s)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failures.of_network(error) from error
        except AnswerTooLargeError as error:
            raise self._failures.not_mlflow(f"it {error} to {call.method} {call.path}") from None

    def _request(
        self,
        method: str,
        url: httpx.URL | str,
        headers: Mapping[str, str],
        content: bytes | Iterator[bytes] | None,
        body_bytes: int,
    ) -> httpx.Request:
        """Created here and not by httpx's client, which keeps cookies and logs URLs."""
        if content and self._pace is not None:
            content = self._pace.spread(content)
        common = {"User-Agent": "mltrack", "Accept": "*/*", "Accept-Encoding": ACCEPT_ENCODING}
        length = {"Content-Length": str(body_bytes)} if content is not None else {}
        with self._lock:
            self.traffic.requests += 1
            self.traffic.body_bytes += body_bytes
        return httpx.Request(
            method, url, headers={**common, **headers, **length}, content=content, extensions={"timeout": _TIMEOUT}
        )

    def _answered(
        self,
        by: httpx.BaseTransport,
        request: httpx.Request,
        begin: Callable[[], Callable[[bytes], object]] | None,
        bytes_max: int = JSON_BYTES_MAX,
        first_byte_s: float = FIRST_BYTE_S,
    ) -> Answer:
        rest = (REST_S, max(ANSWER_S, 2 * first_byte_s)) if begin is None else (STREAM_REST_S, math.inf)
        request.extensions["patience"] = (first_byte_s, *rest)
        response = by.handle_request(request)
        with contextlib.closing(response):
            _acknowledge(response)
            take = begin() if begin is not None and response.status_code == 200 else None
            return read_answer(response, take=take, bytes_max=None if take is not None else bytes_max)

    def _exchange_signed(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], bytes | Iterator[bytes]] | None,
        body_bytes: int,
        begin: Callable[[], Callable[[bytes], object]] | None,
        at_once: bool,
    ) -> Answer:
        remember_url(url)  # it may come back in the message of an error
        content = body() if body is not None else b""
        try:
            request = self._request(method, url, headers, content, body_bytes)
            response = self._answered(self._others_to(request.url), request, begin)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            unavailable = self._failures.of_blob_store(error)
            if at_once and unavailable.not_sent:
                raise NotReached(unavailable) from None
            raise unavailable from None
        except AnswerTooLargeError as error:
            raise self._failures.of_large_blob_answer(error) from None
        if later := self._failures.of_blob_answer(response):
            raise later
        return response

    def _others_to(self, url: httpx.URL) -> httpx.BaseTransport:
        """Connections to another host than the server: through its proxy, without our client certificate."""
        if self._replaced is not None:
            return self._replaced
        origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
        with self._lock:
            if origin not in self._others:
                if len(self._others) >= OTHERS_MAX:
                    raise httpx.UnsupportedProtocol("the server names too many hosts")
                self._others[origin] = connections_to(origin, self._workspace.others_tls, self._connections_max)
            return self._others[origin]

    def _answer(self, call: Call, response: Answer) -> dict[str, Any]:
        status = response.status_code
        if status == 200 and call.begin is not None:  # the chunks were passed on already
            return {}
        try:
            fields = json_object(response)
        except AnswerTooLargeError as error:
            raise self._failures.not_mlflow(f"it {error} to {call.method} {call.path}") from None
        if status == 200:
            if not response.content:  # an artifact was accepted
                return {}
            if fields is None:
                raise self._failures.not_mlflow("its reply is not JSON")
            return fields
        raise self._failures.of_answer(call.method, call.path, response, fields)


class NotReached(Exception):
    """Carries an error past the retry policy."""

    def __init__(self, cause: RemoteUnavailableError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _acknowledge(response: httpx.Response) -> None:
    """Have the kernel acknowledge the headers now: a server that writes headers and body apart waits for that.

    Without it each request to an MLflow server of several workers takes 44 ms more (delayed ACK against Nagle); set
    once when connecting, the option does not last.
    """
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None and hasattr(socket, "TCP_QUICKACK") else None
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

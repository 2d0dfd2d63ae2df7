"""Connections: each in the hands of one request at a time, free again however that ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from mltrack_sync.http.pool import Connections

REQUESTS = 200


class Answer(httpx.SyncByteStream):
    """Its connection is in use until this is closed; other threads get a turn meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        yield b"half"
        threading.Event().wait(0.0001)
        yield b"half"

    def close(self) -> None:
        self._connection.in_use.release()


class Connection(httpx.BaseTransport):
    """Notes each request; a second one at the same time is an error."""

    def __init__(self) -> None:
        self.in_use = threading.Lock()
        self.served = 0
        self.is_closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self.in_use.acquire(blocking=False):
            raise AssertionError("a connection was given to two requests at once")
        self.served += 1
        if request.url.path == "/lost":
            self.in_use.release()
            raise httpx.ReadError("reset", request=request)
        return httpx.Response(200, stream=Answer(self))

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def made() -> list[Connection]:
    return []


@pytest.fixture
def client(made: list[Connection]) -> Iterator[httpx.Client]:
    def make() -> Connection:
        made.append(Connection())
        return made[-1]

    with httpx.Client(transport=Connections(make, 3), base_url="http://there") as client:
        yield client
    assert all(connection.is_closed for connection in made)


def test_many_threads_never_share_a_connection(client: httpx.Client, made: list[Connection]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get("/").content, range(REQUESTS)))
    assert answers == [b"halfhalf"] * REQUESTS
    assert sum(connection.served for connection in made) == REQUESTS
    assert len(made) == 3


def test_consecutive_requests_use_the_same_connection(client: httpx.Client, made: list[Connection]) -> None:
    for _ in range(5):
        client.get("/")
    assert [connection.served for connection in made] == [5, 0, 0]


def test_a_connection_is_free_again_after_an_error_and_after_an_unread_answer(
    client: httpx.Client, made: list[Connection]
) -> None:
    for _ in range(4):
        with pytest.raises(httpx.ReadError):
            client.get("/lost")
        with client.stream("GET", "/"):
            pass
    assert [connection.served for connection in made] == [8, 0, 0]

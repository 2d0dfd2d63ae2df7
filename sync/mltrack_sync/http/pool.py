"""Warm connections, each used by one request at a time.

httpcore's pool looks, for each request, whether the idle connections are still good. One that another thread was just
given, and that has its answer already, looks to it like one that the server closed: it closes it, and that answer is
lost. So each connection has a pool of its own here, which no other thread looks at meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpcore
import httpx

from mltrack_sync.http.proxies import Proxy, proxy_for
from mltrack_sync.http.sockets import FIRST_BYTE_S, REST_S, Patience, Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Connections", "OneConnection", "connections_to"]

WORDS_MAX = 300
"""How many characters of a library's message about an answer are kept: it may quote the answer."""

IDLE_MAX_S = 1.5
"""Shorter than servers keep an idle connection (2 s, 5 s and more): a request never meets one that is being closed."""


class Connections(httpx.BaseTransport):
    """At most ``count`` connections; the one used last is used next. Safe to use from many threads."""

    def __init__(self, make: Callable[[], httpx.BaseTransport], count: int) -> None:
        """``make`` gives a transport that opens one connection, when it is first used."""
        self._all = [make() for _ in range(count)]
        self._free: queue.LifoQueue[httpx.BaseTransport] = queue.LifoQueue()
        for one in reversed(self._all):
            self._free.put(one)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it by a free connection, waiting for one; it is free again when the response is closed."""
        one = self._free.get()
        try:
            response = one.handle_request(request)
            assert isinstance(response.stream, httpx.SyncByteStream)
            response.stream = _Held(response.stream, lambda: self._free.put(one))
        except BaseException:
            self._free.put(one)
            raise
        return response

    def close(self) -> None:
        """Close all of them."""
        for one in self._all:
            one.close()


class _Held(httpx.SyncByteStream):
    """An answer that holds its connection until it is closed."""

    def __init__(self, stream: httpx.SyncByteStream, release: Callable[[], None]) -> None:
        self._stream = stream
        self._release: Callable[[], None] | None = release

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        release, self._release = self._release, None
        try:
            self._stream.close()
        finally:
            if release is not None:
                release()


class OneConnection(httpx.BaseTransport):
    """One connection, opened when it is first used, and again when it was closed. Serves one request at a time.

    A request's extension ``patience`` says in seconds how long its answer may take (see sockets.py): to begin, in
    addition to the time that its bytes take, and in total.
    """

    def __init__(self, tls: ssl.SSLContext | None, proxy: Proxy | None) -> None:
        self._patience = Patience()
        self._pool = _pool(tls, proxy, self._patience)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; the answer's content is still to come."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        self._patience.begin(*request.extensions.get("patience", (FIRST_BYTE_S, REST_S)))
        url = request.url
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        asked = httpcore.Request(
            request.method, target, headers=request.headers.raw, content=request.stream, extensions=request.extensions
        )
        with _as_httpx():
            answer = self._pool.handle_request(asked)
        self._patience.head_received()
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Content(answer), extensions=answer.extensions
        )

    def close(self) -> None:
        """Close it."""
        with _as_httpx():
            self._pool.close()


class _Content(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        with _as_httpx():
            self._answer.close()


def _pool(tls: ssl.SSLContext | None, proxy: Proxy | None, patience: Patience) -> httpcore.ConnectionPool:
    options: dict[str, Any] = {
        "ssl_context": tls,
        "max_connections": 1,
        "max_keepalive_connections": 1,
        "keepalive_expiry": IDLE_MAX_S,
        "network_backend": Wire(patience, proxy if proxy is not None and proxy.is_socks else None),
        "socket_options": [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    }
    if proxy is None or proxy.is_socks:
        return httpcore.ConnectionPool(**options)
    place = httpcore.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target="/")
    if proxy.scheme == "https":
        options["proxy_ssl_context"] = tls
    return httpcore.HTTPProxy(place, proxy_auth=proxy.login, **options)


_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.ProxyError, httpx.ProxyError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
    (httpcore.ConnectionNotAvailable, httpx.ConnectError),
)
"""httpcore's errors and their counterparts in httpx, as in its own transport."""


@contextlib.contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except tuple(ours for ours, _ in _ERRORS) as error:
        kind = next(theirs for ours, theirs in _ERRORS if isinstance(error, ours))
        raise kind(str(error)[:WORDS_MAX] or type(error).__name__) from error


def connections_to(
    base_url: str, tls: Callable[[], ssl.SSLContext], count: int, *, environ: Mapping[str, str] = os.environ
) -> Connections:
    """Connections to a server, through the proxy that the environment names for it; ``tls`` is called where needed.

    Raises:
        UsageError: an environment variable names something that is not a proxy, or not a certificate.
    """
    proxy = proxy_for(base_url, environ)
    encrypted = urlsplit(base_url).scheme == "https" or (proxy is not None and proxy.scheme == "https")
    context = tls() if encrypted else None
    return Connections(lambda: OneConnection(context, proxy), count)

"""Warm connections, each in the hands of one request at a time.

httpcore's pool looks, for each request, whether the idle connections are still good. One that another thread was just
given, and that has its answer already, looks to it like one that the server closed: it closes it, and that answer is
lost. So each connection has a pool of its own here, which no other thread looks at meanwhile.
"""

from __future__ import annotations

import queue
import socket
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

__all__ = ["Connections", "connections_to"]

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

    def __init__(self, stream: httpx.SyncByteStream, let_go: Callable[[], None]) -> None:
        self._stream = stream
        self._let_go: Callable[[], None] | None = let_go

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        let_go, self._let_go = self._let_go, None
        try:
            self._stream.close()
        finally:
            if let_go is not None:
                let_go()


def connections_to(base_url: str, tls: ssl.SSLContext, count: int) -> Connections:
    """Connections to a server, through the proxy that the environment names for it."""
    parts = urlsplit(base_url)
    proxied = parts.hostname and not urllib.request.proxy_bypass(parts.netloc)
    proxy = urllib.request.getproxies().get(parts.scheme) if proxied else None

    def make() -> httpx.HTTPTransport:
        return httpx.HTTPTransport(
            verify=tls,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_MAX_S),
            proxy=proxy,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )

    return Connections(make, count)

"""A loopback proxy in front of a server that counts requests, and spoils chosen ones for real."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came by: its number from 1 among those of its path."""

    method: str
    path: str
    number: int
    headers: Mapping[str, str]
    body: bytes
    query: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the proxy answers itself."""

    status: int
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


class LoseAnswer:
    """Let the server do its work, then close the connection."""


class Cut:
    """Close the connection before the server sees the request."""


Fault = Answer | LoseAnswer | Cut | None


class FaultyProxy:
    """``fault(seen)`` decides what becomes of each request; None lets it pass.

    ``answer_after(seen)`` gives what it says when the server has done its work, in place of what the server said.
    """

    def __init__(self, upstream: str) -> None:
        self.seen: list[Seen] = []
        self.fault: Callable[[Seen], Fault] = lambda seen: None
        self.answer_after: Callable[[Seen], Answer | None] = lambda seen: None
        self.points_taken = 0  # in batches that the server acknowledged, whether or not the client heard of it
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()
        self._in_hand = 0
        self._idle = threading.Condition(self._lock)
        parts = urlsplit(upstream)
        proxy, address = self, (str(parts.hostname), int(parts.port or 80))

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                proxy.handle(self, address)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, end: str) -> int:
        """How many requests went to paths that end so."""
        return sum(seen.path.endswith(end) for seen in self.seen)

    @property
    def in_hand(self) -> int:
        """How many requests are being answered now."""
        return self._in_hand

    def wait_begun(self) -> None:
        """Return when a request is in hand."""
        with self._idle:
            self._idle.wait_for(lambda: self._in_hand > 0)

    def wait_idle(self) -> None:
        """Return when no request is in hand any more."""
        with self._idle:
            self._idle.wait_for(lambda: self._in_hand == 0)

    def handle(self, handler: BaseHTTPRequestHandler, address: tuple[str, int]) -> None:
        with self._idle:
            self._in_hand += 1
            self._idle.notify_all()
        try:
            self._handle(handler, address)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True  # the client is gone
        finally:
            with self._idle:
                self._in_hand -= 1
                self._idle.notify_all()

    def _handle(self, handler: BaseHTTPRequestHandler, address: tuple[str, int]) -> None:
        size = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(size)
        if len(body) < size:  # the client died; the server would wait for the rest
            handler.close_connection = True
            return
        path, _, query = handler.path.partition("?")
        with self._lock:
            number = self._numbers[path] = self._numbers.get(path, 0) + 1
            seen = Seen(handler.command, path, number, dict(handler.headers.items()), body, query)
            self.seen.append(seen)
        fault = self.fault(seen)
        if isinstance(fault, Answer):
            self._answer(handler, fault.status, fault.headers, fault.body)
            return
        if not isinstance(fault, Cut):
            status, headers, answer = self._forward(handler, address, body)
            if path.endswith("log-batch") and status == 200:
                with self._lock:
                    self.points_taken += len(json.loads(body).get("metrics", []))
        if fault is not None:
            handler.close_connection = True
            return
        other = self.answer_after(seen)
        if other is not None:
            status, headers, answer = other.status, dict(other.headers), other.body
        self._answer(handler, status, headers, answer)

    @staticmethod
    def _forward(
        handler: BaseHTTPRequestHandler, address: tuple[str, int], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*address, timeout=60)
        try:
            headers = {k: v for k, v in handler.headers.items() if k.lower() not in ("host", "connection")}
            connection.request(handler.command, handler.path, body, headers)
            response = connection.getresponse()
            kept = {k: v for k, v in response.getheaders() if k.lower() in ("content-type", "retry-after")}
            return response.status, kept, response.read()
        finally:
            connection.close()

    @staticmethod
    def _answer(handler: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

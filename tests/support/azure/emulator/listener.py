"""An HTTP server on a loopback port, plain or over TLS, whose connections can be cut and whose port can be left."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from .certificate import Certificate
from .exchange import Response


class Gone(Exception):
    """The client went away in the middle of its request."""


class Incoming(Protocol):
    """A request whose body may not have been read yet."""

    method: str
    target: str
    headers: Mapping[str, str]

    def read(self, limit: int | None = None) -> bytes:
        """The body, or that many bytes of it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send: all of an answer, or only its first ``bytes_sent`` bytes and then cut the connection."""

    response: Response | None
    bytes_sent: int | None = None


class Site(Protocol):
    """What a listener asks what to answer."""

    def handle(self, incoming: Incoming, listener: Listener) -> Reply:
        """What becomes of a request."""

    def failed(self, error: BaseException) -> None:
        """The emulator itself went wrong."""


class Listener:
    """One port; it can be closed and opened again at the same number."""

    def __init__(self, site: Site, certificate: Certificate | None = None) -> None:
        self._site = site
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate.bundle, certificate.key)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Take connections."""
        if self._server is not None:
            return
        self._server = _Server(self.port, self._tls, self._site, self)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self, *, wait: bool = False) -> None:
        """Cut all connections; from now on they are refused. ``wait`` until what was being answered has ended."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self._server = None
        server.shutdown()
        server.server_close()
        server.cut_all()
        thread.join()
        if wait:
            server.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, tls: ssl.SSLContext | None, site: Site, listener: Listener) -> None:
        self.tls = tls
        self.site = site
        self.listener = listener
        self._open: set[socket.socket] = set()
        self._busy: set[threading.Thread] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.tls is not None:  # the handshake is done by the connection's own thread, at its first read
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
        return connection, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._busy.add(threading.current_thread())
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._busy.discard(threading.current_thread())

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            cut(connection)

    def join(self) -> None:
        with self._lock:
            threads = list(self._busy)
        for thread in threads:
            thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):  # the connection is gone, or was cut by us
            self.close_connection = True

    def handle_request(self) -> None:
        incoming = _Incoming(self)
        try:
            reply = self.server.site.handle(incoming, self.server.listener)
        except Gone:
            reply = Reply(None)
        except BaseException as error:
            self.server.site.failed(error)
            cut(self.connection)
            raise
        data = b"" if reply.response is None else self._bytes(reply.response)
        whole = reply.response is not None and reply.bytes_sent is None
        if whole and not incoming.finished:
            self.close_connection = True
        self.wfile.write(data if whole else data[: reply.bytes_sent or 0])
        if not whole:
            self.close_connection = True
            cut(self.connection)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

    def _bytes(self, response: Response) -> bytes:
        reason = self.responses.get(response.status, ("",))[0]
        lines = [f"HTTP/1.1 {response.status} {reason}"]
        headers = dict(response.headers)
        if self.command != "HEAD":
            headers["Content-Length"] = str(len(response.body))
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return head if self.command == "HEAD" else head + response.body

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Incoming:
    def __init__(self, handler: _Handler) -> None:
        self.method = handler.command
        self.target = handler.path
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in handler.headers.items()}
        self._file = handler.rfile
        self._left = int(self.headers.get("content-length") or 0)

    @property
    def finished(self) -> bool:
        return self._left == 0 and "transfer-encoding" not in self.headers

    def read(self, limit: int | None = None) -> bytes:
        wanted = self._left if limit is None else min(limit, self._left)
        body = self._file.read(wanted) if wanted else b""
        if len(body) < wanted:
            raise Gone
        self._left -= wanted
        return body


def cut(connection: socket.socket) -> None:
    """End the connection at once, both ways."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass

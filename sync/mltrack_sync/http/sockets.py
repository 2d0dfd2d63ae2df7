"""Sockets that don't wait for ever: how long one request may take depends on how much it transfers.

A time-out for each read is not enough: at a byte a second it is never reached. So each connection keeps an account
(``Patience``): a limit for the first byte of the answer, and one for the rest, in addition to the time that its bytes
take on a slow network; the same for what is sent. Connecting through a SOCKS proxy is also done here.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import httpcore

from mltrack_sync.http.proxies import Proxy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

__all__ = ["FIRST_BYTE_S", "REST_S", "Patience", "Wire"]

FIRST_BYTE_S = 120.0
REST_S = 30.0
WRITE_S = 120.0
BYTES_PER_S_MIN = 1024
"""A slower network counts as down."""

HEAD_BYTES_MAX = 1 << 20
"""How much may come before an answer's content begins: headers, and interim responses."""

WRITE_BYTES_MAX = 64 << 10
SOCKS_S = 30.0


class Patience:
    """The account of one connection, which serves one request at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.begin(FIRST_BYTE_S, REST_S)

    def begin(self, first_byte_s: float, rest_s: float, most_s: float = math.inf) -> None:
        """A request begins. ``rest_s``: how long the whole answer may take in addition to the time of its bytes.

        ``most_s``: how long it may take in total.
        """
        self._first_byte_s = first_byte_s
        self._rest_s = rest_s
        self._most_s = most_s
        self._written, self._writing_s = 0, 0.0
        self.restart()

    def restart(self) -> None:
        """What came so far was a proxy's or a handshake's: the answer itself is still to come."""
        self._read, self._reading_s = 0, 0.0
        self._in_head = True

    def head_received(self) -> None:
        """The headers have come; what follows is content."""
        self._in_head = False

    def left_for_read(self, timeout: float | None) -> float:
        """How long the next read may take."""
        allowed = self._first_byte_s
        if self._read:
            allowed = min(self._rest_s + self._read / BYTES_PER_S_MIN, self._most_s)
        return _positive(allowed - self._reading_s, timeout)

    def left_for_write(self, timeout: float | None) -> float:
        """How long the next write may take."""
        return _positive(WRITE_S + self._written / BYTES_PER_S_MIN - self._writing_s, timeout)

    def read(self, count: int, seconds: float) -> None:
        """Count bytes that came, and the time that took.

        Raises:
            httpcore.RemoteProtocolError: the headers are longer than any valid answer's.
        """
        first = not self._read
        self._read += count
        self._reading_s = 0.0 if first else self._reading_s + seconds
        if self._in_head and self._read > HEAD_BYTES_MAX:
            raise httpcore.RemoteProtocolError("its headers do not end")

    def written(self, count: int, seconds: float) -> None:
        """Count bytes that were sent, and the time that took."""
        self._written += count
        self._writing_s += seconds


def _positive(left: float, timeout: float | None) -> float:
    return max(0.001, left if timeout is None else min(left, timeout))


class _Stream(httpcore.NetworkStream):
    """A connection's bytes, counted in its account."""

    def __init__(self, stream: httpcore.NetworkStream, patience: Patience) -> None:
        self._stream = stream
        self._patience = patience

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        patience = self._patience
        began = patience.clock()
        data = self._stream.read(max_bytes, patience.left_for_read(timeout))
        patience.read(len(data), patience.clock() - began)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        patience = self._patience
        for at in range(0, len(buffer), WRITE_BYTES_MAX):
            piece = buffer[at : at + WRITE_BYTES_MAX]
            began = patience.clock()
            self._stream.write(piece, patience.left_for_write(timeout))
            patience.written(len(piece), patience.clock() - began)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        self._patience.restart()
        return _Stream(stream, self._patience)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Wire(httpcore.NetworkBackend):
    """Opens connections that share one account, through ``socks`` where that is given."""

    def __init__(self, patience: Patience, socks: Proxy | None = None) -> None:
        self._patience = patience
        self._socks = socks
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Open a connection to the host, whatever is in between.

        Raises:
            httpcore.ConnectError, ConnectTimeout, ProxyError: it can't be opened.
        """
        target = (host, port) if self._socks is None else (self._socks.host, self._socks.port)
        try:
            stream = self._plain.connect_tcp(*target, timeout, local_address, socket_options)
        except UnicodeError as error:  # a label of no or too many characters
            raise httpcore.ConnectError(f"{target[0]!r} is not the name of a host") from error
        if self._socks is not None:
            try:
                _through_socks(stream, self._socks, host, port, SOCKS_S, self._patience.clock)
            except BaseException:
                stream.close()
                raise
        self._patience.restart()
        return _Stream(stream, self._patience)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._plain.sleep(seconds)


# --- SOCKS 5 (RFC 1928, RFC 1929) --------------------------------------------------------------------------------

_REFUSALS = (
    "general failure",
    "not allowed by its rules",
    "network unreachable",
    "host unreachable",
    "connection refused",
    "time to live expired",
    "command not supported",
    "kind of address not supported",
)


def _through_socks(
    stream: httpcore.NetworkStream, proxy: Proxy, host: str, port: int, seconds: float, clock: Callable[[], float]
) -> None:
    """Have the proxy connect to the host; from then on the stream leads to the host."""
    until = clock() + seconds

    def take(count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = stream.read(count - len(data), max(0.001, until - clock()))
            except httpcore.TimeoutException as error:
                raise httpcore.ProxyError("the SOCKS proxy does not answer") from error
            if not more:
                raise httpcore.ProxyError("the SOCKS proxy closed the connection")
            data += more
        return data

    method = 0 if proxy.login is None else 2
    stream.write(bytes([5, 1, method]), seconds)
    version, chosen = take(2)
    if version != 5:
        raise httpcore.ProxyError("the proxy does not speak SOCKS 5")
    if chosen != method:
        raise httpcore.ProxyError("the SOCKS proxy wants another kind of login")
    if proxy.login is not None:
        user, password = proxy.login
        stream.write(bytes([1, len(user)]) + user + bytes([len(password)]) + password, seconds)
        if take(2)[1] != 0:
            raise httpcore.ProxyError("the SOCKS proxy refuses user and password")
    stream.write(b"\x05\x01\x00" + _socks_address(proxy, host) + struct.pack("!H", port), seconds)
    version, reply, _, kind = take(4)
    if version != 5 or reply != 0:
        why = _REFUSALS[reply - 1] if 0 < reply <= len(_REFUSALS) else f"code {reply}"
        raise httpcore.ProxyError(f"the SOCKS proxy can't connect: {why}")
    length = {1: 4, 4: 16}.get(kind)
    take((length if length is not None else take(1)[0]) + 2)


def _socks_address(proxy: Proxy, host: str) -> bytes:
    """The host as an address, where it is one or its name is to be resolved here; otherwise its name."""
    literal = host.strip("[]")
    found: str | None = None
    with contextlib.suppress(ValueError):
        found = str(ipaddress.ip_address(literal))
    if found is None and proxy.scheme == "socks5":
        with contextlib.suppress(OSError, UnicodeError):  # it can't be resolved here: the proxy may know it
            found = str(socket.getaddrinfo(literal, None, type=socket.SOCK_STREAM)[0][4][0])
    if found is not None:
        address = ipaddress.ip_address(found.partition("%")[0])
        return (b"\x01" if address.version == 4 else b"\x04") + address.packed
    try:
        name = literal.encode("idna")
    except UnicodeError as error:
        raise httpcore.ConnectError(f"{literal!r} is not the name of a host") from error
    return b"\x03" + bytes([len(name)]) + name

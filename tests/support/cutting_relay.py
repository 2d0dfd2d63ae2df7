"""A relay between two ports of loopback that cuts connections after so many bytes, or changes one on its way."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable


class CuttingRelay:
    """``budget()`` is asked for each connection: so many bytes pass in both directions together; None for all.

    With ``damage`` the last byte that passes is changed, and the connection is not cut.
    """

    def __init__(self, port: int, budget: Callable[[], int | None], *, damage: bool = False) -> None:
        self.port = 0
        self.cuts = 0
        self.passed = 0
        self._to = port
        self._budget = budget
        self._damage = damage
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def send_to(self, port: int) -> None:
        """Relay to another port from now on."""
        self._to = port

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._to), 10)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            left = [self._budget()]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._relay, args=(one, other, left), daemon=True).start()

    def _relay(self, one: socket.socket, other: socket.socket, left: list[int | None]) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                passing = self._pass(data, left)
                other.sendall(passing)
                if len(passing) < len(data):
                    break
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _pass(self, data: bytes, left: list[int | None]) -> bytes:
        with self._lock:
            self.passed += len(data)
            if left[0] is None:
                return data
            if left[0] >= len(data):
                left[0] -= len(data)
                return data
            self.cuts += 1
            at, left[0] = left[0], None if self._damage else 0
            if self._damage:
                return data[:at] + bytes([data[at] ^ random.choice((1, 2, 4, 8))]) + data[at + 1 :]
            return data[:at]

    def close(self) -> None:
        """End it, and all that goes through it."""
        self._server.close()
        for each in self._sockets:
            each.close()

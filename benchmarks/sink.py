"""A far end for the benchmarks: it answers as an MLflow server does, keeps nothing, and counts what it took.

``python benchmarks/sink.py [NICENESS]`` prints its port, and at each line it reads, how many requests, runs and points
it took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["FarEnd", "Taken", "far_end"]


class Taken(NamedTuple):
    """What the sink took so far."""

    requests: int
    runs: int
    points: int


class Sink(asyncio.Protocol):
    """One connection; requests come one after the other."""

    taken = Taken(0, 0, 0)
    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0  # bytes of the request in hand, 0 while its head is not whole

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._have += len(data)
        if not self._need:
            whole = b"".join(self._parts)
            self._parts = [whole]
            end = whole.find(b"\r\n\r\n")
            if end < 0:
                return
            head = whole[:end].lower()
            at = head.find(b"content-length:")
            self._need = end + 4 + (int(head[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0)
        if self._have >= self._need:
            request = b"".join(self._parts)
            self._parts, self._have, self._need = [], 0, 0
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        path = request[: request.find(b"\r\n")].split(b" ")[1].partition(b"?")[0]
        fields: object = {}
        requests, runs, points = Sink.taken
        if path.endswith(b"log-batch"):
            points += request.count(b'"step"')
        elif path.endswith(b"runs/create"):
            asked, run_id = json.loads(request.partition(b"\r\n\r\n")[2]), os.urandom(16).hex()
            info = {
                "run_id": run_id,
                "experiment_id": asked["experiment_id"],
                "artifact_uri": f"mlflow-artifacts:/{run_id}",
            }
            fields = {"run": {"info": info, "data": {}}}
            runs += 1
        elif path.endswith(b"experiments/search"):
            fields = {"experiments": [{"experiment_id": "0", "name": "Default"}]}
        elif b"/experiments/get" in path:
            fields = {"experiment": {"experiment_id": "0", "name": "Default", "lifecycle_stage": "active", "tags": []}}
        Sink.taken = Taken(requests + 1, runs, points)
        body = json.dumps(fields).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


class FarEnd(NamedTuple):
    """A sink that runs in a process of its own."""

    url: str
    process: subprocess.Popen[str]

    def taken(self) -> Taken:
        """What it took so far."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Taken(*map(int, self.process.stdout.readline().split()))


@contextlib.contextmanager
def far_end(niceness: int = 0) -> Iterator[FarEnd]:
    """A sink for the length of a with statement; ``niceness`` is added to this process's own."""
    command = [sys.executable, __file__, str(niceness)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield FarEnd(f"http://127.0.0.1:{process.stdout.readline().strip()}", process)
    finally:
        process.kill()
        process.communicate()


async def main(niceness: int) -> None:
    os.nice(niceness)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    asked = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    while await asked.readline():
        print(*Sink.taken, flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 0))

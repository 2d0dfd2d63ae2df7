"""Pushes, or pulls, that die at a request: ``python -m tests.support.killed_push`` forks one for each line of input.

A line is ``["STORE", "REMOTE", NUMBER, ARRIVES, EXPERIMENT]``: at its request of that number, from 1, the process ends
at once, when the remote got the request or before. It answers with the exit code: DIED, or 0 for one that came to its
end.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from mltrack.disk.filesystem import FileSystem, StrPath
from mltrack.store import Store
from mltrack_sync import Remotes, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.lake.kind import LakeKind
from mltrack_sync.remotes.kind import MLFLOW, find_kind
from mltrack_sync.stores.kind import StoreKind
from tests.support import ROOT
from tests.support.json_kind import JsonKind

DIED = 9


class Death:
    """Ends the process at a request."""

    def __init__(self, number: int, *, arrives: bool) -> None:
        self._left = number
        self._arrives = arrives

    def at(self, arrived: bool) -> None:
        """Come here before a request, and when it arrived."""
        self._left -= not arrived
        if self._left <= 0 and arrived == self._arrives:  # less: others are on their way at the same time
            os._exit(DIED)


class Network(httpx.HTTPTransport):
    """The network, on which a process dies."""

    def __init__(self, death: Death) -> None:
        super().__init__(trust_env=False)
        self._death = death

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._death.at(False)
        response = super().handle_request(request)
        assert isinstance(response.stream, httpx.SyncByteStream)
        content = b"".join(response.stream)  # as it came: who reads the answer unpacks it
        response.stream.close()
        self._death.at(True)
        stream = httpx.ByteStream(content)
        return httpx.Response(response.status_code, headers=response.headers, stream=stream)


class Disk(FileSystem):
    """The disk of a store elsewhere, on which a process dies at a write, a sync or a change of a name."""

    def __init__(self, death: Death) -> None:
        self._death = death

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        self._death.at(False)
        yield
        self._death.at(True)

    def create(self, path: str | os.PathLike[str]) -> int:
        with self._step():
            return super().create(path)

    def write(self, fd: int, data: bytes) -> int:
        with self._step():
            return super().write(fd, data)

    def write_at(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        with self._step():
            return super().write_at(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        with self._step():
            super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        with self._step():
            super().sync(fd)

    def rename(self, source: StrPath, target: StrPath) -> None:
        with self._step():
            super().rename(source, target)

    def unlink(self, path: Path) -> None:
        with self._step():
            super().unlink(path)

    def make_folder(self, path: Path) -> list[Path]:
        with self._step():
            return super().make_folder(path)


class KilledPushes:
    """Starts such pushes one after the other. Close it when done."""

    def __init__(self) -> None:
        self._forker = subprocess.Popen(
            [sys.executable, "-m", "tests.support.killed_push"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def push(self, store: Store, remote: str, number: int, *, arrives: bool, pulled: str = "") -> bool:
        """Whether it died at a request, and did not come to its end; a pull of the experiment ``pulled`` if given."""
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write(json.dumps([str(store.path), remote, number, arrives, pulled]) + "\n")
        self._forker.stdin.flush()
        code = int(self._forker.stdout.readline())
        assert code in (0, DIED)
        return code == DIED

    def close(self) -> None:
        """No more of them."""
        self._forker.communicate()


def push_once(line: str) -> None:
    path, name, number, arrives, pulled = json.loads(line)
    store = Store.open(path)
    remote = Remotes(store).get(name)
    death = Death(number, arrives=arrives)
    kind = find_kind(remote.kind)
    if isinstance(kind, JsonKind):
        kind.on_request = death.at
    if isinstance(kind, StoreKind | LakeKind):
        kind.fs = Disk(death)
    network = Network(death) if remote.kind == MLFLOW else None
    if pulled:
        pull(store, remote, jobs=2, selection=Selection(experiments=(pulled,)), http=network)
    else:
        push(store, remote, jobs=1, http=network)


def fork_for_each_line() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            push_once(line)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    fork_for_each_line()

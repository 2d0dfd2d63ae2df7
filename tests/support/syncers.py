"""Syncers in processes of their own, to be killed.

``python -m tests.support.syncers`` forks one for each line of its input. A line is
``["STORE", "REMOTE", RETRY_REJECTED]``. It answers with the process id, and once that process has
ended with its status; the id stays taken until the next line comes. Forked, a syncer begins at once, with everything
imported.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading

from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from tests.support import ROOT

LOADED = (
    "numpy",
    "httpx",
    "pyarrow",
    "tenacity",
    "mltrack.catalog.search",
    "mltrack_sync.mlflow.files.upload",
    "mltrack_sync.mlflow.kind",
    "mltrack_sync.mlflow.provider",
    "mltrack_sync.mlflow.push.push",
)
"""What a push imports sooner or later."""


class Syncers:
    """Starts syncers one after the other. Close it when done."""

    def __init__(self) -> None:
        self._forker = subprocess.Popen(
            [sys.executable, "-m", "tests.support.syncers"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._watching = threading.Thread()
        self._pid = 0
        self._status = 0
        self.ended = threading.Event()

    def start(self, store: Store, remote: Remote, *, retry_rejected: bool = False) -> None:
        """One that pushes once. The one before is to have been killed."""
        assert self._forker.stdin is not None
        self._forker.stdin.write(json.dumps([str(store.path), remote.name, retry_rejected]) + "\n")
        self._forker.stdin.flush()
        self._pid = self._heard()
        self.ended.clear()
        self._watching = threading.Thread(target=self._watch)
        self._watching.start()

    def kill(self) -> bool:
        """Return when it is gone; whether it was killed and had not ended before."""
        os.kill(self._pid, signal.SIGKILL)  # one that ended is kept as a zombie, so that nobody else has its id
        self._watching.join()
        assert self._status in (0, signal.SIGKILL)
        return self._status != 0

    def close(self) -> None:
        """No more of them."""
        self._forker.communicate()

    def _watch(self) -> None:
        self._status = self._heard()
        self.ended.set()

    def _heard(self) -> int:
        assert self._forker.stdout is not None
        return int(self._forker.stdout.readline())


def push_once(line: str) -> None:
    path, name, retry_rejected = json.loads(line)
    store = Store.open(path)
    push(store, Remotes(store).get(name), jobs=2, retry_rejected=retry_rejected)
    os._exit(0)


def fork_for_each_line() -> None:
    pid = 0
    for line in sys.stdin:
        if pid:
            os.waitpid(pid, 0)
        pid = os.fork()
        if not pid:
            push_once(line)  # an error ends this process with 1
        print(pid, flush=True)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        print(ended.si_status if ended is not None else 1, flush=True)


if __name__ == "__main__":
    for module in LOADED:
        importlib.import_module(module)
    fork_for_each_line()

"""Starts the process that watches a run for this one, and starts it again if it is killed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from mltrack.guards.rules import to_record
from mltrack.process.trouble import TROUBLE, say, words_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mltrack.guards.rules import Guard

__all__ = ["GuardProcess"]

PAUSE_S = 0.1
PAUSE_MAX_S = 30.0
FAILURES_MAX = 5
"""How often a process may fail soon after its start, other than by a signal, before it is given up."""

LIVED_S = 60.0
"""A process that lived this long is started again at once; others after a pause that doubles."""


class GuardProcess:
    """Another process that watches a run: it costs this one nothing. It ends by itself when the run is over.

    A thread waits for it, in the system; if it is killed, the thread starts it again. An attachment of a run.
    """

    def __init__(self, store: Callable[[], Path], run_id: str, guards: Sequence[Guard]) -> None:
        """Start it. ``store`` gives the store's folder, which may be moved while the run goes on.

        Raises:
            OSError, RuntimeError: no process or thread can be started.
        """
        self._store = store
        self._rules = json.dumps([to_record(guard) for guard in guards]).encode()
        self._run_id = run_id
        self._owner = os.getpid()
        self._stopped = threading.Event()
        self._process = self._start()
        threading.Thread(target=self._supervise, name="mltrack-guards", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process that watches now."""
        return self._process.pid

    def stop(self) -> None:
        """The run ends: don't start it again. It sees the end by itself."""
        if os.getpid() == self._owner:
            self._stopped.set()

    def _start(self) -> subprocess.Popen[bytes]:
        import subprocess

        if not sys.executable:
            raise FileNotFoundError(errno.ENOENT, "this interpreter does not know its executable")
        settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mltrack.guards", str(self._store()), self._run_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **settings},
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:  # it has ended already, which is noticed
            process.stdin.write(self._rules)
        return process

    def _supervise(self, clock: Callable[[], float] = time.monotonic) -> None:
        pause_s, failures = PAUSE_S, 0
        while True:
            began = clock()
            code = self._process.wait()
            if code == 0:
                return
            lived = clock() - began > LIVED_S
            pause_s = PAUSE_S if lived else min(pause_s * 2, PAUSE_MAX_S)
            failures = 0 if lived or code < 0 else failures + 1
            if failures > FAILURES_MAX:
                say("run %s: its guards can't be watched: try mltrack watch %s", self._run_id, self._run_id)
                return
            if self._stopped.wait(pause_s):
                return
            try:
                self._process = self._start()
            except TROUBLE as error:
                say("run %s: its guards can't be watched: %s", self._run_id, words_of(error))
                return

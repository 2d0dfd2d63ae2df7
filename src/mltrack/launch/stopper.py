"""Ends a launched program when its run is asked to stop: by a guard, or by `mltrack stop`."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from mltrack.environment import STOPPED_TAG
from mltrack.process.trouble import TROUBLE
from mltrack.storage.runs.stop_file import is_stop_requested, stop_reason

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    import psutil

    from mltrack.recording.run import Run

__all__ = ["GRACE_S", "Stopper"]

POLL_S = 0.2
GRACE_S = 30.0
"""How long a program has to end after SIGTERM, before it is killed."""


class Stopper:
    """A thread that looks for the request while the program runs."""

    def __init__(self, run: Run, on_stop: Callable[[str], None], grace_s: float = GRACE_S) -> None:
        """``on_stop`` is called with the reason before the program gets SIGTERM; after ``grace_s`` it is killed."""
        self._run = run
        self._on_stop = on_stop
        self._grace_s = grace_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, child: subprocess.Popen[bytes]) -> None:
        """Begin."""
        thread = threading.Thread(target=self._work, args=(child,), name="mltrack-stopper", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # no thread can be started: the program runs anyway
            return
        self._thread = thread

    def stop(self) -> None:
        """The program has ended."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self, child: subprocess.Popen[bytes]) -> None:
        while not is_stop_requested(self._run.folder):
            if self._ended.wait(POLL_S):
                return
        reason = "it was asked to stop"
        with contextlib.suppress(*TROUBLE):
            reason = stop_reason(self._run.folder)
        self._run.set_tag(STOPPED_TAG, reason)
        self._on_stop(reason)
        others = _descendants(child.pid)
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
            _each(others, "terminate")  # a shell that is ended does not end its commands
            until = time.monotonic() + self._grace_s
            if not self._ended.wait(self._grace_s):
                child.kill()
            while any(map(_lives, others)) and time.monotonic() < until:
                time.sleep(POLL_S)
            _each(others, "kill")


def _lives(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _each(processes: Sequence[psutil.Process], call: str) -> None:
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error):
            getattr(process, call)()


def _descendants(pid: int) -> list[psutil.Process]:
    """The processes that a program has started, and these, without those that have a session of their own."""
    import psutil

    try:
        session = os.getsid(pid)
        found = psutil.Process(pid).children(recursive=True)
    except (OSError, psutil.Error):
        return []
    return [process for process in found if _session_of(process.pid) == session]


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1

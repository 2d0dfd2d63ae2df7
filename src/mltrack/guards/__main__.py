"""The process that watches one run for the process that records it: ``python -m mltrack.guards STORE RUN``.

It gets its rules as JSON on standard input, lives until no process has the run open, and needs nobody's care.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from mltrack.errors import MltrackError
from mltrack.guards.rules import from_record
from mltrack.guards.store_watch import ask
from mltrack.guards.watcher import RunWatch, watch_run
from mltrack.process.trouble import say
from mltrack.store import Store

__all__ = ["main"]

NICENESS = 5


def main(arguments: list[str]) -> int:
    """Watch a run to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)  # the training goes first
    guards = [from_record(record) for record in json.load(sys.stdin)]
    try:
        store = Store.open(Path(arguments[0]))
        watch = RunWatch(store.layout, arguments[1], guards, query=lambda sql, run_id: ask(store, sql, run_id))
        watch_run(watch)
    except (MltrackError, OSError) as error:
        say("guards: %s", str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Who takes a program's output where its launcher was killed: a shell stands by, and then becomes this module.

Without it the program's next output would fail, as nobody would have its other end. The shell does nothing but wait for
the end of a pipe that the launcher holds; it costs next to nothing, and signals to the launcher don't reach it.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.layout import Layout
from mltrack.errors import BusyError
from mltrack.launch.capture import drain
from mltrack.launch.log_file import LIVE_FOLDER, OutputLog, open_log
from mltrack.launch.orphaned_output import publish_left_output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mltrack.recording.run import Run

__all__ = ["stand_by"]

WAIT = 'read -r _ || exec "$@"'
"""The launcher writes a line when it is done; it never did where the pipe just ends."""

LET_GO_S = 5.0
"""How long the log of a launcher that was killed may still be locked."""


def stand_by(run: Run, log: OutputLog, bytes_max: int, sources: Sequence[int]) -> Callable[[], None]:
    """Have output taken from the descriptors ``sources`` should this process be killed; call the result to end that.

    Where there is no shell to start, nobody stands by.
    """
    words = [sys.executable, "-m", __name__, run.store_folder, run.run_id, log.number, bytes_max, *sources]
    try:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", WAIT, "mltrack", *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=sources,
            start_new_session=True,
        )
    except OSError:
        return lambda: None

    def dismiss() -> None:
        with contextlib.suppress(OSError):
            shell.communicate(b"\n")

    return dismiss


def _take_over(layout: Layout, run_id: str, number: int, bytes_max: int, sources: Sequence[int]) -> None:
    """Keep what comes until the program has ended, and make it an artifact; where nothing comes, touch nothing."""
    if not _more_comes(sources):
        return
    folder = layout.run(run_id)
    live = folder.path / LIVE_FOLDER
    log: OutputLog | None = None
    give_up = time.monotonic() + LET_GO_S
    while log is None:
        try:
            log = OutputLog(live, bytes_max, number=number)
        except BusyError:
            if time.monotonic() > give_up:  # the run has been gone on with
                log = open_log(live, folder.artifacts, bytes_max)
            else:
                time.sleep(0.02)
    try:
        drain(sources, log)
    finally:
        log.close()
    publish_left_output(layout, run_id)


def _more_comes(sources: Sequence[int]) -> bool:
    """Wait for output; False where all have ended without any."""
    waiting = select.poll()
    for source in sources:
        waiting.register(source, select.POLLIN)
    ended: set[int] = set()
    while len(ended) < len(sources):
        for source, events in waiting.poll():
            if events & select.POLLIN:
                return True
            waiting.unregister(source)
            ended.add(source)
    return False


if __name__ == "__main__":
    store, run_id, number, bytes_max, *sources = sys.argv[1:]
    _take_over(Layout.open(Path(store)), run_id, int(number), int(bytes_max), list(map(int, sources)))

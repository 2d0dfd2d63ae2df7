"""Takes over a program's output if its launcher is killed: a standby shell then runs this module.

Without it the program's next output would fail with a broken pipe. The shell only waits for the end of a pipe that the
launcher holds; it costs next to nothing, and signals to the launcher don't reach it.
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
from mltrack.launch.orphaned_output import publish_orphaned_output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mltrack.recording.run import Run

__all__ = ["start_standby"]

WAIT = 'read -r _ || exec "$@"'
"""The launcher writes a line when it is done; if the pipe ends without one, it was killed."""

UNLOCK_WAIT_S = 5.0
"""How long the log of a launcher that was killed may still be locked."""


def start_standby(run: Run, log: OutputLog, bytes_max: int, sources: Sequence[int]) -> Callable[[], None]:
    """Have output taken from the descriptors ``sources`` if this process is killed; call the result to end that.

    Args:
        run: the program's run.
        log: the log that this process writes.
        bytes_max: the log's limit.
        sources: where the output comes from.
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
    """Log output until the program has ended, and make it an artifact; without any output, change nothing."""
    if not _wait_for_output(sources):
        return
    folder = layout.run(run_id)
    live = folder.path / LIVE_FOLDER
    log: OutputLog | None = None
    give_up = time.monotonic() + UNLOCK_WAIT_S
    while log is None:
        try:
            log = OutputLog(live, bytes_max, number=number)
        except BusyError:
            if time.monotonic() > give_up:  # the run was resumed, and its log is in use
                log = open_log(live, folder.artifacts, bytes_max)
            else:
                time.sleep(0.02)
    try:
        drain(sources, log)
    finally:
        log.close()
    publish_orphaned_output(layout, run_id)


def _wait_for_output(sources: Sequence[int]) -> bool:
    """Wait for output; False if all sources end without any."""
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

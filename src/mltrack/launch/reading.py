"""Reading what a launched program printed: the artifact of a run that is done, or what grows while it runs."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from mltrack.errors import NotFoundError
from mltrack.launch.output import LIVE_FOLDER, LOG_NAME, read_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mltrack.store.stored_run import StoredRun

__all__ = ["follow_output", "last_lines", "output_of"]

POLL_S = 0.2
READ_BYTES = 1 << 20


def output_of(run: StoredRun, start: int = 0) -> Iterator[bytes]:
    """A run's output from byte ``start`` on.

    Raises:
        NotFoundError: nothing was captured of it.
    """
    live = run.folder.path / LIVE_FOLDER
    if any(artifact.path == LOG_NAME for artifact in run.artifacts):
        with open(run.artifact_path(LOG_NAME), "rb") as file:
            file.seek(start)
            while chunk := file.read(READ_BYTES):
                yield chunk
                start = 0
        return
    if not live.is_dir():
        raise NotFoundError(
            f"run {run.run_id} has no captured output", hint="launch the program with: mltrack run -- ..."
        )
    yield from read_output(live, start)


def follow_output(
    run: StoredRun, *, lines: int | None = None, sleep: Callable[[float], None] = time.sleep
) -> Iterator[bytes]:
    """A run's output as it comes, until the run has ended; ``lines`` begins with so many of the last.

    Raises:
        NotFoundError: as output_of.
    """
    sent = 0
    first = True
    while True:
        ended = run.info.status != "RUNNING"
        pieces = list(output_of(run, sent))
        sent += sum(map(len, pieces))
        if first and lines is not None:
            pieces = [last_lines(pieces, lines)]
        first = False
        yield from pieces
        if ended:
            return
        sleep(POLL_S)
        run.refresh()


def last_lines(pieces: Iterable[bytes], count: int) -> bytes:
    """The last ``count`` lines."""
    kept: deque[bytes] = deque(maxlen=count)
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        kept.extend(line + b"\n" for line in whole)
    if rest:
        kept.append(rest)
    return b"".join(kept)

"""Reads the output of a launched program: from the artifact, or from the live log while it runs."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import reading
from mltrack.environment import COMMAND_TAG
from mltrack.errors import NotFoundError
from mltrack.launch.log_file import LIVE_FOLDER, log_name, read_output, unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["follow_output", "last_lines", "output_numbers", "output_of"]

POLL_S = 0.2
READ_BYTES = 1 << 20


def output_numbers(run: StoredRun) -> list[int]:
    """The numbers of a run's logs: 0, and others if several launches recorded into it at once."""
    names = {artifact.path for artifact in run.artifacts}
    numbers = set(unfinished(run.folder.path / LIVE_FOLDER))
    return sorted(numbers | {number for number in range(len(names)) if log_name(number) in names})


def output_of(run: StoredRun, start: int = 0, *, number: int = 0) -> Iterator[bytes]:
    """The output of one launch of a run, from byte ``start`` on.

    Raises:
        NotFoundError: no output was captured.
    """
    live = run.folder.path / LIVE_FOLDER
    if number in unfinished(live):  # it begins with what the artifact holds
        yield from read_output(live, start, number=number)
        return
    name = log_name(number)
    if any(artifact.path == name for artifact in run.artifacts):
        with reading(run.artifact_path(name)) as file:
            file.seek(start)
            while chunk := file.read(READ_BYTES):
                yield chunk
        return
    if number or COMMAND_TAG not in run.tags:
        raise NotFoundError(
            f"run {run.run_id} has no captured output", hint="launch the program with: mltrack run -- ..."
        )


def follow_output(
    run: StoredRun, *, number: int = 0, lines: int | None = None, sleep: Callable[[float], None] = time.sleep
) -> Iterator[bytes]:
    """A run's output as it is written, until the run has ended.

    Args:
        run: the run.
        number: which of its logs.
        lines: start with the last so many lines; None: with all.
        sleep: waits that many seconds.

    Raises:
        NotFoundError: as output_of.
    """
    sent = 0
    first = True
    while True:
        ended = run.info.status != "RUNNING"
        pieces = list(output_of(run, sent, number=number))
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

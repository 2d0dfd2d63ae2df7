"""Marks of vacuums that remove contents: what a push sends meanwhile is not lost between a look at a file's age and
its removal.

A vacuum leaves its mark before it looks at the first content, renews it while it removes, and notes in it when it has
ended. A push looks for marks after it has sent contents and before it commits the rows that name them: it waits for a
vacuum that goes on, and where there was one within a day, it sends again what is gone. So either the vacuum has looked
after the content was sent, and saw that it is new, or the push looks after the vacuum's last removal.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from mltrack_sync.errors import RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack_sync.lake.files import LakeFiles

__all__ = ["MARKS", "VacuumMark", "wait_for_vacuums"]

MARKS = "vacuums"
"""The folder of the marks."""

ACTIVE_S_MAX = 3600.0
"""A mark that was not renewed for so long is of a vacuum that was killed."""

RENEW_S = 300.0
LATE_S = 1800.0
"""A vacuum that finds that it has not renewed its mark for so long, as its machine slept, removes nothing more."""

RECENT_S = 86_400.0
WAIT_S = 60.0


class VacuumMark:
    """The mark of one vacuum, for a ``with`` statement around what it looks at and removes."""

    def __init__(self, files: LakeFiles, *, clock: Callable[[], float] = time.time) -> None:
        """Nothing is written before the statement begins; ``clock`` gives seconds since the epoch."""
        self._files = files
        self._clock = clock
        self._path = f"{MARKS}/{os.urandom(8).hex()}.json"
        self._renewed = 0.0

    def __enter__(self) -> VacuumMark:
        for path, made in self._files.modified(MARKS).items():
            if self._clock() - made > RECENT_S:
                self._files.remove(path)
        self._write(ended=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._write(ended=True)

    def keep(self) -> None:
        """Renew it where that is due; to be called before each removal.

        Raises:
            RemoteUnavailableError: it is too late, and pushes may not wait for this vacuum any more.
        """
        late = self._clock() - self._renewed
        if late > LATE_S:
            raise RemoteUnavailableError(
                "the vacuum was interrupted for too long, and has removed nothing more",
                hint="run it again: mltrack lake vacuum",
                in_doubt=False,
            )
        if late > RENEW_S:
            self._write(ended=False)

    def _write(self, *, ended: bool) -> None:
        self._renewed = self._clock()
        self._files.put_stream(self._path, [json.dumps({"ended": ended}).encode() + b"\n"])


def wait_for_vacuums(
    files: LakeFiles, *, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.time
) -> bool:
    """Wait until no vacuum removes contents; returns whether one did within the last day.

    Args:
        files: The lake's files.
        sleep: Waits.
        clock: Gives seconds since the epoch.

    Raises:
        RemoteError: a vacuum goes on, or the lake can't be read.
    """
    waited = 0.0
    while True:
        recent = {path: made for path, made in files.modified(MARKS).items() if clock() - made <= RECENT_S}
        if not any(clock() - made <= ACTIVE_S_MAX and not _has_ended(files, path) for path, made in recent.items()):
            return bool(recent)
        if waited >= WAIT_S:
            raise RemoteUnavailableError(
                "a vacuum removes files of the lake",
                hint="the next sync goes on; one that was killed is waited for no longer than an hour",
                in_doubt=False,
            )
        sleep(1.0)
        waited += 1.0


def _has_ended(files: LakeFiles, path: str) -> bool:
    data = files.read(path)
    try:
        return data is None or json.loads(data).get("ended") is True
    except (ValueError, AttributeError):
        return False

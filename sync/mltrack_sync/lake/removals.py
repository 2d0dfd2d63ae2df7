"""Marks of vacuums that remove contents: what a push sends meanwhile is not lost between a look at a file's age and
its removal.

A vacuum leaves its mark before it looks at the first content, renews it every quarter of a minute as long as it lives,
and notes in it when it has ended. A push reads the marks before it looks at the first content, and again before it
commits the rows that name contents: it waits for a vacuum that goes on, and if one went on in between, it sends again
what is gone. So either the vacuum has looked after the content was sent, and saw that it is new, or the push looks
after the vacuum's last removal.

A mark that was not renewed for two minutes is of a vacuum that was killed. Whoever finds it notes that in it, and goes
on; a vacuum that only slept removes nothing more. Clocks of machines differ, so the age of a mark is counted by the
storage's own times: that of the mark, and that of a file which was just written.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack.errors import RemoteError
from mltrack_sync.errors import RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack_sync.lake.files import LakeFiles

__all__ = ["LEASE_S", "MARKS", "VacuumMark", "VacuumWatch"]

MARKS = "vacuums"
"""The folder of the marks."""

LEASE_S = 120.0
"""A mark that was not renewed for so long is of a vacuum that was killed."""

LEASE_S_MAX = 3600.0
"""That of a mark that says no shorter one, as marks of earlier versions, which were renewed every five minutes."""

RENEW_S = 15.0
LATE_S = 45.0
"""A vacuum that has not renewed its mark for so long removes nothing more; the rest of the lease is for the request
that is on its way."""

WAIT_S = LEASE_S + 30.0
"""So long a push waits: until a vacuum that was just killed is known to be."""

POLL_S = 2.0
KEPT_S = 86_400.0
"""Marks of vacuums that ended so long ago are removed by the next one."""

_MARK = ".json"


def _awake() -> float:
    """Seconds, those in which the machine slept too."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class VacuumMark:
    """The mark of one vacuum, for a ``with`` statement around what it looks at and removes."""

    def __init__(self, files: LakeFiles, *, clock: Callable[[], float] = _awake) -> None:
        """Nothing is written before the statement begins; ``clock`` gives seconds, also those of a machine's sleep."""
        self._files = files
        self._clock = clock
        self._path = f"{MARKS}/{os.urandom(8).hex()}{_MARK}"
        self._renewed = 0.0
        self._beats = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="mltrack-vacuum-mark", daemon=True)

    def __enter__(self) -> VacuumMark:
        self._write(ended=False)
        marks = _read_marks(self._files)
        now = next((mark.made for mark in marks if mark.path == self._path), 0.0)
        for mark in marks:
            if now - mark.made > KEPT_S:
                self._files.remove(mark.path)
            elif mark.is_of_killed(now):
                _note_killed(self._files, mark)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._write(ended=True)

    def remove(self, path: str) -> None:
        """Remove a content, while pushes wait for this vacuum.

        Raises:
            RemoteUnavailableError: they may not wait any more, as the mark was not renewed for too long.
            RemoteError: it can't be removed.
        """
        if self._is_late():
            raise RemoteUnavailableError(
                "the vacuum was interrupted for too long, and has removed nothing more",
                hint="run it again: mltrack lake vacuum LAKE",
                in_doubt=False,
            )
        self._files.remove(path)
        if self._is_late():
            raise RemoteUnavailableError(
                f"the vacuum was interrupted for too long while it removed {path}",
                hint="where a push has sent it again meanwhile, mltrack verify LAKE says that it is missing, and after"
                " mltrack remote add NEW-NAME URL a sync with that name sends it. Then run the vacuum again",
                in_doubt=False,
            )

    def _is_late(self) -> bool:
        return self._clock() - self._renewed > LATE_S

    def _renew(self) -> None:
        while not self._done.wait(RENEW_S) and not self._is_late():
            with contextlib.suppress(RemoteError):  # where that goes on, the vacuum removes nothing more
                self._write(ended=False)

    def _write(self, *, ended: bool) -> None:
        begun = self._clock()
        mark = {"ended": ended, "renewed": self._beats, "lease_s": LEASE_S}
        self._files.put_stream(self._path, [json.dumps(mark).encode() + b"\n"])
        self._beats += 1
        self._renewed = begun


class VacuumWatch:
    """What a push knows of vacuums. Many threads may use it."""

    def __init__(
        self,
        files: LakeFiles,
        *,
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read yet; ``stop`` ends the wait for a vacuum when it is set, ``clock`` gives seconds."""
        self._files = files
        self._stop = stop or threading.Event()
        self._clock = clock
        self._before: set[tuple[str, bytes]] | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Note the marks that there are, once; to be called before the first look at a content.

        Raises:
            RemoteError: the lake can't be read.
        """
        with self._lock:
            if self._before is None:
                self._before = {(mark.path, mark.data) for mark in _read_marks(self._files)}

    def wait(self) -> bool:
        """Wait until no vacuum removes contents; returns whether one may have done so since ``begin``.

        Raises:
            RemoteUnavailableError: a vacuum goes on, or ``stop`` was set meanwhile.
            RemoteError: the lake can't be read.
        """
        until = self._clock() + WAIT_S
        ahead: float | None = None  # of our clock, the storage's
        while True:
            marks = _read_marks(self._files)
            running = [mark for mark in marks if not mark.has_ended]
            if running and ahead is None:
                ahead = _time_of(self._files) - self._clock()
            now = self._clock() + (ahead or 0.0)
            if all(mark.is_of_killed(now) for mark in running):
                for mark in running:
                    _note_killed(self._files, mark)
                before = self._before or set()
                return bool(running) or any((mark.path, mark.data) not in before for mark in marks)
            if self._clock() >= until or self._stop.wait(POLL_S):
                raise RemoteUnavailableError(
                    "a vacuum of the lake goes on, and may remove files that this push has sent",
                    hint="sync again when it has ended; one that was killed is waited for no longer than two minutes",
                    in_doubt=False,
                )


@dataclass(frozen=True, slots=True)
class _Mark:
    """A mark as it was read: its path, its content, and the storage's time at which it was written (s)."""

    path: str
    data: bytes
    made: float

    def _field(self, name: str) -> Any:
        try:
            return json.loads(self.data).get(name)
        except (ValueError, AttributeError):
            return None

    @property
    def has_ended(self) -> bool:
        return self._field("ended") is True

    def is_of_killed(self, now: float) -> bool:
        """Whether its vacuum was killed; ``now`` is the storage's time."""
        lease_s = self._field("lease_s")
        longest = lease_s if type(lease_s) in (int, float) and 0 < lease_s < LEASE_S_MAX else LEASE_S_MAX
        return not self.has_ended and now - self.made > longest


def _read_marks(files: LakeFiles) -> list[_Mark]:
    found = ((path, files.read(path), made) for path, made in files.modified(MARKS).items() if path.endswith(_MARK))
    return [_Mark(path, data, made) for path, data, made in found if data is not None]


def _note_killed(files: LakeFiles, mark: _Mark) -> None:
    files.put_stream(mark.path, [json.dumps({"ended": True, "killed": True}).encode() + b"\n"])


def _time_of(files: LakeFiles) -> float:
    """The storage's time now."""
    path = f"{MARKS}/{os.urandom(8).hex()}.time"
    files.put_stream(path, [b"\n"])
    try:
        return files.modified(path).get(path, 0.0)
    finally:
        files.remove(path)

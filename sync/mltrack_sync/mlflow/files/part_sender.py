"""Parts of large files on their way to the object store: several at once, each tried again by itself."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from mltrack_sync.mlflow.files.content import read_checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor, Future
    from pathlib import Path

    from mltrack_sync.http.transport import Transport
    from mltrack_sync.ledger.uploads import Upload
    from mltrack_sync.mlflow.api.client import SignedPart
    from mltrack_sync.progress import FileMeter

__all__ = ["MissingParts", "PartRefused", "PartSender"]

PARTS_AT_ONCE = 4
PART_ATTEMPTS_MAX = 4
"""A part can't be looked for: its URL is for putting it, and putting it twice is as once."""


class PartRefused(Exception):
    """The object store does not take a part at its signed URL."""


class MissingParts:
    """The parts of one upload that are still to be sent, and what is needed to send them."""

    def __init__(
        self,
        upload: Upload,
        signed: Mapping[int, SignedPart],
        path: Path,
        digests: Sequence[bytes],
        meter: FileMeter,
        acknowledge: Callable[[int, str], None],
    ) -> None:
        """Take what is needed; nothing is read yet.

        Args:
            upload: The upload, with the parts that are there.
            signed: Where each part goes.
            path: The file.
            digests: The SHA-256 of each part.
            meter: Shows how far the file is.
            acknowledge: Called with the number and the ETag of each part that is there.
        """
        self.upload = upload
        self.signed = signed
        self.todo = deque(upload.missing())
        self.meter = meter
        self.acknowledge = acknowledge
        self._path = path
        self._digests = digests

    def content(self, number: int) -> Iterator[bytes]:
        """The bytes of a part, the last of them only if all are what was checked."""
        start = (number - 1) * self.upload.part_bytes
        part = read_checked(self._path, start, self.upload.bytes_of(number), self._digests[number - 1])
        return self.meter.attempt(number, part)


class PartSender:
    """Sends the parts of all files of one sync cycle. Safe to use from many threads."""

    def __init__(self, transport: Transport, pool: Executor, check: Callable[[], None]) -> None:
        """``pool`` has the threads that help; ``check`` raises PushStopped when the cycle is to stop."""
        self._transport = transport
        self._pool = pool
        self._check = check
        self._reached = False  # whether any part got through: only then is waiting for the object store worth it

    def send(self, parts: MissingParts) -> None:
        """All of them, with the help of idle threads; none waits for a helper that has not begun.

        Raises:
            PartRefused: the object store does not take one.
            NotReached: it can't be reached, and never was in this cycle.
            FileChanged, RemoteUnavailableError, LedgerError, PushStopped, OSError: as of FileUpload.
        """
        parts.meter.skip(sum(parts.upload.bytes_of(number) for number in parts.upload.parts))
        if not self._reached:
            self._send_next(parts, at_once=True)
        helpers: list[Future[None]] = []
        with suppress(RuntimeError):  # the cycle is ending, the pool takes nothing more
            for _ in range(min(PARTS_AT_ONCE - 1, len(parts.todo) - 1)):
                helpers.append(self._pool.submit(self._send_rest, parts))
        try:
            self._send_rest(parts)
        finally:
            begun = [helper for helper in helpers if not helper.cancel()]
            errors = [error for error in [helper.exception() for helper in begun] if error is not None]
        if errors:
            raise errors[0]

    def _send_rest(self, parts: MissingParts) -> None:
        try:
            while self._send_next(parts):
                pass
        except BaseException:
            parts.todo.clear()
            raise

    def _send_next(self, parts: MissingParts, *, at_once: bool = False) -> bool:
        """Send a part, if one is left. A part that is on its way when another fails comes to its end."""
        self._check()
        try:
            number = parts.todo.popleft()
        except IndexError:
            return False
        signed = parts.signed[number]
        answer = self._transport.send_signed(
            "PUT",
            signed.url,
            signed.headers,
            lambda: parts.content(number),
            parts.upload.bytes_of(number),
            at_once=at_once,
            attempts_max=PART_ATTEMPTS_MAX,
        )
        if answer.status_code not in (200, 201):
            raise PartRefused(answer.status_code)
        self._reached = True
        parts.acknowledge(number, answer.headers.get("ETag", ""))
        return True

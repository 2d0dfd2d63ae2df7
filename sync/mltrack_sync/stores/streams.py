"""One request over a connection, and what is sent in both directions for it, each within its window."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from mltrack_sync.http.under_way import UNDER_WAY, RequestsUnderWay
from mltrack_sync.stores.frames import DATA_BYTES_MAX, HEAD_BYTES_MAX, Frame, FrameKind, encode_frame
from mltrack_sync.stores.transfer import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack_sync.stores.frames import ConnectionLostError

__all__ = ["WINDOW_BYTES", "Cancelled", "Stream"]

WINDOW_BYTES = 4 << 20
"""How much of one stream may be under way or wait to be taken."""

MOVING_S = 10.0
"""A message of a stream that has begun may take so long without a word: over a slow line its bytes do."""

_FRAME_BYTES_MAX = HEAD_BYTES_MAX + DATA_BYTES_MAX
_GATHERED_BYTES = 256 << 10
_GATHERED_PARTS = 256


class Connection(Protocol):
    """What a stream is one of many on."""

    fault: ConnectionLostError | TransferError | None

    def check(self) -> None:
        """Check that it is open."""

    def write(self, parts: list[bytes]) -> None:
        """Write whole frames."""

    def ended(self, stream: Stream) -> None:
        """One side of a stream has ended."""


class Cancelled(Exception):
    """The other side does not want the rest of what is being sent; never leaves the package."""


class Stream:
    """One request and what is sent in both directions for it. One thread sends, one receives; they may be the same."""

    def __init__(
        self, connection: Connection, number: int, *, waits_for: str = "", under_way: RequestsUnderWay = UNDER_WAY
    ) -> None:
        """A stream of a connection.

        Args:
            connection: The connection.
            number: Its number there.
            waits_for: What is waited for while nothing comes, in words that follow "waiting for"; "" says nothing.
            under_way: Is given these words.
        """
        self.number = number
        self._waits_for = waits_for
        self._under_way = under_way
        self._has_begun = False
        self._connection = connection
        self._ready = threading.Condition()
        self._queue: deque[Frame] = deque()
        self._queued = 0
        self._taken = 0
        self._credit = WINDOW_BYTES
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._cancelled = False
        self._finished = False
        self.send_ended = False
        self.receive_ended = False

    # --- sending ---

    def send(self, head: dict[str, Any], data: bytes = b"") -> None:
        """Send one message, when the other side has room for it.

        Raises:
            ConnectionLostError: the connection is gone.
            TransferError: the message is too large.
            Cancelled: the other side does not want it.
        """
        parts = encode_frame(FrameKind.DATA, self.number, head, data)
        size = sum(map(len, parts))
        self._await_credit()
        self._gathered += parts
        self._gathered_bytes += size
        with self._ready:
            self._credit -= size
        if self._gathered_bytes >= _GATHERED_BYTES or len(self._gathered) >= _GATHERED_PARTS:
            self.flush()

    def _await_credit(self) -> None:
        if self._credit <= 0:
            self.flush()
            with self._ready:
                self._wait(lambda: self._credit > 0 or self._cancelled, moving=True)
            self._connection.check()
        if self._cancelled:
            raise Cancelled

    def flush(self) -> None:
        """Hand over what small messages were gathered.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        if self._gathered:
            parts, self._gathered, self._gathered_bytes = self._gathered, [], 0
            self._connection.write(parts)

    def end(self, head: dict[str, Any] | None = None) -> None:
        """Send the last message of this side.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        self._last(FrameKind.END, head or {})

    def fail(self, head: dict[str, Any]) -> None:
        """Say what went wrong, as the last message of this side.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        self._last(FrameKind.ERROR, head)

    def _last(self, kind: FrameKind, head: dict[str, Any]) -> None:
        if not self.send_ended:
            self.send_ended = True
            self._gathered += encode_frame(kind, self.number, head)
            self.flush()
            self._connection.ended(self)

    def cancel(self) -> None:
        """Ask for no more messages, and forget those that were under way.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        if not self.receive_ended:
            self.flush()
            self._connection.write(encode_frame(FrameKind.CANCEL, self.number, {}))
        self.finish()

    # --- receiving ---

    def receive(self) -> Frame:
        """The next message, or the last one: its kind is DATA, END or ERROR.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        self.flush()
        with self._ready:
            self._wait(lambda: bool(self._queue) or self.receive_ended, moving=self._has_begun)
            self._has_begun = True
            if not self._queue:
                self._connection.check()
                raise TransferError("nothing more comes in this stream")
            frame = self._queue.popleft()
            self._finished = frame.kind is not FrameKind.DATA
            self._queued -= frame.size
            self._taken += frame.size
            credit = self._taken if self._taken >= WINDOW_BYTES // 4 and not self.receive_ended else 0
            self._taken -= credit
        if credit:
            self._connection.write(encode_frame(FrameKind.CREDIT, self.number, {"bytes": credit}))
        return frame

    def _wait(self, ready: Callable[[], bool], *, moving: bool) -> None:
        """Wait until something is so, or the connection is gone. ``moving``: bytes of this stream may be under way."""

        def is_over() -> bool:
            return ready() or self._connection.fault is not None

        if is_over() or (moving and self._ready.wait_for(is_over, MOVING_S)):
            return
        with self._under_way.waiting(self._waits_for):
            self._ready.wait_for(is_over)

    def receive_data(self) -> Frame:
        """The next message, which must not be the last one.

        Raises:
            ConnectionLostError: the connection is gone.
            TransferError: it is the last one.
        """
        frame = self.receive()
        if frame.kind is not FrameKind.DATA:
            raise TransferError("the other side ended where more was to come")
        return frame

    def finish(self) -> None:
        """Take and forget what still comes, until the other side has ended too.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        if not self._finished:
            self.drain()

    def peek(self) -> FrameKind | None:
        """The kind of the next message, where one has come already."""
        with self._ready:
            return self._queue[0].kind if self._queue else None

    def drain(self) -> Frame:
        """Take and forget all messages but the last one, which is returned.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        while (frame := self.receive()).kind is FrameKind.DATA:
            pass
        return frame

    def deliver(self, frame: Frame) -> None:
        """Take a frame from the thread that reads.

        Raises:
            TransferError: the other side sends what it must not.
        """
        with self._ready:
            if frame.kind is FrameKind.CANCEL:
                self._cancelled = True
            elif frame.kind is FrameKind.CREDIT:
                self._credit += _credit_of(frame)
                if self._credit > WINDOW_BYTES + _FRAME_BYTES_MAX:
                    raise TransferError("the other side allows more than it may")
            elif self.receive_ended or self._queued > WINDOW_BYTES + _FRAME_BYTES_MAX:
                raise TransferError("the other side sends more than it may")
            else:
                self.receive_ended = frame.kind in (FrameKind.END, FrameKind.ERROR)
                self._queue.append(frame)
                self._queued += frame.size
            self._ready.notify_all()

    def wake(self) -> None:
        """Let whoever waits look at the connection's fault."""
        with self._ready:
            self._ready.notify_all()


def _credit_of(frame: Frame) -> int:
    count = frame.head.get("bytes")
    if type(count) is not int or not 0 < count <= WINDOW_BYTES + _FRAME_BYTES_MAX:
        raise TransferError("the other side allows what is not a number of bytes")
    return count

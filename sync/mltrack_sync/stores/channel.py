"""Many streams of messages over one pair of byte streams, each with its own window, so that none waits for another.

One thread reads all frames and only sorts them: it never waits for whoever takes them, because a sender sends no more
than its receiver has allowed (``WINDOW_BYTES``, and a credit for what was taken since). So memory is bounded, both
sides always read, and two sides that write at the same time don't block each other.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from typing import TYPE_CHECKING, Any

from mltrack_sync.stores.frames import (
    ConnectionLostError,
    Frame,
    FrameKind,
    encode_frame,
    read_frame,
    write_all,
)
from mltrack_sync.stores.streams import Stream
from mltrack_sync.stores.transfer import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["PING_EVERY_S", "SILENCE_MAX_S", "STREAMS_MAX", "Channel"]

STREAMS_MAX = 16
"""How many streams may be open at a time."""

PING_EVERY_S = 15.0
WRITE_END_S = 5.0
"""How long a write may take to end before what it writes to is ended by force."""

SILENCE_MAX_S = 120.0
"""After so long without a frame, not even a ping, the other side counts as gone."""


_AWAITED = {
    "units": "to look through its store",
    "tokens": "to look through its store",
    "lacking": "to look through its store",
    "snapshots": "to read its files",
    "needs": "to compare its files",
    "pieces": "to send files",
    "runs": "to send files",
    "apply": "to write what was sent",
    "add": "to write what was sent",
}
"""What the answer to a request is waited for as."""


class Channel:
    """One connection after its hello. ``on_request`` gets the streams that the other side opens; a client has none.

    Args:
        reader: Where frames come from; it is read by a thread of the channel's own.
        write_fd: Where they go.
        on_request: Is called by the reading thread with each stream that the other side opens, and its first frame.
        close_write: Closes what is written to; no write is under way then, and none follows.
        on_end: Is called when the connection has ended, for whatever reason; what still writes must fail then.
        where: What the other side is called where it is said what is waited for; "" says nothing.
    """

    def __init__(
        self,
        reader: BinaryIO,
        write_fd: int,
        *,
        on_request: Callable[[Stream, Frame], None] | None = None,
        close_write: Callable[[], None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
        where: str = "",
    ) -> None:
        self.fault: ConnectionLostError | TransferError | None = None
        """Why the connection is gone; None while it is not."""
        self._reader = reader
        self._fd = write_fd
        self._on_request = on_request
        self._close_write = close_write
        self._on_end = on_end
        self._where = where
        self._write_lock = threading.Lock()
        self._lock = threading.Lock()
        self._open_lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._opened = 0
        self._room = threading.BoundedSemaphore(STREAMS_MAX)
        self._ended_well = False
        self._heard_at = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="mltrack-channel", daemon=True)
        self._pinger = threading.Thread(target=self._ping, name="mltrack-channel-ping", daemon=True)

    @property
    def ended_well(self) -> bool:
        """Whether the other side left between two messages, with nothing open."""
        return self._ended_well

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()
        self._pinger.start()

    def wait(self) -> None:
        """Wait until the other side has ended the connection, or it is lost."""
        self._closed.wait()

    def close(self) -> None:
        """End all streams and the connection."""
        self.lose(ConnectionLostError("the connection was closed"))
        self._hang_up()

    def _hang_up(self) -> None:
        """Close what is written to, never under a write: its number could belong to another file by then."""
        idle = self._write_lock.acquire(timeout=WRITE_END_S)
        if idle:
            self._close_write()
            self._write_lock.release()
        self._on_end()
        if not idle and self._write_lock.acquire(timeout=WRITE_END_S):
            self._close_write()
            self._write_lock.release()

    def check(self) -> None:
        """Check that the connection is open.

        Raises:
            ConnectionLostError, TransferError: it is gone, and why.
        """
        if self.fault is not None:
            raise type(self.fault)(str(self.fault), hint=self.fault.hint) from self.fault

    def lose(self, fault: ConnectionLostError | TransferError) -> None:
        """Note why the connection is gone; the first reason stays. Whoever waits for it is woken."""
        with self._lock:
            if self.fault is None:
                self.fault = fault
            streams = list(self._streams.values())
        self._closed.set()
        for stream in streams:
            stream.wake()

    def open(self, head: dict[str, Any]) -> Stream:
        """A new stream with its request, as soon as fewer than STREAMS_MAX are open.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        while not self._room.acquire(timeout=1.0):
            self.check()
        with self._open_lock:  # requests go in the order of their numbers
            with self._lock:
                self._opened += 1
                words = f"{self._where} {_AWAITED.get(str(head.get('op')), 'to answer')}" if self._where else ""
                stream = self._streams[self._opened] = Stream(self, self._opened, waits_for=words)
            self._request(stream, head)
        return stream

    def _request(self, stream: Stream, head: dict[str, Any]) -> None:
        try:
            self.write(encode_frame(FrameKind.REQUEST, stream.number, head))
        except (ConnectionLostError, TransferError):
            stream.send_ended = stream.receive_ended = True
            self.ended(stream)
            raise

    def ended(self, stream: Stream) -> None:
        """Forget a stream whose both sides have ended."""
        with self._lock:
            if not (stream.send_ended and stream.receive_ended) or self._streams.pop(stream.number, None) is None:
                return
        if self._on_request is None:
            self._room.release()

    def write(self, parts: list[bytes]) -> None:
        """Write whole frames.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        try:
            with self._write_lock:
                self.check()
                write_all(self._fd, parts)
        except (OSError, ValueError) as error:
            self.lose(ConnectionLostError("the connection ended"))
            raise ConnectionLostError("the connection ended") from error

    # --- the reading thread ---

    def _read(self) -> None:
        try:
            while (frame := read_frame(self._reader)) is not None:
                self._heard_at = time.monotonic()
                self._sort(frame)
            fault: ConnectionLostError | TransferError = ConnectionLostError("the other side ended the connection")
            self._ended_well = not self._streams
        except (ConnectionLostError, TransferError) as error:
            fault = error
        except (OSError, ValueError) as error:  # it was closed here
            fault = ConnectionLostError(f"the connection ended: {error}")
        self.lose(fault)
        self._hang_up()
        with contextlib.suppress(OSError):
            self._reader.close()

    def _sort(self, frame: Frame) -> None:
        if frame.kind is FrameKind.PING:
            return
        with self._lock:
            stream = self._streams.get(frame.stream)
        if frame.kind is FrameKind.REQUEST:
            self._accept(frame)
        elif frame.kind is FrameKind.HELLO or (stream is None and self._unheard_of(frame.stream)):
            raise TransferError("the other side speaks of what was not asked for")
        elif stream is not None:  # else the last credit of a stream that has ended
            stream.deliver(frame)
            self.ended(stream)

    def _unheard_of(self, number: int) -> bool:
        return not 0 < number <= self._opened

    def _accept(self, frame: Frame) -> None:
        if self._on_request is None or frame.stream != self._opened + 1:
            raise TransferError("the other side asks for something")
        with self._lock:
            if len(self._streams) >= 2 * STREAMS_MAX:  # some may have ended on the other side only
                raise TransferError("the other side asks for too much at a time")
            self._opened = frame.stream
            stream = self._streams[frame.stream] = Stream(self, frame.stream)
        self._on_request(stream, frame)

    def _ping(self) -> None:
        while not self._closed.wait(PING_EVERY_S):
            if time.monotonic() - self._heard_at > SILENCE_MAX_S:
                self.lose(ConnectionLostError(f"nothing came from the other side for {SILENCE_MAX_S:.0f} s"))
                self._hang_up()
                return
            # where others write, or the pipe is full, there is no need for one, and it must not wait
            if self._write_lock.acquire(blocking=False):
                try:
                    if self.fault is None and select.select([], [self._fd], [], 0)[1]:
                        write_all(self._fd, encode_frame(FrameKind.PING, 0, {}))
                except (OSError, ValueError):
                    self.lose(ConnectionLostError("the connection ended"))
                finally:
                    self._write_lock.release()

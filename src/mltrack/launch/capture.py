"""Running one program as a child: its output passed on and kept, its end told."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, NamedTuple

from mltrack.launch.ansi import LineFilter
from mltrack.launch.terminal import Channel, copy_size, open_channel, read_some

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mltrack.launch.log_file import OutputLog
    from mltrack.launch.signals import Signals

__all__ = ["Ending", "drain", "run_child"]

READ_BYTES = 1 << 18
"""How much is taken at once: what stays in the processor's cache until it is written."""

LINGER_S = 2.0
"""How long output is waited for after the child has ended, where something that it started holds its pipes open."""

TAIL_BYTES = 1 << 14
"""How much of the end of stderr is kept, for a traceback."""


class Ending(NamedTuple):
    """How the child ended: its exit code (negative for a signal), the signals passed on, the end of its stderr."""

    returncode: int
    received: tuple[int, ...]
    error_tail: bytes

    @property
    def exit_code(self) -> int:
        """What a shell would say: the code itself, or 128 and the signal's number."""
        return self.returncode if self.returncode >= 0 else 128 - self.returncode


class _Stream:
    """One of the child's two streams: where it goes on to, and what of it is kept."""

    def __init__(self, channel: Channel, onward: int | None, tail_bytes: int) -> None:
        self.fd = channel.outer
        self.tail = b""
        self._channel = channel
        self._onward = onward
        self._tail_bytes = tail_bytes
        self._filter = LineFilter()
        self._buffer = memoryview(bytearray(READ_BYTES))

    def take(self, log: OutputLog) -> bool:
        """Keep what there is and pass it on; False at the end. In this order: lines that were seen are in the log."""
        data = self._buffer[: read_some(self.fd, self._buffer)]
        if not data:
            return False
        log.write(self._filter.feed(bytes(data)))
        self._pass_on(data)
        if self._tail_bytes:
            self.tail = (self.tail + data[-self._tail_bytes :])[-self._tail_bytes :]
        return True

    def resize(self) -> None:
        """Have the child's terminal as large as ours."""
        if self._channel.is_terminal and self._onward is not None:
            copy_size(self._onward, self.fd)

    def close(self, log: OutputLog) -> None:
        log.write(self._filter.end())
        os.close(self.fd)

    def _pass_on(self, view: memoryview) -> None:
        while view and self._onward is not None:
            try:
                view = view[os.write(self._onward, view) :]
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:  # nobody reads it any more: the program goes on all the same
                self._onward = None


def run_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log: OutputLog,
    signals: Signals,
    cwd: Path | None = None,
    quiet: bool = False,
    on_start: Callable[[subprocess.Popen[bytes]], None] = lambda child: None,
    stand_by: Callable[[Sequence[int]], Callable[[], None]] = lambda sources: lambda: None,
) -> Ending:
    """Run ``command`` to its end in this, the main, thread.

    Its output goes to ours (``quiet``: nowhere) and into ``log``; its input is ours. Where ours is a terminal, it has
    one. ``signals`` passes on to it what we get. ``on_start`` is called once it runs. ``stand_by`` is given, before,
    what the output comes from, and what it returns is called when all is taken.

    Raises:
        OSError: it can't be started.
    """
    ways = [None if quiet else _descriptor(stream) for stream in (sys.stdout, sys.stderr)]
    channels = [open_channel(way) for way in ways]
    dismiss = stand_by([channel.outer for channel in channels])
    try:
        child = subprocess.Popen(
            list(command), env=dict(env), cwd=cwd, stdout=channels[0].inner, stderr=channels[1].inner
        )
    except OSError:
        dismiss()
        for channel in channels:
            os.close(channel.outer)
        raise
    finally:
        for channel in channels:
            os.close(channel.inner)
    out, err = _Stream(channels[0], ways[0], 0), _Stream(channels[1], ways[1], TAIL_BYTES)
    try:
        with child:
            signals.pass_on_to(child, on_resize=(out.resize, err.resize))
            on_start(child)
            _pump(child, [out, err], log)
            returncode = child.wait()
    finally:
        dismiss()
    return Ending(returncode, tuple(signals.received), err.tail)


def drain(sources: Sequence[int], log: OutputLog) -> None:
    """Take into ``log`` what comes from all these descriptors, until each has ended; closes them."""
    streams = [_Stream(Channel(source, -1, is_terminal=False), None, 0) for source in sources]
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.fd, selectors.EVENT_READ, stream)
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.take(log):
                    selector.unregister(key.fd)
                    key.data.close(log)


def _descriptor(stream: IO[str] | None) -> int | None:
    """Where to pass output on to; None where we have no such stream."""
    if stream is None:
        return None
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _pump(child: subprocess.Popen[bytes], streams: list[_Stream], log: OutputLog) -> None:
    """Take output until both streams end, or the child has ended and they stay open too long."""
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.fd, selectors.EVENT_READ, stream)
        watch = _watch(child, selector)
        give_up: float | None = None
        try:
            while any(isinstance(key.data, _Stream) for key in selector.get_map().values()):
                timeout = None if watch is not None and give_up is None else 0.1
                for key, _ in selector.select(timeout):
                    if not isinstance(key.data, _Stream):
                        selector.unregister(key.fd)
                        give_up = time.monotonic() + LINGER_S
                    elif not key.data.take(log):
                        selector.unregister(key.fd)
                if give_up is None and watch is None and child.poll() is not None:
                    give_up = time.monotonic() + LINGER_S
                if give_up is not None and time.monotonic() > give_up:
                    break
        finally:
            if watch is not None:
                os.close(watch)
            for stream in streams:
                stream.close(log)


def _watch(child: subprocess.Popen[bytes], selector: selectors.BaseSelector) -> int | None:
    """A descriptor that becomes readable when the child ends, where the system has such."""
    with contextlib.suppress(AttributeError, OSError):
        fd = os.pidfd_open(child.pid)
        selector.register(fd, selectors.EVENT_READ, None)
        return fd
    return None

"""Runs a program as a child: its output is forwarded and logged, and how it ended is returned."""

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

__all__ = ["TAIL_BYTES", "ChildExit", "drain", "run_child"]

READ_BYTES = 1 << 18
"""How much is read at once: it stays in the processor's cache until it is written."""

LINGER_S = 2.0
"""How long to wait for output after the child has ended, if a process that it started keeps its pipes open."""

POLL_S = 0.1
"""How often to look whether the child, or the time limit for its output, has ended, where no event says so."""

TAIL_BYTES = 1 << 14
"""How much of the end of stderr is kept, for a traceback."""


class ChildExit(NamedTuple):
    """How the child ended: its exit code (negative for a signal), the signals forwarded, the end of its stderr."""

    returncode: int
    received: tuple[int, ...]
    error_tail: bytes

    @property
    def exit_code(self) -> int:
        """The exit code as a shell has it: the code itself, or 128 plus the signal's number."""
        return self.returncode if self.returncode >= 0 else 128 - self.returncode


class _Stream:
    """One of the child's two output streams: where it is forwarded to, and what of it is kept."""

    def __init__(self, channel: Channel, target: int | None, tail_bytes: int) -> None:
        self.fd = channel.outer
        self.tail = b""
        self._channel = channel
        self._target = target
        self._tail_bytes = tail_bytes
        self._filter = LineFilter()
        self._buffer = memoryview(bytearray(READ_BYTES))

    def take(self, log: OutputLog) -> bool:
        """Log the available output, then forward it, so that lines on the screen are in the log; False at the end."""
        data = self._buffer[: read_some(self.fd, self._buffer)]
        if not data:
            return False
        log.write(self._filter.feed(bytes(data)))
        self._forward(data)
        if self._tail_bytes:
            self.tail = (self.tail + data[-self._tail_bytes :])[-self._tail_bytes :]
        return True

    def resize(self) -> None:
        """Give the child's terminal the size of ours."""
        if self._channel.is_terminal and self._target is not None:
            copy_size(self._target, self.fd)

    def close(self, log: OutputLog) -> None:
        log.write(self._filter.end())
        os.close(self.fd)

    def _forward(self, view: memoryview) -> None:
        while view and self._target is not None:
            try:
                view = view[os.write(self._target, view) :]
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:  # a broken pipe: the program continues anyway
                self._target = None


def run_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log: OutputLog,
    signals: Signals,
    cwd: Path | None = None,
    quiet: bool = False,
    on_start: Callable[[subprocess.Popen[bytes]], None] = lambda child: None,
    start_standby: Callable[[Sequence[int]], Callable[[], None]] = lambda sources: lambda: None,
) -> ChildExit:
    """Run ``command`` to its end, in the main thread. Its input is ours; it has a terminal if ours is one.

    Args:
        command: the program and its arguments.
        env: its environment.
        log: where its output is kept.
        signals: forwards the signals that this process gets.
        cwd: the folder it runs in; this process's when not given.
        quiet: don't copy its output to ours.
        on_start: called once it runs.
        start_standby: called before, with the descriptors its output comes from; what it returns is called at the end.

    Raises:
        OSError: it can't be started.
    """
    targets = [None if quiet else _descriptor(stream) for stream in (sys.stdout, sys.stderr)]
    channels = [open_channel(target) for target in targets]
    dismiss = start_standby([channel.outer for channel in channels])
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
    out, err = _Stream(channels[0], targets[0], 0), _Stream(channels[1], targets[1], TAIL_BYTES)
    try:
        with child:
            signals.forward_to(child, on_resize=(out.resize, err.resize))
            on_start(child)
            _pump(child, [out, err], log)
            returncode = child.wait()
    finally:
        dismiss()
    return ChildExit(returncode, tuple(signals.received), err.tail)


def drain(sources: Sequence[int], log: OutputLog) -> None:
    """Write to ``log`` what comes from these descriptors until each has ended; closes them."""
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
    """The descriptor to forward output to; None if the stream has none."""
    if stream is None:
        return None
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _pump(child: subprocess.Popen[bytes], streams: list[_Stream], log: OutputLog) -> None:
    """Take output until both streams end, or ``LINGER_S`` after the child has ended, if they stay open."""
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.fd, selectors.EVENT_READ, stream)
        exit_watch = _ExitWatch(child, selector)
        open_streams = len(streams)
        try:
            while open_streams and not exit_watch.is_over():
                for key, _ in selector.select(exit_watch.timeout_s):
                    if key.data is None:
                        exit_watch.child_ended()
                    elif not key.data.take(log):
                        selector.unregister(key.fd)
                        open_streams -= 1
        finally:
            exit_watch.close()
            for stream in streams:
                stream.close(log)


class _ExitWatch:
    """Notices when the child ends, by a descriptor if the system has one, else by polling; then a time limit runs."""

    def __init__(self, child: subprocess.Popen[bytes], selector: selectors.BaseSelector) -> None:
        self._child = child
        self._selector = selector
        self._fd: int | None = None
        self._deadline: float | None = None
        with contextlib.suppress(AttributeError, OSError):
            self._fd = os.pidfd_open(child.pid)
            selector.register(self._fd, selectors.EVENT_READ, None)

    @property
    def timeout_s(self) -> float | None:
        """How long to wait for output at a time; None: until something happens."""
        return None if self._fd is not None and self._deadline is None else POLL_S

    def child_ended(self) -> None:
        """Start the time limit; the descriptor is readable from now on, so it is not watched any longer."""
        self._deadline = time.monotonic() + LINGER_S
        if self._fd is not None:
            self._selector.unregister(self._fd)

    def is_over(self) -> bool:
        """Whether the time limit has passed."""
        if self._fd is None and self._deadline is None and self._child.poll() is not None:
            self.child_ended()
        return self._deadline is not None and time.monotonic() > self._deadline

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)

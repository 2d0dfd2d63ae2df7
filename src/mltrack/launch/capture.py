"""Running one program as a child: its output passed on and kept, signals forwarded, its end told."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, NamedTuple

from mltrack.launch.output import LineFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import FrameType
    from typing import Self

    from mltrack.launch.output import OutputLog

__all__ = ["Ending", "run_child"]

PIPE_BYTES = 1 << 20
"""The size asked for the child's pipes, so that it seldom waits for its output to be taken."""

LINGER_S = 2.0
"""How long output is waited for after the child has ended, where something that it started holds its pipes open."""

TAIL_BYTES = 1 << 14
"""How much of the end of stderr is kept, for a traceback."""

FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
FROM_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


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

    def __init__(self, pipe: IO[bytes], onward: int | None, tail_bytes: int) -> None:
        self.fd = pipe.fileno()
        self.tail = b""
        self._pipe = pipe
        self._onward = onward
        self._tail_bytes = tail_bytes
        self._filter = LineFilter()
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def take(self, log: OutputLog) -> bool:
        """Pass on what there is; False at the end."""
        data = os.read(self.fd, PIPE_BYTES)
        if not data:
            log.write(self._filter.end())
            return False
        self._pass_on(data)
        log.write(self._filter.feed(data))
        if self._tail_bytes:
            self.tail = (self.tail + data)[-self._tail_bytes :]
        return True

    def close(self, log: OutputLog) -> None:
        log.write(self._filter.end())
        self._pipe.close()

    def _pass_on(self, data: bytes) -> None:
        view = memoryview(data)
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
    cwd: Path | None = None,
    quiet: bool = False,
    on_start: Callable[[subprocess.Popen[bytes]], None] = lambda child: None,
) -> Ending:
    """Run ``command`` to its end in this, the main, thread.

    Its output goes to ours (``quiet``: nowhere) and into ``log``; its input is ours. Signals that we get are passed on
    to it, but Ctrl-C at a terminal, which reaches it anyway. ``on_start`` is called once it runs.

    Raises:
        OSError: it can't be started.
    """
    with (
        _Signals() as signals,
        subprocess.Popen(
            list(command), env=dict(env), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        ) as child,
    ):
        signals.pass_on_to(child)
        assert child.stdout is not None
        assert child.stderr is not None
        out = _Stream(child.stdout, None if quiet else _descriptor(sys.stdout), 0)
        err = _Stream(child.stderr, None if quiet else _descriptor(sys.stderr), TAIL_BYTES)
        on_start(child)
        _pump(child, [out, err], log)
        returncode = child.wait()
    return Ending(returncode, tuple(signals.received), err.tail)


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
    try:
        fd = os.pidfd_open(child.pid)
    except (AttributeError, OSError):
        return None
    selector.register(fd, selectors.EVENT_READ, None)
    return fd


class _Signals:
    """Passes the signals we get on to the child; those that came before it ran, once it does."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None
        self._at_terminal = os.isatty(0)
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._take) for number in FORWARDED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def pass_on_to(self, child: subprocess.Popen[bytes]) -> None:
        """From now on, to this one."""
        self._child = child
        for number in tuple(self.received):
            self._send(number)

    def _take(self, number: int, _: FrameType | None) -> None:
        self.received.append(number)
        self._send(number)

    def _send(self, number: int) -> None:
        if self._child is not None and not (self._at_terminal and number in FROM_THE_TERMINAL):
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

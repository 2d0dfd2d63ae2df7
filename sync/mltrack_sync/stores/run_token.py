"""A token of a run: it differs whenever a run that is not recorded any more may have changed, from a few stats."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from mltrack.disk.liveness import is_alive, is_locked

__all__ = ["RunState", "fd_is_live", "live_token", "run_state", "run_token", "writer_is_live"]

_FOLDERS = ("", "/points", "/segments", "/series", "/live")
_TAIL_BYTES = 192
_HEAD_BYTES = 1024
_CLOSE = b'"type":"close"'
_UNLOCKED = b'"locked":false'
_HOST = re.compile(rb'"host":"([^"\\]*)"')
_PID = re.compile(rb'"pid":(\d+)')
_TIME = re.compile(rb'"time":(\d+)')


class RunState(NamedTuple):
    """The token of a run, and the bytes of its events files."""

    token: str
    events_bytes: int


def run_token(folder: str) -> str:
    """The token of the run in a folder; "" where there is none."""
    return run_state(folder).token


def run_state(folder: str) -> RunState:
    """The token of the run in a folder, "" where there is none, and what was seen for it.

    It is made of the sizes and times of the events files and of the times of the folders: writers that have ended
    change nothing else. A run that is recorded now gets a live_token instead, which no other one equals.
    """
    seen: list[object] = []
    size = 0
    try:
        with os.scandir(f"{folder}/events") as entries:
            for entry in entries:
                if entry.name[0] != ".":
                    found = entry.stat(follow_symlinks=False)
                    seen.append((entry.name, found.st_size, found.st_mtime_ns, found.st_ino))
                    size += found.st_size
    except (FileNotFoundError, NotADirectoryError):
        return RunState("", 0)
    if len(seen) > 1:
        seen.sort(key=str)
    for name in _FOLDERS:
        try:
            seen.append(os.stat(folder + name, follow_symlinks=False).st_mtime_ns)
        except FileNotFoundError:
            seen.append(0)
    text = repr(seen).encode("utf-8", "surrogateescape")
    return RunState(f"{len(seen)}:{zlib.crc32(text):08x}{zlib.adler32(text):08x}", size)


def live_token(taken_at: int) -> str:
    """The token of a run that is recorded while the snapshot is taken: the next one differs."""
    return f"live:{taken_at:x}:{os.urandom(4).hex()}"


def writer_is_live(path: str | Path) -> bool:
    """Whether a process records into an events file now: it holds its lock, and has not written its last line."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return fd_is_live(fd, path)
    finally:
        os.close(fd)


def fd_is_live(fd: int, path: str | Path) -> bool:
    """The same of an open events file."""
    size = os.fstat(fd).st_size
    if _CLOSE in os.pread(fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).rstrip(b"\n").rpartition(b"\n")[2]:
        return False
    if is_locked(fd):
        return True
    head = os.pread(fd, _HEAD_BYTES, 0).partition(b"\n")[0]
    return _UNLOCKED in head and _pulses(path, head)


def _pulses(path: str | Path, head: bytes) -> bool:
    """Whether a writer without a lock lives."""
    host, pid, opened = _HOST.search(head), _PID.search(head), _TIME.search(head)
    if host is None or pid is None or opened is None:
        return False
    return is_alive(
        Path(path), locked=False, host=host[1].decode("utf-8", "replace"), pid=int(pid[1]), opened_ns=int(opened[1])
    )

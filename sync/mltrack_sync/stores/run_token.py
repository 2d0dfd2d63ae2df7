"""A token of a run: it differs whenever anything of the run's files may have changed, found without reading them."""

from __future__ import annotations

import os
import re
import time
import zlib
from typing import TYPE_CHECKING

from mltrack.disk.elsewhere import MARKER_SUFFIX
from mltrack.disk.liveness import is_alive, is_locked

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LIVE", "run_token", "writer_is_live"]

LIVE = "live"
"""Begins the token of a run that is being recorded: its points change without a trace in the file system."""

_TAIL_BYTES = 192
_HEAD_BYTES = 1024
_CLOSE = b'"type":"close"'
_UNLOCKED = b'"locked":false'
_HOST = re.compile(rb'"host":"([^"\\]*)"')
_PID = re.compile(rb'"pid":(\d+)')
_TIME = re.compile(rb'"time":(\d+)')


def run_token(folder: str) -> str:
    """The token of the run in a folder; "" where there is none.

    It is made of the names, sizes, times and numbers of the run's files, and changes for ever while it is recorded.
    """
    seen: list[str] = []
    for name in ("events", "points", "segments", "series", "live"):
        try:
            with os.scandir(f"{folder}/{name}") as entries:
                for entry in sorted(entries, key=_name):
                    if entry.name[0] == "." or (name == "live" and not entry.name.endswith(MARKER_SUFFIX)):
                        continue
                    found = entry.stat(follow_symlinks=False)
                    if name == "events" and writer_is_live(entry.path):
                        return f"{LIVE}:{time.time_ns():x}:{os.urandom(4).hex()}"
                    seen.append(f"{entry.name} {found.st_size} {found.st_mtime_ns} {found.st_ino}")
        except FileNotFoundError:
            if name == "events":
                return ""
        except NotADirectoryError:
            seen.append(name)
    text = "\n".join(seen).encode("utf-8", "surrogateescape")
    return f"{len(seen)}:{zlib.crc32(text):08x}{zlib.adler32(text):08x}"


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def writer_is_live(path: str | Path) -> bool:
    """Whether a process records into an events file now: it holds its lock, and has not written its last line."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        size = os.fstat(fd).st_size
        if _CLOSE in os.pread(fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).rstrip(b"\n").rpartition(b"\n")[2]:
            return False
        if is_locked(fd):
            return True
        head = os.pread(fd, _HEAD_BYTES, 0).partition(b"\n")[0]
        return _UNLOCKED in head and _pulses(path, head)
    finally:
        os.close(fd)


def _pulses(path: str | Path, head: bytes) -> bool:
    """Whether a writer without a lock lives."""
    from pathlib import Path

    host, pid, opened = _HOST.search(head), _PID.search(head), _TIME.search(head)
    if host is None or pid is None or opened is None:
        return False
    return is_alive(
        Path(path), locked=False, host=host[1].decode("utf-8", "replace"), pid=int(pid[1]), opened_ns=int(opened[1])
    )

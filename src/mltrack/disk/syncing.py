"""Syncing a whole file system at once: for many small files, of which each sync by itself waits for the disk.

Linux's ``syncfs`` waits for all that was written to a file system, and since 5.8 it reports what could not be written.
It is used where it is known to do so down to the disk: not on networks and in user space, where it may only reach the
other side's memory, nor on layers above other file systems.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from mltrack.disk.mounts import mount_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["sync_at_once", "syncs_at_once"]

_KINDS = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat", "tmpfs"))
_REPORTS_ERRORS = (5, 8)


def syncs_at_once(folder: Path) -> bool:
    """Whether sync_at_once can be relied on in a folder."""
    with contextlib.suppress(OSError):
        return _kernel_reports_errors() and mount_of(folder).kind in _KINDS
    return False


def _kernel_reports_errors() -> bool:
    if sys.platform != "linux":
        return False
    major, _, rest = os.uname().release.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return major.isdecimal() and minor.isdecimal() and (int(major), int(minor)) >= _REPORTS_ERRORS


def sync_at_once(folder: Path) -> None:
    """Return when all that was written to the file system of a folder is on the disk.

    Raises:
        OSError: something could not be written.
    """
    import ctypes

    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), os.fspath(folder))
    finally:
        os.close(fd)

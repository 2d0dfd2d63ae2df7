"""Where a store's folder is now: it may be renamed, or removed, while a process records into it.

Files that are open go wherever the folder goes; new ones are made by path, and at the old path they would make a
second, broken store. So the folder is held open, and the system is asked for its present path.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import weakref
from pathlib import Path

__all__ = ["Anchor"]

_DELETED = " (deleted)"  # what Linux adds to the path of a folder that is gone
_PATH_BYTES_MAX = 1024  # of fcntl's F_GETPATH


class Anchor:
    """A hold on a folder; processes and runs that record into one store share it."""

    def __init__(self, root: Path) -> None:
        """Hold the folder.

        Raises:
            OSError: it can't be opened.
        """
        self.root = root
        self._fd = os.open(root, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)
        status = os.fstat(self._fd)
        self._identity = (status.st_dev, status.st_ino)

    @classmethod
    def of(cls, root: Path) -> Anchor | None:
        """The hold on a folder, taken where there is none yet; None where it can't be had."""
        with _LOCK:
            held = _HELD.get(root)
            if held is None or held.where() != root:  # another folder has its place by now
                try:
                    held = _HELD[root] = cls(root)
                except OSError:
                    return None
            return held

    def where(self) -> Path | None:
        """The folder's path now; None where it is gone, or moved to another disk. A disk in trouble leaves it there."""
        try:
            status = os.stat(self.root)
            if (status.st_dev, status.st_ino) == self._identity:
                return self.root
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            return self.root
        present = self._present()
        if present is None:  # nobody knows
            return self.root if os.path.isdir(self.root) else None
        if present.endswith(_DELETED):
            return None
        if present == os.path.realpath(self.root):  # a file system that numbers its files anew
            return self.root
        return Path(present) if os.path.isdir(present) else None

    def _present(self) -> str | None:
        try:
            if sys.platform == "darwin":
                path = fcntl.fcntl(self._fd, fcntl.F_GETPATH, bytes(_PATH_BYTES_MAX))
                return os.fsdecode(path.rstrip(b"\0"))
            return os.readlink(f"/proc/self/fd/{self._fd}")
        except OSError:
            return None


_HELD: weakref.WeakValueDictionary[Path, Anchor] = weakref.WeakValueDictionary()
_LOCK = threading.Lock()


def _after_fork() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork)

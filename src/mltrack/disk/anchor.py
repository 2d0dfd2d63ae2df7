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

from mltrack.process.forks import Stage, after_fork_in_child

__all__ = ["Anchor"]

_DELETED = " (deleted)"  # what Linux adds to the path of a deleted folder
_PATH_BYTES_MAX = 1024  # of fcntl's F_GETPATH


class Anchor:
    """A folder held open; all that records into one store in a process shares it."""

    def __init__(self, root: Path) -> None:
        """Hold the folder open.

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
        """The anchor of a folder, opened if there is none yet; None if it can't be opened."""
        with _LOCK:
            held = _HELD.get(root)
            if held is None or held.current_path() != root:  # another folder has taken its path
                try:
                    held = _HELD[root] = cls(root)
                except OSError:
                    return None
            return held

    def current_path(self) -> Path | None:
        """The folder's path now; None if it was deleted or moved to another disk. A failing disk counts as unmoved."""
        try:
            status = os.stat(self.root)
            if (status.st_dev, status.st_ino) == self._identity:
                return self.root
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            return self.root
        present = self._present()
        if present is None:  # the system can't say
            return self.root if os.path.isdir(self.root) else None
        if present.endswith(_DELETED):
            return None
        if present == os.path.realpath(self.root):  # a file system that renumbers its files
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


after_fork_in_child(Stage.DISK, _after_fork)

"""Locks that keep two copies from writing the same unit: in ``copied/`` of the target, few, each for many units."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import FileSystem
from mltrack.disk.locks import file_lock
from mltrack.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["LOCKS_MAX", "UnitLocks"]

LOCK_TIMEOUT_S = 600.0
"""How long a copy waits for another one that writes the same unit."""

BATCH_LOCK_TIMEOUT_S = 0.5
"""So long a batch of runs waits for such a copy; the runs in question are then copied one by one."""

LOCKS_MAX = 16


class UnitLocks:
    """The locks of one store."""

    def __init__(self, root: Path, *, fs: FileSystem) -> None:
        self._root = root
        self._fs = fs

    @contextlib.contextmanager
    def alone(self, unit: str) -> Iterator[None]:
        """Keep other copies from a unit.

        Raises:
            BusyError: another one writes it, and goes on for long.
        """
        path = self._path(_number(unit))
        if not path.parent.is_dir():
            self._fs.require(self._root)
            self._fs.make_folder(path.parent)
        with file_lock(path, timeout_s=LOCK_TIMEOUT_S):
            yield

    @contextlib.contextmanager
    def free(self, units: Iterable[str]) -> Iterator[set[str]]:
        """Keep other copies from those of the units that none of them writes: these are given."""
        by_lock: dict[int, list[str]] = {}
        for unit in units:
            by_lock.setdefault(_number(unit), []).append(unit)
        free: set[str] = set()
        with contextlib.ExitStack() as locks:
            for number, found in sorted(by_lock.items()):
                with contextlib.suppress(BusyError):
                    locks.enter_context(file_lock(self._path(number), timeout_s=BATCH_LOCK_TIMEOUT_S))
                    free.update(found)
            yield free

    def _path(self, number: int) -> Path:
        return self._root / "copied" / f"{number}.lock"


def _number(unit: str) -> int:
    return zlib.crc32(unit.encode()) % LOCKS_MAX

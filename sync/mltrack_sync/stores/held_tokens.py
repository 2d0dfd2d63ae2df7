"""What a store remembers of the units that it holds whole as copies: ``copied/<store id>.jsonl``, a line each.

It only saves looking again: without it, the next copy compares every unit and finds that nothing is lacking.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.jsonlog import JsonLog, read_log
from mltrack.disk.sync_line_types import COPIED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["HeldTokens"]

LINES_SPARE_MAX = 20_000
"""A log with so many lines more than units is written again, shorter."""


class HeldTokens:
    """The tokens of units that came whole from one other store; many threads may use it."""

    def __init__(self, root: Path, origin: str, *, fs: FileSystem = LOCAL) -> None:
        """Read them.

        Args:
            root: The store that holds the copies.
            origin: The id of the store they came from.
            fs: The file system to write with.

        Raises:
            OSError: they can't be read.
        """
        self._path = root / "copied" / f"{origin}.jsonl"
        self._fs = fs
        self._lock = threading.Lock()
        lines = read_log(self._path, records=COPIED).lines
        self.by_unit: dict[str, str] = {}
        for line in lines:
            if line["token"]:
                self.by_unit[line["unit"]] = line["token"]
            else:
                self.by_unit.pop(line["unit"], None)
        self._spare = len(lines) - len(self.by_unit)

    def put(self, unit: str, token: str) -> None:
        """Remember a unit's token, "" to forget it. Everything that it stands for is on the disk already.

        Raises:
            OSError: it can't be written.
        """
        self.put_many({unit: token})

    def put_many(self, tokens: Mapping[str, str]) -> None:
        """Remember the tokens of many units, as ``put`` does.

        Raises:
            OSError: they can't be written.
        """
        with self._lock:
            new = {unit: token for unit, token in tokens.items() if self.by_unit.get(unit, "") != token}
            if not new:
                return
            if not self._path.parent.is_dir():
                self._fs.require(self._path.parent.parent)
                self._fs.make_folder(self._path.parent)
            log = JsonLog(self._path, records=COPIED, fs=self._fs)
            try:
                log.append([{"unit": unit, "token": token} for unit, token in new.items()])
            finally:
                log.close()
            self.by_unit.update(new)
            for unit in [unit for unit, token in new.items() if not token]:
                del self.by_unit[unit]
            self._spare += len(new)
            if self._spare > LINES_SPARE_MAX + len(self.by_unit):
                self._shorten()

    def _shorten(self) -> None:
        from mltrack.disk.codec import encode_line

        lines = [encode_line({"unit": unit, "token": token}) for unit, token in self.by_unit.items()]
        self._fs.publish_bytes(self._path, b"".join(lines))
        self._spare = 0

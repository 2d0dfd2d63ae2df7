"""Which contents the rows of a lake name, and those that were left by pushes that ended before their rows came."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mltrack_sync.lake.blobs import BLOBS

if TYPE_CHECKING:
    from mltrack_sync.lake.scan import LakeScan

__all__ = ["left_contents", "named_contents"]


def named_contents(scan: LakeScan) -> set[str]:
    """The SHA-256 of all contents that a row names. Rows are never removed, so older versions name no others.

    Raises:
        RemoteError: the lake can't be read.
    """
    found: set[str] = set()
    for table in ("artifacts", "files"):
        found.update(text for text in scan.rows(table, ["sha256"]).column("sha256").to_pylist() if text)
    for listed in scan.rows("logged_models", ["files"]).column("files").to_pylist():
        found.update(each["sha256"] for each in json.loads(listed or "[]"))
    return found


def left_contents(scan: LakeScan, before: float) -> list[str]:
    """The paths of contents that no row names and that were made before a time (s).

    The contents are listed before the rows are read: what a push names meanwhile is among these.

    Raises:
        RemoteError: the lake can't be read.
    """
    old = [path for path, made in scan.tables.files.modified(BLOBS).items() if made < before]
    if not old:
        return []
    named = named_contents(scan)
    return sorted(path for path in old if path.rpartition("/")[2] not in named)

"""Which artifacts a copy of a run does not have: ``absent.jsonl`` in the run's folder, written by who copies.

A thin copy leaves out large files; one of a live run, a file that is replaced all the time. An older version of such a
file may be in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.disk.codec import encode_line
from mltrack.disk.jsonlog import read_log
from mltrack.disk.sync_line_types import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mltrack.disk.filesystem import FileSystem

__all__ = ["ABSENT_FILE", "AbsentFile", "encode_absent", "read_absent", "write_absent"]

ABSENT_FILE = "absent.jsonl"


@dataclass(frozen=True, slots=True)
class AbsentFile:
    """An artifact that is not here, as its event describes it, and the id of the store the run was copied from."""

    path: str
    size: int
    sha256: str
    store_id: str


def read_absent(run: Path) -> dict[str, AbsentFile]:
    """Those of a run's folder, by path below ``artifacts``."""
    try:
        lines = read_log(run / ABSENT_FILE, records=ABSENT).lines
    except OSError:
        return {}
    return {line["path"]: AbsentFile(line["path"], line["size"], line["sha256"], line["store"]) for line in lines}


def write_absent(run: Path, files: Iterable[AbsentFile], known: Mapping[str, AbsentFile], *, fs: FileSystem) -> None:
    """Replace them, if they are not the ``known`` ones.

    Raises:
        OSError: they can't be written.
    """
    found = {file.path: file for file in files}
    if found == known:
        return
    if not found:
        fs.unlink(run / ABSENT_FILE)
        return
    fs.publish_bytes(run / ABSENT_FILE, encode_absent(found.values()))


def encode_absent(files: Iterable[AbsentFile]) -> bytes:
    """What is in the file."""
    return b"".join(
        encode_line({"path": file.path, "size": file.size, "sha256": file.sha256, "store": file.store_id})
        for file in sorted(files, key=lambda file: file.path)
    )

"""What a remote has of evaluation datasets, scorers and label schemas, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TableEntry", "table_line"]


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One of these: its id on the remote ("" for those known by name), and its fingerprint as it was sent.

    ``sent`` is how many versions of a scorer, or records of a dataset, the remote has that are here, too; ``version``
    what a dataset's changes were counted by there when it was pulled, or a label schema's content there when it was
    sent. ``made``: pushes from here made it there; if it
    is deleted here, it is deleted there. ``file`` is the number of the file that it was in then: another file that
    lacks it says nothing. ``tags`` are the names of a dataset's tags that were here and there then: those that are
    removed here since are removed there. ``until`` is the time up to which changes of a dataset's records are there, in
    ms since the epoch by the clock here; 0 where that was not noted.
    """

    remote: str = ""
    fingerprint: str = ""
    sent: int = 0
    version: str = ""
    made: bool = False
    file: int = 0
    tags: tuple[str, ...] = ()
    until: int = 0

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> TableEntry:
        """From a line of the ledger."""
        version, made, file = line.get("version", ""), line.get("made", False), line.get("file", 0)
        tags = tuple(line.get("tags", ()))
        return cls(line["remote"], line["print"], line["sent"], version, made, file, tags, line.get("until", 0))


def table_line(kind: str, key: str, entry: TableEntry) -> dict[str, Any]:
    """The line that says what the remote has of one of these."""
    return {
        "type": "table",
        "kind": kind,
        "key": key,
        "remote": entry.remote,
        "print": entry.fingerprint,
        "sent": entry.sent,
        **({"version": entry.version} if entry.version else {}),
        **({"made": True, "file": entry.file} if entry.made else {}),
        **({"tags": list(entry.tags)} if entry.tags else {}),
        **({"until": entry.until} if entry.until else {}),
    }

"""What a remote has of evaluation datasets, scorers and label schemas, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

__all__ = [
    "ACKNOWLEDGED",
    "ASKED",
    "CAME",
    "GONE",
    "RECORDS_A_LINE",
    "TableEntry",
    "apply_records",
    "records_line",
    "records_lines",
    "table_line",
]

ACKNOWLEDGED, ASKED, CAME, GONE = "+", "?", "=", "-"
"""What a fingerprint of a record, or of a scorer's version, begins with.

It was sent from here, and so is deleted there if it is deleted here; it may have been sent; it came from there, or
others have it there too; it was deleted there, and goes there again once it is changed here.
"""

RECORDS_A_LINE = 500
"""So many are in a line of a ledger that is rewritten."""


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One of these: its id on the remote ("" for those known by name), and its fingerprint as it was sent.

    ``sent`` is how many versions of a scorer, or records of a dataset, the remote has that are here, too; ``version``
    what a dataset's changes were counted by there when it was pulled, or a label schema's content there when it was
    sent. ``made``: pushes from here made it there; if it is deleted here, it is deleted there. ``file`` is the number
    of the file that it was in when it was pushed: another file that lacks it, or something of it, says nothing.
    ``tags`` are the names of a dataset's tags that were here and there then: those that are removed here since are
    removed there. ``until`` is the time up to which changes of a dataset's records are there, in ms since the epoch by
    the clock here; 0 where that was not noted. ``tag_prints`` are fingerprints of the values of these tags,
    ``versions`` those of the versions of a scorer that were here and there, each with a mark before it.
    """

    remote: str = ""
    fingerprint: str = ""
    sent: int = 0
    version: str = ""
    made: bool = False
    file: int = 0
    tags: tuple[str, ...] = ()
    until: int = 0
    tag_prints: Mapping[str, str] = field(default_factory=dict)
    versions: tuple[str, ...] = ()

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> TableEntry:
        """From a line of the ledger."""
        version, made, file = line.get("version", ""), line.get("made", False), line.get("file", 0)
        tags = tuple(line.get("tags", ()))
        until, tag_prints, versions = line.get("until", 0), line.get("tag_prints", {}), tuple(line.get("versions", ()))
        fingerprint, sent = line["print"], line["sent"]
        return cls(line["remote"], fingerprint, sent, version, made, file, tags, until, tag_prints, versions)


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
        **({"made": True} if entry.made else {}),
        **({"file": entry.file} if entry.file else {}),
        **({"tags": list(entry.tags)} if entry.tags else {}),
        **({"until": entry.until} if entry.until else {}),
        **({"tag_prints": dict(entry.tag_prints)} if entry.tag_prints else {}),
        **({"versions": list(entry.versions)} if entry.versions else {}),
    }


def records_line(
    dataset: str, has: Mapping[str, str], lacks: Collection[str] = (), *, reset: bool = False
) -> dict[str, Any]:
    """The line that says which records of a dataset are here and there, each by its key with its marked fingerprint.

    With ``reset`` nothing that was said of its records before counts.
    """
    line: dict[str, Any] = {"type": "table_records", "key": dataset, "has": dict(has), "lacks": sorted(lacks)}
    return {**line, **({"reset": True} if reset else {})}


def apply_records(line: Mapping[str, Any], records: dict[str, dict[str, str]]) -> None:
    """Take in such a line; ``records`` are fingerprints by datasets and keys."""
    held = records.setdefault(line["key"], {})
    if line.get("reset"):
        held.clear()
    held.update(line["has"])
    for key in line["lacks"]:
        held.pop(key, None)


def records_lines(records: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, Any]]:
    """The fewest lines that say the same."""
    for dataset, held in records.items():
        rows = iter(held.items())
        while some := dict(islice(rows, RECORDS_A_LINE)):
            yield records_line(dataset, some)

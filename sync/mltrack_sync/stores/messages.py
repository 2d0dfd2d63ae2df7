"""The messages between two stores: each encoded and decoded side by side, and every field checked when it comes in.

What comes from the other side is never trusted: texts and numbers have bounds, paths can't leave their unit, a piece
names a file by its place in a snapshot that was checked before, and its bytes are the next ones of that file.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack_sync.selection import Selection
from mltrack_sync.stores.fields import Fields, bad
from mltrack_sync.stores.transfer import (
    Applied,
    FileKind,
    FileState,
    Need,
    StoreInfo,
    UnitSnapshot,
    UnitToken,
    entries_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mltrack_sync.stores.frames import Frame

__all__ = [
    "GROUP_CHARS",
    "HEX64",
    "ITEMS_PER_MESSAGE",
    "SIZE_MAX",
    "UNITS_AT_ONCE_MAX",
    "check_unit",
    "decode_applied",
    "decode_info",
    "decode_names",
    "decode_needs",
    "decode_origin",
    "decode_paths",
    "decode_selection",
    "decode_snapshot",
    "decode_snapshot_head",
    "decode_tokens",
    "encode_applied",
    "encode_info",
    "encode_needs",
    "encode_paths",
    "encode_selection",
    "encode_snapshot",
    "encode_snapshot_head",
    "encode_tokens",
    "only_needed",
]

UNITS_AT_ONCE_MAX = 1000
FILES_MAX = 2_000_000
"""Files of one unit."""

ITEMS_PER_MESSAGE = 500
GROUP_CHARS = 64 << 10
PATH_CHARS_MAX = 4096
NAME_BYTES_MAX = 255
TEXT_CHARS_MAX = 2000
NOTES_MAX = 100
WRITERS_MAX = 20_000
SIZE_MAX = 1 << 60

_KINDS = list(FileKind)
_UNIT = re.compile(r"workspace|sources|(?:runs|models|traces|artifacts)/[^/\0]+")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,9}")
HEX64 = re.compile(r"(?:[0-9a-f]{64})?")
_HEX8 = re.compile(r"(?:[0-9a-f]{8})?")


def check_unit(name: object) -> str:
    """The name of a unit.

    Raises:
        TransferError: it is not one, or would leave its folder.
    """
    if not isinstance(name, str) or _UNIT.fullmatch(name) is None:
        raise bad(f"a unit {name!r:.80}")
    if not _PLAIN_PATH.fullmatch(name):
        for part in name.split("/"):
            _check_part(part)
    return name


def _check_part(part: str) -> None:
    """Check one name in a path."""
    if part in ("", ".", "..") or "\0" in part:
        raise bad(f"a path with {part!r}")
    try:
        size = len(part.encode("utf-8"))
    except UnicodeEncodeError:
        raise bad("a path that is not text") from None
    if size > NAME_BYTES_MAX:
        raise bad("a path with a name that is too long")


def _check_path(path: object) -> str:
    if not isinstance(path, str) or len(path) > PATH_CHARS_MAX:
        raise bad(f"a path {path!r:.80}")
    if _PLAIN_PATH.fullmatch(path):  # as most do: no further look is needed
        return path
    for part in path.split("/"):
        _check_part(part)
    return path


def _groups(items: Iterable[Any], chars: Callable[[Any], int] = lambda item: 0) -> Iterator[list[Any]]:
    """Items in groups that fit into a message; ``chars`` says how long an item's texts are."""
    group: list[Any] = []
    size = 0
    for item in items:
        group.append(item)
        size += chars(item)
        if len(group) == ITEMS_PER_MESSAGE or size > GROUP_CHARS:
            yield group
            group, size = [], 0
    if group:
        yield group


# --- which store ---------------------------------------------------------------------------------------------------


def encode_info(info: StoreInfo) -> dict[str, Any]:
    """Which store it is."""
    return {
        "store_id": info.store_id,
        "format": info.format,
        "host": info.host,
        "version": info.version,
        "writable": info.writable,
        "free": info.free_bytes,
    }


def decode_info(head: dict[str, Any]) -> StoreInfo:
    """Which store it is, as the other side says.

    Raises:
        TransferError: it does not say so.
    """
    fields = Fields(head)
    return StoreInfo(
        fields.text("store_id", 100),
        fields.number("format", 1, 1 << 16),
        fields.text("host", 300),
        fields.text("version", 100),
        fields.flag("writable"),
        fields.number("free", 0, SIZE_MAX),
    )


def encode_selection(selection: Selection) -> dict[str, Any]:
    """Which runs are meant."""
    return {
        "runs": list(selection.runs),
        "experiments": list(selection.experiments),
        "filter": selection.filter,
    }


def decode_selection(head: dict[str, Any]) -> Selection:
    """Which runs are meant.

    Raises:
        TransferError: it is not a selection.
    """
    fields = Fields(head)
    runs, experiments = fields.texts("runs", 100_000, 4096), fields.texts("experiments", 100_000, 4096)
    return Selection(runs, experiments, fields.text("filter", 100_000))


# --- units ---------------------------------------------------------------------------------------------------------


def encode_tokens(tokens: Iterable[UnitToken]) -> Iterator[dict[str, Any]]:
    """Units with their tokens, as so many messages as it takes."""
    for group in _groups(tokens, lambda one: len(one.token) + len(one.unit)):
        yield {"units": [[one.unit, one.token] for one in group]}


def decode_tokens(head: dict[str, Any]) -> Iterator[UnitToken]:
    """The units of one message.

    Raises:
        TransferError: it holds something else.
    """
    for pair in Fields(head).pairs("units", ITEMS_PER_MESSAGE):
        yield UnitToken(check_unit(pair[0]), Fields({"token": pair[1]}).text("token", TEXT_CHARS_MAX))


def decode_origin(head: dict[str, Any]) -> str:
    """The store whose copies are meant.

    Raises:
        TransferError: it is not the id of a store.
    """
    origin = Fields(head).text("origin", 32)
    if not re.fullmatch("[0-9a-f]{32}", origin):
        raise bad("the id of a store")
    return origin


def decode_names(head: dict[str, Any]) -> list[str]:
    """The units that are asked for.

    Raises:
        TransferError: it holds something else.
    """
    return [check_unit(name) for name in Fields(head).texts("units", UNITS_AT_ONCE_MAX, PATH_CHARS_MAX)]


def encode_paths(paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Names of files of one unit, in messages of bounded size."""
    for group in _groups(paths, len):
        yield {"paths": group}


def decode_paths(head: dict[str, Any]) -> list[str]:
    """The files that are meant.

    Raises:
        TransferError: it holds something else.
    """
    return [_check_path(path) for path in Fields(head).texts("paths", ITEMS_PER_MESSAGE, PATH_CHARS_MAX)]


def encode_snapshot(snapshot: UnitSnapshot) -> Iterator[dict[str, Any]]:
    """A snapshot as one message, or several where it has many files; all but the last say that there are more."""
    groups = list(_groups(snapshot.files, lambda one: len(one.path))) or [[]]
    for place, group in enumerate(groups):
        head: dict[str, Any] = {"files": list(map(_encode_file, group))}
        if place == 0:
            head = encode_snapshot_head(snapshot, group)
        if place < len(groups) - 1:
            head["more"] = True
        yield head


def encode_snapshot_head(snapshot: UnitSnapshot, files: Iterable[FileState] | None = None) -> dict[str, Any]:
    """A snapshot as an object, with some of its files or all."""
    return {
        "unit": snapshot.unit,
        "token": snapshot.token,
        "live": snapshot.live,
        "taken_at": snapshot.taken_at,
        "origin": snapshot.origin,
        "files": list(map(_encode_file, snapshot.files if files is None else files)),
    }


def _encode_file(one: FileState) -> list[Any]:
    return [one.path, _KINDS.index(one.kind), one.size, one.sha256, one.mark, one.first_seq, one.at]


def decode_snapshot(receive: Callable[[], Frame], first: dict[str, Any] | None = None) -> UnitSnapshot:
    """A snapshot; ``receive`` gives its messages, ``first`` is one that has come already.

    Raises:
        TransferError: it is not one, or a path leaves the unit.
    """
    head = receive().head if first is None else first
    snapshot = decode_snapshot_head(head)
    files = list(snapshot.files)
    while head.get("more") is True:
        head = receive().head
        files += map(_decode_file, Fields(head).items("files", ITEMS_PER_MESSAGE))
        if len(files) > FILES_MAX:
            raise bad("too many files")
    return replace(snapshot, files=tuple(files))


def decode_snapshot_head(head: dict[str, Any]) -> UnitSnapshot:
    """A snapshot with those files that are in this object.

    Raises:
        TransferError: it is not one, or a path leaves the unit.
    """
    fields = Fields(head)
    origin = fields.texts("origin", 2, 300)
    if len(origin) != 2:
        raise bad("an origin")
    return UnitSnapshot(
        check_unit(head.get("unit")),
        fields.text("token", TEXT_CHARS_MAX),
        tuple(map(_decode_file, fields.items("files", ITEMS_PER_MESSAGE))),
        fields.texts("live", WRITERS_MAX, NAME_BYTES_MAX),
        fields.number("taken_at", 0, SIZE_MAX * 8),
        (origin[0], origin[1]),
    )


def _decode_file(item: object) -> FileState:
    if not isinstance(item, list) or len(item) != 7:
        raise bad("a file")
    path, kind, size, sha256, mark, first_seq, at = item
    if not all(type(number) is int and 0 <= number <= SIZE_MAX * 8 for number in (kind, size, first_seq, at)):
        raise bad(f"a number of {path!r:.80}")
    if kind >= len(_KINDS) or size > SIZE_MAX:
        raise bad(f"the kind or size of {path!r:.80}")
    if not isinstance(sha256, str) or not isinstance(mark, str):
        raise bad(f"the checksum of {path!r:.80}")
    if not HEX64.fullmatch(sha256) or not _HEX8.fullmatch(mark):
        raise bad(f"the checksum of {path!r:.80}")
    return FileState(_check_path(path), _KINDS[kind], size, sha256, mark, first_seq, at)


# --- what is needed ------------------------------------------------------------------------------------------------


def encode_needs(snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[dict[str, Any]]:
    """What is needed of a snapshot, by the places of its files; all messages but the last say that there are more."""
    places = {id(state): place for place, state in enumerate(snapshot.files)}
    found = [[places[id(state)], need.start] for state, need in entries_of(snapshot, needs)]
    groups = list(_groups(found)) or [[]]
    for number, group in enumerate(groups):
        more = {"more": True} if number < len(groups) - 1 else {}
        yield {"needs": group, **more}


def decode_needs(
    snapshot: UnitSnapshot, receive: Callable[[], Frame], first: dict[str, Any] | None = None
) -> list[Need]:
    """What is needed of a snapshot, in its order.

    Raises:
        TransferError: it is not of this snapshot.
    """
    found: list[Need] = []
    last = -1
    head = receive().head if first is None else first
    while True:
        for place, start in Fields(head).pairs("needs", ITEMS_PER_MESSAGE):
            if type(place) is not int or not last < place < len(snapshot.files):
                raise bad("a need")
            size = snapshot.files[place].size
            if type(start) is not int or not (0 <= start < size or start == size == 0):
                raise bad(f"a need of {snapshot.files[place].path!r}")
            last = place
            found.append(Need(snapshot.files[place].path, start))
        if head.get("more") is not True:
            return found
        head = receive().head


def only_needed(snapshot: UnitSnapshot, needs: Iterable[Need]) -> UnitSnapshot:
    """The snapshot with only the files of which something is needed, each in the place of its need."""
    return replace(snapshot, files=tuple(state for state, _ in entries_of(snapshot, needs)))


# --- what came of it -----------------------------------------------------------------------------------------------


def encode_applied(applied: Applied) -> dict[str, Any]:
    """What came of applying a unit; of a great many notes only the first."""
    return {
        "unit": applied.unit,
        "token": applied.token,
        "bytes": applied.bytes,
        "files": applied.files,
        "events": dict(itertools.islice(applied.events.items(), WRITERS_MAX)),
        "points": dict(itertools.islice(applied.points.items(), WRITERS_MAX)),
        "notes": [note[:TEXT_CHARS_MAX] for note in applied.notes[:NOTES_MAX]],
        "problems": [note[:TEXT_CHARS_MAX] for note in applied.problems[:NOTES_MAX]],
    }


def decode_applied(head: dict[str, Any]) -> Applied:
    """What came of applying a unit.

    Raises:
        TransferError: it does not say so.
    """
    fields = Fields(head)
    return Applied(
        check_unit(head.get("unit")),
        fields.text("token", TEXT_CHARS_MAX),
        fields.number("bytes", 0, SIZE_MAX),
        fields.number("files", 0, SIZE_MAX),
        fields.counts("events", WRITERS_MAX),
        fields.counts("points", WRITERS_MAX),
        fields.texts("notes", NOTES_MAX, TEXT_CHARS_MAX),
        fields.texts("problems", NOTES_MAX, TEXT_CHARS_MAX),
    )

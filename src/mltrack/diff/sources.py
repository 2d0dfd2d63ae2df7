"""What the source files of two launched runs differ in: by name and content, and line by line where they are text."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["LINES_BYTES_MAX", "FileDiff", "FileState", "diff_files"]

LINES_BYTES_MAX = 512 << 10
"""Larger files are compared by their hashes only."""
RENAME_PAIRS_MAX = 400
"""With more pairs of a removed and an added file, only a file of equal content counts as renamed."""
RENAME_LIKENESS = 0.5
"""How much of two files' lines is equal at least if one is the other, renamed and changed: as in git."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")

ReadContent = Callable[[str], bytes | None]
"""Gives a content by its SHA-256, None if it can't be had."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as one run had it: SHA-256 in hex, bytes (None: unknown), whether it is executable."""

    sha256: str
    size: int | None
    executable: bool


@dataclass(frozen=True, slots=True)
class FileDiff:
    """A file that differs.

    Attributes:
        name: its path, that of the second run where it was renamed.
        old_name: its path in the first run, if that is another one.
        change: what became of it from the first run to the second.
        a, b: the file in either run.
        lines: a unified diff without its two head lines; None if there is none, with the reason in ``why``.
        why: "binary", "large", "not in this store", "added", "removed"; "" with lines or for equal contents.
    """

    name: str
    old_name: str | None
    change: Literal["changed", "renamed", "added", "removed"]
    a: FileState | None
    b: FileState | None
    lines: str | None
    why: str


def diff_files(
    a: Mapping[str, Any], b: Mapping[str, Any], read: ReadContent, *, context: int = 3, new_files: bool = False
) -> tuple[FileDiff, ...]:
    """The files that differ, sorted by name.

    Args:
        a: the first run's files by path, as code/files.json has them.
        b: the second run's.
        read: gives contents.
        context: how many equal lines are shown around those that differ.
        new_files: whether a file that only one run has is compared with an empty one.
    """
    before, after = _states(a), _states(b)
    renamed = _renamed(before, after, read)
    found = []
    for name in {*before, *after}:
        if name in renamed.values() and name not in after:
            continue
        old = renamed.get(name, name)
        one, other = before.get(old), after.get(name)
        if one != other or old != name:
            lines, why = _lines(one, other, read, context, new_files)
            found.append(
                FileDiff(name, None if old == name else old, _change(one, other, old != name), one, other, lines, why)
            )
    return tuple(sorted(found, key=lambda file: file.name))


def _change(
    one: FileState | None, other: FileState | None, renamed: bool
) -> Literal["changed", "renamed", "added", "removed"]:
    if renamed:
        return "renamed"
    return "added" if one is None else "removed" if other is None else "changed"


def _states(files: Mapping[str, Any]) -> dict[str, FileState]:
    return {
        name: FileState(str(one["sha256"]), one.get("size"), bool(one.get("executable"))) for name, one in files.items()
    }


# --- renamed files ---


def _renamed(before: Mapping[str, FileState], after: Mapping[str, FileState], read: ReadContent) -> dict[str, str]:
    """The old name of each file that was renamed: first those of equal content, then those most alike."""
    removed = {name: one for name, one in before.items() if name not in after}
    added = {name: one for name, one in after.items() if name not in before}
    found: dict[str, str] = {}
    for new, one in sorted(added.items()):
        same = [old for old, other in sorted(removed.items()) if other.sha256 == one.sha256]
        if same:
            found[new] = min(same, key=lambda old: _base(old) != _base(new))
            del removed[found[new]]
    added = {name: one for name, one in added.items() if name not in found}
    if 0 < len(removed) * len(added) <= RENAME_PAIRS_MAX:
        for _, old, new in sorted(_alike(removed, added, read), reverse=True):
            if old not in found.values() and new not in found:
                found[new] = old
    return found


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _alike(
    removed: Mapping[str, FileState], added: Mapping[str, FileState], read: ReadContent
) -> Iterator[tuple[float, str, str]]:
    old_texts = {name: _text(one, read)[0] for name, one in removed.items()}
    new_texts = {name: _text(one, read)[0] for name, one in added.items()}
    for new, new_lines in new_texts.items():
        matcher = difflib.SequenceMatcher(b=new_lines or [])
        for old, old_lines in old_texts.items():
            if old_lines and new_lines:
                matcher.set_seq1(old_lines)
                if matcher.quick_ratio() >= RENAME_LIKENESS and matcher.ratio() >= RENAME_LIKENESS:
                    yield matcher.ratio(), old, new


# --- lines ---


def _text(state: FileState | None, read: ReadContent) -> tuple[list[str] | None, str]:
    """A file's lines with their ends, or the reason why there are none; no file is an empty one."""
    if state is None:
        return [], ""
    if state.size is not None and state.size > LINES_BYTES_MAX:
        return None, "large"
    data = read(state.sha256)
    if data is None:
        return None, "not in this store"
    if len(data) > LINES_BYTES_MAX:
        return None, "large"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None, "binary"
    return (None, "binary") if "\0" in text else (_LINE.findall(text), "")


def _lines(
    one: FileState | None, other: FileState | None, read: ReadContent, context: int, new_files: bool
) -> tuple[str | None, str]:
    if one is not None and other is not None and one.sha256 == other.sha256:
        return None, ""
    if not new_files and (one is None or other is None):
        return None, "added" if one is None else "removed"
    (before, why), (after, why_too) = _text(one, read), _text(other, read)
    if before is None or after is None:
        return None, why or why_too
    lines = list(difflib.unified_diff(before, after, n=context))[2:]
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines), ""

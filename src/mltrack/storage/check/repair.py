"""Repairing a store: leftovers are removed, and damaged or missing files come from another copy of the store.

What is replaced is kept in the store's folder ``damaged``. A replacement stays only if less is wrong afterwards and
nothing that could be read before is gone.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem
from mltrack.disk.jsonlog import each_line
from mltrack.errors import NotFoundError, UsageError
from mltrack.journal.rich_series import SERIES_FOLDER
from mltrack.storage.check.check import check_store
from mltrack.storage.check.report import is_old
from mltrack.storage.runs.state import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mltrack.disk.layout import Layout
    from mltrack.storage.check.report import CheckReport

__all__ = ["DAMAGED_FOLDER", "Repairs", "remove_leftovers", "restore_from"]

DAMAGED_FOLDER = "damaged"
"""Where files that were replaced are kept, below the time of the repair."""


@dataclass(slots=True)
class Repairs:
    """What was done: paths relative to the store."""

    removed: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    not_restored: dict[str, str] = field(default_factory=dict)  # why, by path
    doubled: int = 0  # points that were taken out, as they showed twice


def remove_leftovers(layout: Layout, report: CheckReport, now_s: float, *, fs: FileSystem = LOCAL) -> list[str]:
    """Remove what processes that died left behind: temporary files, and folders without a run or model.

    Returns:
        Their paths, relative to the store.

    Raises:
        OSError: one can't be removed.
    """
    removed = []
    for finding in report.findings:
        path = layout.root / finding.path
        if not finding.removable or not os.path.lexists(path) or not is_old(path, now_s):
            continue
        if path.is_dir() and not path.is_symlink():
            if not _is_left_behind(layout, path, finding.run_id, now_s):
                continue
            shutil.rmtree(path)
        else:
            fs.unlink(path)
        removed.append(finding.path)
    return removed


def _is_left_behind(layout: Layout, folder: Path, run_id: str | None, now_s: float) -> bool:
    """Whether a run's or model's folder has no start still, and nobody writes in it.

    The check may have taken long; and a fork is given points of its parent before it begins.
    """
    if run_id is not None:
        state = RunState(layout.run(run_id))
        state.update()
        if state.exists:
            return False
    inside = (Path(place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files))
    return all(is_old(path, now_s) for path in inside)


def restore_from(layout: Layout, report: CheckReport, source: Path, *, stamp: str, fs: FileSystem = LOCAL) -> Repairs:
    """Replace what a check found damaged or missing by the same files of another copy of the store.

    Args:
        layout: The store.
        report: Its check.
        source: The folder of the other store: a copy, a backup, one that runs were copied to or from.
        stamp: Names the folder that what is replaced is kept in.
        fs: The file system to write with.

    Raises:
        NotFoundError: there is no store at ``source``.
        UsageError: it is the same store.
        OSError: the disk refused.
    """
    if not (source / "runs").is_dir():
        raise NotFoundError(f"there is no store at {source}", hint="name a folder .mltrack")
    if os.path.samefile(source, layout.root):
        raise UsageError("that is the store itself", hint="name another copy of it")
    done = Repairs()
    for run_id, paths in _by_run(report).items():
        _Restoration(layout, source, stamp, fs, done).restore(run_id, paths)
    return done


def _by_run(report: CheckReport) -> dict[str | None, list[str]]:
    """What has errors, by run: files, and folders in which something is missing."""
    found: dict[str | None, dict[str, None]] = {}
    for finding in report.findings:
        if finding.severity == "error" and not os.path.isabs(finding.path):
            found.setdefault(finding.run_id, {})[finding.path] = None
    return {run_id: list(paths) for run_id, paths in found.items()}


class _Restoration:
    """The restoration of the files of one run, or of the store itself."""

    def __init__(self, layout: Layout, source: Path, stamp: str, fs: FileSystem, done: Repairs) -> None:
        self._layout = layout
        self._source = source
        self._kept = layout.root / DAMAGED_FOLDER / stamp
        self._fs = fs
        self._done = done

    def restore(self, run_id: str | None, paths: list[str]) -> None:
        """Replace the files that the copy has; all of them, or none if that makes nothing better."""
        if run_id is not None and self._is_live(run_id):
            self._refuse(paths, "a process records into the run: end it first")
            return
        missing = [] if run_id is None else self._missing(run_id)
        usable = []
        for path in paths:
            reason = self._unusable(path)
            if not reason:
                usable.append(path)
            elif not (missing and (self._layout.root / path).is_dir()):
                self._refuse([path], reason)
        before = self._check(run_id)
        for chosen in ([*usable, *(path for path in missing if path not in usable)], usable):
            if chosen and self._is_better_with(chosen, run_id, before):
                self._done.restored += chosen
                return
        self._refuse(usable or missing, "with the copy's file as much would be wrong, or less could be read")

    def _is_better_with(self, paths: list[str], run_id: str | None, before: CheckReport) -> bool:
        """Replace files; they are put back if that makes nothing better."""
        for path in paths:
            self._replace(path)
        after = self._check(run_id)
        if after.errors < before.errors and after.points >= before.points:
            return True
        for path in paths:
            self._put_back(path)
        return False

    def _missing(self, run_id: str) -> list[str]:
        """The files of the run that only the copy has, but for artifacts: an error may name no more than a folder."""
        folder = Path("runs", run_id)
        held = [
            Path(place, name)
            for part in ("events", "points", "segments", SERIES_FOLDER)
            for place, _, names in os.walk(self._source / folder / part)
            for name in names
            if not name.endswith(TEMPORARY)
        ]
        paths = [str(path.relative_to(self._source)) for path in held]
        return [path for path in sorted(paths) if not os.path.lexists(self._layout.root / path)]

    def _check(self, run_id: str | None) -> CheckReport:
        return check_store(self._layout.root, None if run_id is None else [run_id])

    def _is_live(self, run_id: str) -> bool:
        state = RunState(self._layout.run(run_id))
        state.update()
        return state.live

    def _refuse(self, paths: Iterable[str], reason: str) -> None:
        self._done.not_restored |= dict.fromkeys(paths, reason)

    def _unusable(self, path: str) -> str:
        """Why the copy's file can't take the place of ours; empty if it can."""
        ours, theirs = self._layout.root / path, self._source / path
        if not theirs.is_file() or theirs.is_symlink():
            return "the copy does not have it"
        if path.endswith(".jsonl") and not _good_lines(ours) <= _good_lines(theirs):
            return "the copy's file does not have all lines that can be read here"
        return ""

    def _replace(self, path: str) -> None:
        ours, kept = self._layout.root / path, self._kept / path
        self._fs.make_folder(kept.parent)
        self._fs.make_folder(ours.parent)
        temporary = ours.with_name(f".{time_ns():x}-{os.urandom(4).hex()}{TEMPORARY}")
        shutil.copyfile(self._source / path, temporary)
        if os.path.lexists(ours):
            self._fs.rename(ours, kept)
        self._fs.publish(temporary, ours)

    def _put_back(self, path: str) -> None:
        ours, kept = self._layout.root / path, self._kept / path
        if os.path.lexists(kept):
            self._fs.rename(kept, ours)
        else:
            self._fs.unlink(ours)


def _good_lines(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    return {json.dumps(line.fields, sort_keys=True) for line in each_line(path) if not line.fault}

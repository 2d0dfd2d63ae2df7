"""The report of a check, and the check of one log, which all checks share."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.jsonlog import BYTE, each_line

if TYPE_CHECKING:
    from mltrack.disk.fields import Records
    from mltrack.disk.jsonlog import PlacedLine
    from mltrack.errors import CorruptionError

__all__ = ["FROM_A_COPY", "LEFTOVER_ADVICE", "CheckReport", "Finding", "check_log", "is_old"]

LEFTOVER_AGE_S = 60.0
"""A temporary file younger than this may be about to be published, and is not reported."""

FROM_A_COPY = "restore the file from a copy; everything else is still read"


LEFTOVER_ADVICE = "nothing in it is needed; remove it, or run: mltrack repair"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong (``error``), or worth knowing without a loss (``note``), and advice.

    ``path`` is relative to the store; ``offset`` is in bytes, None where no place in the file applies. What is
    ``removable`` has nothing that is needed.
    """

    severity: str
    path: str
    offset: int | None
    what: str
    advice: str
    run_id: str | None = None
    removable: bool = False


@dataclass(slots=True)
class CheckReport:
    """What was read, and the findings."""

    root: Path
    runs: int = 0
    files: int = 0
    bytes: int = 0
    points: int = 0
    artifacts: int = 0
    models: int = 0
    findings: list[Finding] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    """Runs with points that show twice, as one writer stands in for another."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.errors

    @property
    def errors(self) -> int:
        """How many errors were found."""
        return sum(finding.severity == "error" for finding in self.findings)

    def read(self, path: Path) -> None:
        """Count a file as read."""
        self.files += 1
        self.bytes += os.stat(path).st_size

    def error(
        self, path: Path, what: str, advice: str = FROM_A_COPY, *, offset: int | None = None, run: str | None = None
    ) -> None:
        """Add an error.

        Args:
            path: The file or folder.
            what: What is wrong, in words that follow the path.
            advice: What to do about it.
            offset: The byte in the file, if known.
            run: The id of the run it belongs to.
        """
        self._add("error", path, offset, what, advice, run)

    def note(self, path: Path, what: str, advice: str, *, run: str | None = None, removable: bool = False) -> None:
        """Add a note.

        Args:
            path: The file or folder.
            what: What is worth knowing, in words that follow the path.
            advice: What to do about it.
            run: The id of the run it belongs to.
            removable: Nothing in it is needed.
        """
        self._add("note", path, None, what, advice, run, removable)

    def damage(self, error: CorruptionError, *, run: str | None = None) -> None:
        """Add what a reader raised or noted."""
        what = str(error).removeprefix(f"{error.path}: ")
        self._add("error", Path(error.path), error.offset, what, error.hint or FROM_A_COPY, run)

    def _add(
        self,
        severity: str,
        path: Path,
        offset: int | None,
        what: str,
        advice: str,
        run: str | None,
        removable: bool = False,
    ) -> None:
        shown = str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)
        self.findings.append(Finding(severity, shown, offset, what, advice, run, removable))


def check_log(
    path: Path, records: Records, report: CheckReport, *, first: str = "", may_be_empty: bool = False
) -> list[PlacedLine]:
    """Check the lines of a log, each by itself and against the others; returns the good ones.

    Numbered lines are consecutive from 0, with no more missing than lines are damaged; others are at the byte they
    name.

    Args:
        path: The log.
        records: The schema of its lines.
        report: Gets the findings.
        first: The type of the first line, and of no other.
        may_be_empty: An empty log is not an error.
    """
    good: list[PlacedLine] = []
    expected = bad = 0
    moved = False
    seen: set[str] = set()
    try:
        for line in each_line(path, records=records):
            if line.fault:
                report.error(path, f"bad line: {line.fault}", offset=line.offset)
                bad += 1
                continue
            fields = line.fields
            if records.numbered:
                if not expected <= fields["seq"] <= expected + bad:
                    what = f"line {fields['seq']} is in the place of line {expected}"
                    report.error(path, what, offset=line.offset)
                expected, bad = fields["seq"] + 1, 0
            else:
                moved = _check_place(path, line, report, seen, moved)
            if first and (fields["type"] == first) != (not good and not line.offset) and (good or not bad):
                what = f"begins with a {fields['type']!r}" if not line.offset else f"has a second {first!r}"
                report.error(path, what, offset=line.offset)
            good.append(line)
        report.read(path)
        if not good and not bad and not may_be_empty:
            what = "is empty: its process died before it had written a line, or the file was cut"
            report.note(path, what, "restore it from a copy, if there is one")
    except OSError as error:
        report.error(path, f"can't be read: {error.strerror}", "check its permissions and the disk")
    return good


def _check_place(path: Path, line: PlacedLine, report: CheckReport, seen: set[str], moved: bool) -> bool:
    """Whether a line, or one before it, is not where it was written; the first of these is reported."""
    said = line.fields.get(BYTE)
    text = json.dumps(line.fields, sort_keys=True)
    if (said is not None or "time" in line.fields) and text in seen:
        report.error(path, "is a line that occurs twice", offset=line.offset)
        moved = True
    elif said is not None and said != line.offset and not moved:
        report.error(path, f"was written at byte {said}: lines before it are missing or added", offset=line.offset)
        moved = True
    seen.add(text)
    return moved


def is_old(path: Path, now_s: float) -> bool:
    """Whether a temporary file was not changed for so long that it must be a leftover."""
    try:
        return now_s - os.stat(path).st_mtime > LEFTOVER_AGE_S
    except FileNotFoundError:
        return False

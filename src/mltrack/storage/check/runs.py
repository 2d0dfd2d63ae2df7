"""Checking one run: its event lines, its points in journals and segments, its artifacts, and leftovers."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.disk.absent import read_absent
from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE, decode_records
from mltrack.disk.elsewhere import MARKER_SUFFIX
from mltrack.disk.filesystem import TEMPORARY, reading
from mltrack.disk.jsonlog import each_line
from mltrack.disk.layout import RunFolder
from mltrack.disk.line_types import EVENTS, SERIES
from mltrack.disk.segment import segment_name
from mltrack.disk.segment_reader import read_blocks, verify_segment
from mltrack.errors import CorruptionError
from mltrack.journal.points_checksum import points_checksum, points_files
from mltrack.journal.reader import count_points, open_journals, segments_of
from mltrack.journal.rich_series import SERIES_FOLDER, journals
from mltrack.storage.check.artifacts import MISSING, artifact_fault, files_of
from mltrack.storage.check.doubled import check_stand_ins
from mltrack.storage.check.report import FROM_A_COPY, LEFTOVER_ADVICE, CheckReport, is_old
from mltrack.storage.runs.rewinding import COPIED_FROM
from mltrack.storage.runs.series_artifacts import unpublished_series
from mltrack.storage.runs.state import RunState
from mltrack.text.counting import plural
from mltrack.values.rich import decode_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mltrack.disk.segment import SegmentName
    from mltrack.journal.reader import JournalFile

__all__ = ["check_run"]

_EVENTS_NAME = re.compile(r"[0-9a-f]{16}\.jsonl")
_POINTS_NAME = re.compile(r"[0-9a-f]{16}\.[0-9]+\.points")

ATTEMPTS = 3
"""How often a run is checked again because a writer sealed or replaced files during the check."""


@dataclass(slots=True)
class _Writer:
    """A writer's events, as far as they concern its points."""

    name: str
    names: set[int] = field(default_factory=set)  # metric numbers that have a name
    keys: set[str] = field(default_factory=set)  # these names
    closed_at: int | None = None  # the number of points at its close
    points_crc: int | None = None  # their checksum, if they were in its journal then
    damaged: bool = False
    alive: bool = False
    began: bool = False  # a line names the writer
    forks: bool = False  # it has what a fork was given before it began


def check_run(folder: RunFolder, report: CheckReport, *, now: Callable[[], float]) -> None:
    """Check all files of a run; findings go to ``report``.

    Raises:
        OSError: a file exists and can't be read.
    """
    report.runs += 1
    held = (list(report.findings), report.files, report.bytes, report.points, report.artifacts)
    for attempt in range(ATTEMPTS):
        findings, report.files, report.bytes, report.points, report.artifacts = held
        report.findings = list(findings)
        try:
            _RunCheck(folder, report).all(now())
            check_stand_ins(folder, report)
            return
        except FileNotFoundError:
            if attempt == ATTEMPTS - 1:
                raise


class _RunCheck:
    """One check of one run."""

    def __init__(self, folder: RunFolder, report: CheckReport) -> None:
        self._folder = folder
        self._report = report
        self._run_id = folder.run_id
        self._state = RunState(folder)
        self._state.update()
        self._lost: dict[str, tuple[Path, str]] = {}  # artifacts that were lost: the events file that says so, and why

    def all(self, now_s: float) -> None:
        """Check everything, in the order a reader needs it."""
        writers = {writer.name: writer for writer in self._events()}
        for name, (path, reason) in self._lost.items():
            what = f"says that the artifact {name!r}, or part of it, was lost: {reason}"
            self._note(path, what, "log it again, if it still exists")
        if not self._state.exists:
            self._no_start(writers)
        for name in self._point_writers():
            if name not in writers:
                path = self._folder.events / f"{name}.jsonl"
                self._error(path, "is missing, but this writer has points")
            elif not writers[name].began and not writers[name].damaged:
                self._error(self._folder.events / f"{name}.jsonl", "is empty, but this writer has points")
            self._points(writers.get(name, _Writer(name, damaged=True)))
        for writer in writers.values():
            if writer.closed_at and writer.name not in self._point_writers():
                self._error(
                    self._folder.points, f"all {plural(writer.closed_at, 'point')} of {writer.name} are missing"
                )
        self._fork()
        self._unknown_files()
        self._series()
        self._artifacts()
        if not self._state.live:
            self._leftovers(now_s)

    def _error(self, path: Path, what: str, advice: str = FROM_A_COPY, *, offset: int | None = None) -> None:
        self._report.error(path, what, advice, offset=offset, run=self._run_id)

    def _note(self, path: Path, what: str, advice: str, *, removable: bool = False) -> None:
        self._report.note(path, what, advice, run=self._run_id, removable=removable)

    def _no_start(self, writers: Mapping[str, _Writer]) -> None:
        damaged = any(writer.damaged for writer in writers.values())
        if damaged or any(name not in writers or not writers[name].forks for name in self._point_writers()):
            self._error(self._folder.path, "the run's start is lost, so that it is not listed")
        else:
            self._note(
                self._folder.path, "has no run: its process died before it began", LEFTOVER_ADVICE, removable=True
            )

    # --- events ---

    def _events(self) -> Iterator[_Writer]:
        for name in _names(self._folder.events):
            if name.endswith(".jsonl"):
                yield self._events_file(name.removesuffix(".jsonl"))

    def _events_file(self, name: str) -> _Writer:
        path = self._folder.events / f"{name}.jsonl"
        known = self._state.writers.get(name)
        writer = _Writer(name, alive=known is not None and known.alive)
        self._report.read(path)
        expected, bad, before = 0, 0, 0
        for offset, _, fields, fault in each_line(path, records=EVENTS):
            if fault:
                self._error(path, f"bad line: {fault}", offset=offset)
                writer.damaged = True
                bad += 1
                continue
            seq = fields["seq"]
            if not expected <= seq <= expected + bad:
                self._error(path, f"event {seq} is in the place of event {expected}", offset=offset)
                writer.damaged = True
            if fields["time"] < before:
                self._error(path, f"event {seq} is earlier than the one before it", offset=offset)
            if not seq and fields["type"] != "writer":
                self._error(path, f"begins with a {fields['type']!r}, not with its writer", offset=offset)
            expected, bad, before = seq + 1, 0, fields["time"]
            self._event(path, offset, writer, fields)
        return writer

    def _event(self, path: Path, offset: int, writer: _Writer, fields: dict[str, Any]) -> None:
        writer.began = True
        match fields.get("type"):
            case "writer" if fields.get("run_id") not in (None, self._run_id):
                what = f"belongs to run {fields['run_id']}"
                self._error(path, what, "rename the run's folder back", offset=offset)
            case "writer":
                writer.forks = str(fields.get("origin", "")).startswith(COPIED_FROM)
            case "metric" if isinstance(fields.get("number"), int):
                writer.names.add(fields["number"])
                writer.keys.add(fields["key"].encode("utf-8", "replace").decode())  # as in segments
            case "close" if isinstance(fields.get("points"), int):
                writer.closed_at, writer.points_crc = fields["points"], fields.get("points_crc")
            case "lost" if fields.get("points"):
                what = f"says that a full or failing disk lost {plural(fields['points'], 'point')}"
                self._note(path, what, "nothing can be done about it")
            case "lost" if fields.get("artifact"):
                self._lost[str(fields["artifact"])] = (path, str(fields.get("reason")))
            case "artifact":
                self._lost.pop(str(fields.get("path")), None)

    def _fork(self) -> None:
        """What a fork needs of other runs."""
        visibility = self._state.visibility
        for one in () if visibility is None else visibility.inherited.values():
            if not one.points:
                continue
            folder = RunFolder(self._folder.path.with_name(one.run_id))
            path = folder.events / f"{one.writer}.jsonl"
            advice = f"copy run {one.run_id} into this store"
            damage: list[CorruptionError] = []  # that run's own check reports it
            if not path.is_file():
                self._error(path, f"is missing; run {self._run_id} was forked from it", advice)
                continue
            count = count_points(folder, one.writer, whole=True, damage=damage)
            if count < one.points and not damage:
                what = f"has {plural(count, 'point')}; run {self._run_id} was forked from {one.points:,}"
                self._error(path, what, advice)

    def _unknown_files(self) -> None:
        """Files that no reader reads, as their names are not those of a writer's files."""
        kinds = (
            (self._folder.events, _EVENTS_NAME.fullmatch),
            (self._folder.points, _POINTS_NAME.fullmatch),
            (self._folder.segments, segment_name),
        )
        for folder, known in kinds:
            if folder.exists() and not folder.is_dir():
                self._error(folder, "is not a folder")
            for name in _names(folder):
                if not name.startswith(".") and not name.endswith(TEMPORARY) and known(name) is None:
                    self._error(folder / name, "is not read: files there have other names", "see docs/format.md")

    # --- points ---

    def _point_writers(self) -> list[str]:
        files = [*_names(self._folder.points), *_names(self._folder.segments)]
        return sorted({name.split(".")[0] for name in files if not name.startswith(".")})

    def _points(self, writer: _Writer) -> None:
        """Every point of a writer, and whether any is missing before the expected last one."""
        damage: list[CorruptionError] = []
        covered: list[tuple[int, int]] = []
        errors = self._report.errors
        with ExitStack() as stack:
            journals = open_journals(self._folder, writer.name, stack, damage)
            for name, path in segments_of(self._folder, writer.name):
                if covered and name.first < covered[-1][1]:
                    self._error(path, f"has points before {covered[-1][1]}, as the segment before it does")
                covered.append((name.first, name.last + 1))
                self._report.points += self._segment(writer, name, path)
            sealed = max((end for _, end in covered), default=0)
            reach = 0
            for journal in journals:
                first, end = self._journal(journal, writer, sealed)
                if first < min(reach, end):
                    self._error(journal.path, f"has points before {reach}, as the file before it does")
                reach = max(reach, end)
                covered.append((first, end))
        for error in damage:
            self._report.damage(error, run=self._run_id)
        self._headerless(
            writer, {journal.path.name for journal in journals} | {os.path.basename(d.path) for d in damage}
        )
        if damage or writer.alive:
            return
        end = writer.closed_at if writer.closed_at is not None else max((end for _, end in covered), default=0)
        for first, after in _gaps(covered, end):
            self._error(self._folder.points, f"points {first} to {after - 1} of writer {writer.name} are missing")
        if self._report.errors == errors and not sealed and writer.points_crc is not None and writer.closed_at:
            crc = points_checksum(self._folder.points, writer.name, writer.closed_at)
            if crc not in (None, writer.points_crc):  # None: it was sealed meanwhile
                files = points_files(self._folder.points, writer.name)
                one = "has" if len(files) == 1 else "or another file of its writer has"
                for path in files:  # the checksum is of all of them, and a copy has to take the place of the right one
                    self._error(path, f"{one} points that are not as they were written: their checksum differs")

    def _journal(self, journal: JournalFile, writer: _Writer, sealed: int) -> tuple[int, int]:
        """Check one journal; returns the range of seqs it covers."""
        self._report.read(journal.path)
        expected = journal.first_seq
        nameless: set[int] = set()
        for records, seqs in journal.pieces(journal.first_seq, whole=not writer.alive):
            for seq in _jumps(seqs, expected):
                missing = int(seqs[seq]) - (int(seqs[seq - 1]) + 1 if seq else expected)
                offset = HEADER_SIZE + RECORD_SIZE * (int(seqs[seq]) - missing - journal.first_seq)
                self._error(
                    journal.path,
                    f"{missing:,} {'point has' if missing == 1 else 'points have'} lost the commit mark",
                    offset=offset,
                )
            expected = int(seqs[-1]) + 1
            nameless |= set(records["number"].tolist()) - writer.names
            self._report.points += int((seqs >= sealed).sum())
        if nameless and not writer.alive and not writer.damaged:
            shown = ", ".join(map(str, sorted(nameless)[:5]))
            what = f"has points of metrics without a name (number {shown}), which count as never logged"
            self._note(journal.path, what, "the power failed within a second of their logging; nothing to do")
        return journal.first_seq, expected

    def _headerless(self, writer: _Writer, known: set[str]) -> None:
        """Points files with an empty header: fine if nothing follows it (the file was just being made)."""
        for name in _names(self._folder.points):
            path = self._folder.points / name
            if name in known or name.startswith(".") or name.split(".")[0] != writer.name or not path.exists():
                continue
            with reading(path) as file:
                head = file.read(HEADER_SIZE + (RECORD_SIZE << 15))
            if name.endswith(".points") and len(decode_records(head[HEADER_SIZE:])[1]):
                self._error(path, "has points but no header", offset=0)

    def _segment(self, writer: _Writer, name: SegmentName, path: Path) -> int:
        """Check one segment; returns its points."""
        self._report.read(path)
        rows, last = 0, name.first - 1
        strange: set[str] = set()
        try:
            verify_segment(path)
            for block in read_blocks(path):
                rows += len(block)
                strange |= set(block.keys) - writer.keys
                if int(block.seqs[0]) <= last:
                    self._error(path, f"has a point twice, after point {last}")
                last = max(last, int(block.seqs[-1]))
        except CorruptionError as error:
            self._report.damage(error, run=self._run_id)
            return rows
        strange = {key for key in strange if not key.startswith("unnamed/")}
        if strange and not writer.damaged:
            shown = ", ".join(ascii(key)[:40] for key in sorted(strange)[:3])
            self._error(path, f"has {plural(len(strange), 'metric')} that its writer did not name: {shown}")
        said = name.last - name.first + 1
        if rows != said or last != name.last:
            self._error(path, f"has {plural(rows, 'point')} up to {last}, its name says {said:,} up to {name.last}")
        return rows

    # --- series ---

    def _series(self) -> None:
        for path in journals(self._folder.path):
            self._report.read(path)
            self._series_file(path)
        if not self._state.live and unpublished_series(self._folder):
            what = "has histograms, tables or texts that are not artifacts yet: its process died first"
            self._note(self._folder.path / SERIES_FOLDER, what, f"run: mltrack seal {self._run_id}")

    def _series_file(self, path: Path) -> None:
        expected, bad = 0, 0
        for offset, _, fields, fault in each_line(path, records=SERIES):
            if not fault and fields["type"] in SERIES.types:
                fault = _no_value(fields)
            if fault:
                self._error(path, f"bad line: {fault}", offset=offset)
                bad += 1
                continue
            if not expected <= fields["seq"] <= expected + bad:
                self._error(path, f"line {fields['seq']} is in the place of line {expected}", offset=offset)
            expected, bad = fields["seq"] + 1, 0

    # --- artifacts ---

    def _artifacts(self) -> None:
        known = set()
        absent = read_absent(self._folder.path)
        being_copied = any(name.endswith(MARKER_SUFFIX) for _, name in files_of(self._folder.path / "live"))
        for artifact in self._state.artifacts:
            known.add(artifact.path)
            self._report.artifacts += 1
            what = artifact_fault(self._folder.artifacts, artifact, self._report)
            if what is not None and self._state.live:
                self._state.update()  # it may just have been replaced
                newer = next((a for a in self._state.artifacts if a.path == artifact.path), None)
                what = artifact_fault(self._folder.artifacts, newer, self._report) if newer is not None else None
            held = absent.get(artifact.path)
            if what is None or (held is not None and held.sha256 == artifact.sha256):
                continue
            if what == MISSING and being_copied:
                self._note(self._folder.artifacts / artifact.path, "has not come yet", "copy or pull the run again")
            else:
                self._error(self._folder.artifacts / artifact.path, what)
        if not self._state.live:
            for path, name in files_of(self._folder.artifacts):
                if name not in known and not name.endswith(TEMPORARY):
                    self._note(path, "is not recorded as an artifact", "log it, or move it out of the store")

    # --- leftovers ---

    def _leftovers(self, now_s: float) -> None:
        for path, name in files_of(self._folder.path):
            if name.endswith(TEMPORARY) and is_old(path, now_s):
                self._note(path, "left behind by a process that died", LEFTOVER_ADVICE, removable=True)
            elif name.startswith("live/std_log") and name.endswith(".txt"):
                self._note(path, "has output of a program whose launcher was killed", "store it with: mltrack seal")


def _no_value(fields: dict[str, Any]) -> str:
    try:
        decode_value(fields)
    except (KeyError, TypeError, ValueError) as error:
        return f"it is not a {fields['type']}: {error}"
    return ""


def _jumps(seqs: Any, expected: int) -> list[int]:
    """The indices in ``seqs`` before which a seq is missing."""
    import numpy as np

    return [int(at) for at in np.flatnonzero(np.diff(seqs, prepend=expected - 1) != 1)]


def _gaps(covered: list[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """Ranges of [0, end) that none of the given ones covers."""
    reach = 0
    for first, after in sorted(covered):
        if first > reach:
            yield reach, first
        reach = max(reach, after)
    if reach < end:
        yield reach, end


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []

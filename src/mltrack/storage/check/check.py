"""Checking a store: every checksum of every file, and what should be there but is not. Nothing is changed by it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import TEMPORARY
from mltrack.disk.jsonlog import BYTE, each_line
from mltrack.disk.layout import Layout, is_run_id
from mltrack.disk.line_types import EXPERIMENTS, LEDGER, REGISTRY, UPLOADS
from mltrack.disk.remotes_file import remotes_in
from mltrack.errors import CorruptionError, NotFoundError, StoreError, StoreVersionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mltrack.disk.fields import Records
    from mltrack.disk.jsonlog import PlacedLine

__all__ = ["CheckReport", "Finding", "check_log", "check_store"]

LEFTOVER_AGE_S = 60.0
"""A temporary file younger than this may be about to be published: it is none of ours to tell of."""

FROM_A_COPY = "restore the file from a copy; everything else is still read"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong (``error``), or worth knowing though nothing is lost (``note``), and what to do about it.

    ``path`` is relative to the store; ``offset`` is in bytes, None where no place in the file can be named.
    """

    severity: str
    path: str
    offset: int | None
    what: str
    advice: str
    run_id: str | None = None


@dataclass(slots=True)
class CheckReport:
    """What was read, and what was found."""

    root: Path
    runs: int = 0
    files: int = 0
    bytes: int = 0
    points: int = 0
    artifacts: int = 0
    models: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.severity == "error" for finding in self.findings)

    def read(self, path: Path) -> None:
        """Count a file as read."""
        self.files += 1
        self.bytes += os.stat(path).st_size

    def error(
        self, path: Path, what: str, advice: str = FROM_A_COPY, *, offset: int | None = None, run: str | None = None
    ) -> None:
        """Add something that is wrong."""
        self._add("error", path, offset, what, advice, run)

    def note(self, path: Path, what: str, advice: str, *, run: str | None = None) -> None:
        """Add something worth knowing."""
        self._add("note", path, None, what, advice, run)

    def damage(self, error: CorruptionError, *, run: str | None = None) -> None:
        """Add what a reader raised or noted."""
        what = str(error).removeprefix(f"{error.path}: ")
        self._add("error", Path(error.path), error.offset, what, error.hint or FROM_A_COPY, run)

    def _add(self, severity: str, path: Path, offset: int | None, what: str, advice: str, run: str | None) -> None:
        shown = str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)
        self.findings.append(Finding(severity, shown, offset, what, advice, run))


def check_store(
    root: Path,
    run_ids: Sequence[str] | None = None,
    *,
    advanced: Callable[[int, int], None] = lambda done, of: None,
    now: Callable[[], float] = time.time,
) -> CheckReport:
    """Read every byte of a store, or of some runs of it, and compare it with its checksums.

    Live runs are checked as far as they are written. ``advanced(done, of)`` is told how many runs are done; ``now``
    gives seconds since the epoch.

    Raises:
        NotFoundError: there is no store, or no such run.
        StoreVersionError: a newer mltrack made it.
    """
    from mltrack.storage.check.models import check_models
    from mltrack.storage.check.runs import check_run
    from mltrack.storage.check.sources import check_sources
    from mltrack.storage.check.traces import check_traces

    report = CheckReport(root)
    layout = _open(root, report)
    if run_ids is None:
        _check_workspace(layout, report)
        _check_remotes(layout, report)
        check_traces(layout, report)
        check_sources(layout, report)
        for path in _leftovers(layout, now()):
            report.note(path, "left behind by a process that died", "it holds nothing that is missed; remove it")
        check_models(layout, report, now=now)
    wanted = list(run_ids) if run_ids is not None else [name for name in _names(layout.runs) if is_run_id(name)]
    for done, run_id in enumerate(wanted):
        advanced(done, len(wanted))
        if not layout.run(run_id).path.is_dir():
            if run_ids is not None:
                raise NotFoundError(f"no run {run_id} in {root}", hint="see: mltrack ls")
            continue  # purged meanwhile
        try:
            check_run(layout.run(run_id), report, now=now)
        except OSError as error:
            path = Path(error.filename or layout.run(run_id).path)
            report.error(path, f"can't be read: {error.strerror}", "check its permissions and the disk", run=run_id)
    advanced(len(wanted), len(wanted))
    return report


def _open(root: Path, report: CheckReport) -> Layout:
    """The store, also where its store.json is damaged or gone but runs are there."""
    path = root / "store.json"
    try:
        layout = Layout.open(root)
    except StoreVersionError:
        raise
    except NotFoundError:
        if not any(is_run_id(name) for name in _names(root / "runs")):
            raise
        report.error(path, "is missing", "copy that of another store, or of a backup, here: it holds only an id")
    except StoreError as error:
        report.error(path, str(error).removeprefix(f"{path} "), "copy that of a backup here; the runs are not affected")
    else:
        report.read(path)
        return layout
    return Layout(root, "")


def _check_workspace(layout: Layout, report: CheckReport) -> None:
    from mltrack.storage.experiments import Workspace
    from mltrack.storage.registry.registry import Registry

    logs = {"experiments.jsonl": EXPERIMENTS, "models.jsonl": REGISTRY}
    for name, records in logs.items():
        if os.path.lexists(layout.workspace / name):
            check_log(layout.workspace / name, records, report)
    workspace, registry = Workspace(layout, clock=time.time_ns), Registry(layout, clock=time.time_ns)
    try:
        workspace.experiments(), registry.models()
    except OSError:
        return  # told above
    for damage in (*workspace.damage, *registry.damage):
        if damage.offset is None:  # whole lines about what is not there; others were told of with their place
            report.damage(damage)


def _check_remotes(layout: Layout, report: CheckReport) -> None:
    path = layout.root / "remotes.toml"
    try:
        tables = remotes_in(path)
        if path.exists():
            report.read(path)
        if not isinstance(tables, dict) or not all(isinstance(t, dict) and "url" in t for t in tables.values()):
            report.error(path, "names a remote without a url", "mend it with an editor")
    except StoreError as error:
        report.error(path, str(error).removeprefix(f"{path} "), error.hint)
    folder = layout.root / "remotes"
    for name in _names(folder):
        for file, records, first in (("ledger.jsonl", LEDGER, "ledger"), ("uploads.jsonl", UPLOADS, "")):
            if os.path.lexists(folder / name / file):
                check_log(folder / name / file, records, report, first=first)


def check_log(
    path: Path, records: Records, report: CheckReport, *, first: str = "", may_be_empty: bool = False
) -> list[PlacedLine]:
    """Check the lines of a log, each for itself and against the others; returns the good ones.

    Numbered lines follow one another from 0, with no more missing than lines are damaged; others stand where they say.
    ``first`` is the type that the first line has, and no other.
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
                    what = f"line {fields['seq']} stands where line {expected} should"
                    report.error(path, what, offset=line.offset)
                expected, bad = fields["seq"] + 1, 0
            else:
                moved = _check_place(path, line, report, seen, moved)
            if first and (fields["type"] == first) != (not good and not line.offset) and (good or not bad):
                what = f"begins with a {fields['type']!r}" if not line.offset else f"holds a second {first!r}"
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
    """Whether a line, or one before it, does not stand where it was written; the first such is told."""
    said = line.fields.get(BYTE)
    text = json.dumps(line.fields, sort_keys=True)
    if (said is not None or "time" in line.fields) and text in seen:
        report.error(path, "is a line that stands there twice", offset=line.offset)
        moved = True
    elif said is not None and said != line.offset and not moved:
        report.error(path, f"was written at byte {said}: lines before it are missing or added", offset=line.offset)
        moved = True
    seen.add(text)
    return moved


def _leftovers(layout: Layout, now_s: float) -> Iterator[Path]:
    """Temporary files outside the runs, and the folders of runs whose removal was interrupted."""
    folders = [layout.root, layout.workspace, layout.runs, layout.models, layout.root / "sources"]
    folders += [layout.root / "remotes" / name for name in _names(layout.root / "remotes")]
    for folder in folders:
        for name in _names(folder):
            path = folder / name
            if name.endswith(TEMPORARY) and is_old(path, now_s):
                yield path


def is_old(path: Path, now_s: float) -> bool:
    """Whether nobody has touched a temporary file for so long that it must be a leftover."""
    try:
        return now_s - os.stat(path).st_mtime > LEFTOVER_AGE_S
    except FileNotFoundError:
        return False


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []

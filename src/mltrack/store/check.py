"""Checking a store: every checksum of every file, and what should be there but is not. Nothing is changed by it."""

from __future__ import annotations

import os
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.errors import CorruptionError, NotFoundError, StoreError, StoreVersionError
from mltrack.fs import TEMPORARY, read_small
from mltrack.jsonlog import read_log
from mltrack.store.layout import Layout, is_run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["CheckReport", "Finding", "check_store"]

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
    from mltrack.store.check_models import check_models
    from mltrack.store.check_run import check_run
    from mltrack.store.check_sources import check_sources
    from mltrack.store.check_traces import check_traces

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
    for name in _names(layout.workspace):
        if name.endswith(".jsonl"):
            _check_log(layout.workspace / name, report)


def _check_remotes(layout: Layout, report: CheckReport) -> None:
    path = layout.root / "remotes.toml"
    try:
        tomllib.loads(read_small(path).decode("utf-8"))
        report.read(path)
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        report.error(path, f"is no TOML: {error}", "mend it with an editor, or remove it and add the remotes again")
    folder = layout.root / "remotes"
    for name in _names(folder):
        for file in _names(folder / name):
            if file.endswith(".jsonl"):
                _check_log(folder / name / file, report)


def _check_log(path: Path, report: CheckReport) -> None:
    try:
        found = read_log(path).damage
        report.read(path)
    except OSError as error:
        report.error(path, f"can't be read: {error.strerror}", "check its permissions and the disk")
        return
    for damage in found:
        report.damage(damage)


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

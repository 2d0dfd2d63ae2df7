"""Checking a store: every checksum of every file, and what is missing. It changes nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import TEMPORARY
from mltrack.disk.layout import Layout, is_run_id
from mltrack.disk.line_types import EXPERIMENTS, REGISTRY
from mltrack.disk.remotes_file import remote_tables
from mltrack.disk.sync_line_types import LEDGER, UPLOADS
from mltrack.errors import NotFoundError, StoreError, StoreVersionError
from mltrack.storage.check.models import check_models
from mltrack.storage.check.report import LEFTOVER_ADVICE, CheckReport, check_log, is_old
from mltrack.storage.check.runs import check_run
from mltrack.storage.check.sources import check_sources
from mltrack.storage.check.traces import check_traces
from mltrack.storage.experiments import Workspace
from mltrack.storage.registry.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


__all__ = ["check_store"]


def check_store(
    root: Path,
    run_ids: Sequence[str] | None = None,
    *,
    advanced: Callable[[int, int], None] = lambda done, of: None,
    now: Callable[[], float] = time.time,
) -> CheckReport:
    """Read every byte of a store, or of some runs of it, and compare it with its checksums.

    Live runs are checked as far as they are written.

    Args:
        root: The store's folder.
        run_ids: Only these runs; by default the whole store.
        advanced: Called with the number of runs done, and of all.
        now: The time now, in seconds since the epoch.

    Raises:
        NotFoundError: the store or the run does not exist.
        StoreVersionError: a newer mltrack made it.
    """
    report = CheckReport(root)
    layout = _open(root, report)
    if run_ids is None:
        _check_workspace(layout, report)
        _check_remotes(layout, report)
        check_traces(layout, report)
        check_sources(layout, report)
        for path in _leftovers(layout, now()):
            report.note(path, "left behind by a process that died", LEFTOVER_ADVICE, removable=True)
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
    """The store, even if its store.json is damaged or missing, as long as it has runs."""
    path = root / "store.json"
    try:
        layout = Layout.open(root)
    except StoreVersionError:
        raise
    except NotFoundError:
        if not any(is_run_id(name) for name in _names(root / "runs")):
            raise
        report.error(path, "is missing", "copy one from another store or a backup here: it has only an id")
    except StoreError as error:
        report.error(path, str(error).removeprefix(f"{path} "), "copy one from a backup; the runs are not affected")
    else:
        report.read(path)
        return layout
    return Layout(root, "")


def _check_workspace(layout: Layout, report: CheckReport) -> None:
    logs = {"experiments.jsonl": EXPERIMENTS, "models.jsonl": REGISTRY}
    for name, records in logs.items():
        if os.path.lexists(layout.workspace / name):
            check_log(layout.workspace / name, records, report)
    workspace, registry = Workspace(layout, clock=time.time_ns), Registry(layout, clock=time.time_ns)
    try:
        workspace.experiments(), registry.models()
    except OSError:
        return  # reported above
    for damage in (*workspace.damage, *registry.damage):
        if damage.offset is None:  # intact lines about missing things; others were reported with their place
            report.damage(damage)


def _check_remotes(layout: Layout, report: CheckReport) -> None:
    path = layout.root / "remotes.toml"
    try:
        if path.exists():
            report.read(path)
        remote_tables(path)
    except StoreError as error:
        report.error(path, str(error).removeprefix(f"{path} "), error.hint)
    folder = layout.root / "remotes"
    for name in _names(folder):
        for file, records, first in (("ledger.jsonl", LEDGER, "ledger"), ("uploads.jsonl", UPLOADS, "")):
            if os.path.lexists(folder / name / file):
                check_log(folder / name / file, records, report, first=first)


def _leftovers(layout: Layout, now_s: float) -> Iterator[Path]:
    """Temporary files outside the runs, and the folders of runs whose removal was interrupted."""
    folders = [layout.root, layout.workspace, layout.runs, layout.models, layout.root / "sources"]
    folders += [layout.root / "remotes" / name for name in _names(layout.root / "remotes")]
    for folder in folders:
        for name in _names(folder):
            path = folder / name
            if name.endswith(TEMPORARY) and is_old(path, now_s):
                yield path


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []

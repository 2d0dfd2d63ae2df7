"""A pull from a store: what is lacking here is copied; what is here already is never overwritten."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.errors import NotFoundError, StoreError
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.ledger.stores import run_lines, store_line
from mltrack_sync.report import PullReport
from mltrack_sync.stores.chosen_files import ChosenFiles
from mltrack_sync.stores.copying import CopyOptions, copy_units
from mltrack_sync.stores.folders import local_disk_errors
from mltrack_sync.stores.local_source import RUNS
from mltrack_sync.stores.local_target import LocalTarget
from mltrack_sync.stores.transfer import TransferError, entries_of, is_held, is_thin
from mltrack_sync.stores.watched import ARTIFACTS, WatchedCopy, artifacts_in

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import Ledger
    from mltrack_sync.remotes.options import PullOptions
    from mltrack_sync.stores.far_store import FarStore
    from mltrack_sync.stores.transfer import Applied, FileState, UnitSnapshot

__all__ = ["pull_from_store"]


def pull_from_store(
    store: Store,
    far: FarStore,
    name: str,
    url: str,
    options: PullOptions,
    ledger: Ledger | None = None,
    *,
    fs: FileSystem = LOCAL,
) -> PullReport:
    """Copy what is selected there and new here.

    Args:
        store: The store here.
        far: The other one.
        name: What the report calls it.
        url: Where it is.
        options: What is pulled, and how.
        ledger: Its ledger, in which is noted what need not be sent back.
        fs: Writes to the store here.

    Raises:
        RemoteError, StoreError, OSError: a store can't be used any more.
        NotFoundError, FilterError: the selection names what is not there, or is not valid.
    """
    target = LocalTarget(store, hashing=not far.in_process, fs=fs)
    source = ChosenFiles(far.source, options.wants_artifact) if options.artifact_paths else far.source
    watched = WatchedCopy(source, target, look_again=options.recheck)
    counting = _Counting(store, watched, ledger)
    if options.dry_run:
        _look(watched, counting, options)
        return PullReport(name, url, dry_run=True, problems=tuple(counting.problems), **counting.counts)
    if not target.info().writable:
        raise StoreError(
            f"{store.path} can't be written: it is read-only, or not permitted",
            hint="check how its disk is mounted, and the folder's permissions",
        )
    if ledger is not None and far.info.store_id != ledger.state.copied.store_id:
        ledger.copied([store_line(far.info.store_id)])
    copying = CopyOptions(
        artifact_bytes_max=options.artifact_bytes_max,
        workers=min(options.jobs, far.workers),
        readers=1 if far.in_process else 2 * min(options.jobs, far.workers),
        pace=options.pace,
        progress=options.progress,
        stop=options.stop,
        applied=counting.note,
    )
    try:
        with local_disk_errors(store.path):
            report = copy_units(watched.source, watched.target, watched.source.units(options.selection), copying)
    finally:
        counting.flush()
    return PullReport(
        name,
        url,
        problems=tuple(report.problems),
        notes=tuple(report.notes),
        bytes=report.bytes,
        **counting.counts,
    )


def _look(watched: WatchedCopy, counting: _Counting, options: PullOptions) -> None:
    """Count what would be copied."""
    held = watched.target.tokens(watched.source.info().store_id)
    for unit in watched.source.units(options.selection):
        if is_held(held.get(unit.unit, ""), unit.token, options.artifact_bytes_max):
            continue
        try:
            snapshot = watched.source.snapshot(unit.unit, artifact_bytes_max=options.artifact_bytes_max)
            needs = watched.target.needs(snapshot)
        except NotFoundError:
            continue
        except TransferError as error:
            counting.problems.append(str(error))
            continue
        counting.count(snapshot, [state for state, _ in entries_of(snapshot, needs)])


class _Counting:
    """Counts what was copied, and notes in the ledger that it need not be sent back."""

    def __init__(self, store: Store, watched: WatchedCopy, ledger: Ledger | None) -> None:
        self.counts: dict[str, Any] = Counter()
        self.problems: list[str] = []
        self._store = store
        self._watched = watched
        self._ledger = ledger
        self._before = store.heads()
        self._lines: list[dict[str, Any]] = []

    def count(self, snapshot: UnitSnapshot, lacking: list[FileState]) -> bool:
        """Count one unit of which these files are lacking; returns whether there are any."""
        area, _, name = snapshot.unit.partition("/")
        if not lacking:
            return False
        artifacts = [state for state in lacking if state.path.startswith(ARTIFACTS)]
        self.counts["artifacts"] += len(artifacts)
        self.counts["artifact_bytes"] += sum(state.size for state in artifacts)
        if area == "runs":
            self.counts["runs"] += 1
            self.counts["created"] += name not in self._before
        elif area in ("models", "traces"):
            self.counts["logged_models" if area == "models" else "traces"] += 1
        return True

    def note(self, applied: Applied) -> None:
        """Take in what came of one unit."""
        snapshot, lacking = self._watched.take(applied.unit)
        if snapshot is None or (applied.problems and not applied.files):
            return
        is_new = self.count(snapshot, lacking)
        if applied.unit.startswith(RUNS):
            self._note_run(applied, snapshot, is_new=is_new)

    def _note_run(self, applied: Applied, snapshot: UnitSnapshot, *, is_new: bool) -> None:
        run_id = applied.unit.removeprefix(RUNS)
        before = self._before.get(run_id)
        if not is_new and self._ledger is None:
            return
        try:
            run = self._store.run(run_id)
        except NotFoundError:
            return
        head = run.head()
        self.counts["points"] += max(0, head.points - (before.points if before is not None else 0))
        if is_thin(applied.token):
            missing = (not os.path.lexists(run.folder.artifacts / each.path) for each in run.artifacts)
            self.counts["skipped_artifacts"] += sum(missing)
        if self._ledger is None:
            return
        entry = self._ledger.run(run_id)
        was_settled = before is None or entry.is_settled_at(before)
        if was_settled and applied.token:  # all of it came from there
            positions = {writer.writer: writer.position for writer in run.writers()}
            copied = RunEntry(
                events={writer: position.events for writer, position in positions.items()},
                points={writer: position.points for writer, position in positions.items()},
                artifacts={name: state.sha256 for name, state in artifacts_in(snapshot).items()},
            )
            self._lines += run_lines(head, entry, copied, settled=True)

    def flush(self) -> None:
        """Write the ledger."""
        if self._lines and self._ledger is not None:
            self._ledger.copied(self._lines)
            self._lines = []

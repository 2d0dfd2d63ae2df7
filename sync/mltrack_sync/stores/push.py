"""A push to a store: what it lacks is copied, and the ledger notes what it has then."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from mltrack.errors import MltrackError, NotFoundError
from mltrack.text.counting import plural
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.ledger.stores import differs_line, run_lines, store_line, unit_line
from mltrack_sync.remotes.pending import is_run_pending
from mltrack_sync.report import RUN_NAMES_MAX, PushReport
from mltrack_sync.stores.copying import CopyOptions, copy_units
from mltrack_sync.stores.local_source import RUNS, LocalSource, head_of
from mltrack_sync.stores.pending import least_bound
from mltrack_sync.stores.repair import discard_differing
from mltrack_sync.stores.transfer import is_held, whole_token
from mltrack_sync.stores.watched import ARTIFACTS, WatchedCopy, artifacts_in

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from mltrack_sync.remotes.kind import PushWork
    from mltrack_sync.stores.far_store import FarStore
    from mltrack_sync.stores.transfer import Applied, UnitSnapshot

__all__ = ["push_to_store"]

LINES_AT_ONCE = 500
"""The ledger is written after so many lines: what it does not have yet is looked at again by the next push."""


def push_to_store(work: PushWork, far: FarStore) -> PushReport:
    """Copy what is selected and new.

    Raises:
        RemoteError, StoreError, OSError: the other store can't be used any more.
    """
    options = work.options
    bound = least_bound(options.artifact_bytes_max, work.remote)
    source = LocalSource(work.store, hashing=not far.in_process, clock=options.clock)
    if far.info.store_id != work.ledger.state.copied.store_id:
        work.ledger.copied([store_line(far.info.store_id)])
    known = work.ledger.state.copied
    differing = known.differing
    watched = WatchedCopy(source, far.target, look_again=options.retry_rejected, differing=differing, noted=known.units)
    kept: list[str] = []
    if options.repair:
        units = {unit.unit for unit in source.units(options.selection)}
        kept += discard_differing(work.store, source, far, differing, units)
    noting = _Noting(work, watched, differing)
    copying = CopyOptions(
        artifact_bytes_max=bound,
        workers=min(options.jobs, far.workers),
        pace=options.pace,
        progress=options.progress,
        stop=options.stop,
        applied=noting.note,
    )
    try:
        report = copy_units(watched.source, watched.target, watched.source.units(options.selection), copying)
        if not report.stopped:
            noting.note_held()
    finally:
        noting.flush()
    return PushReport(
        work.remote.name,
        work.remote.url,
        problems=(*kept, *report.problems),
        notes=(
            *(f"on {work.remote.name}: {note}" for note in report.notes),
            *_unlike_words(noting.unlike, work.remote.name),
        ),
        bytes=report.bytes,
        run_names=tuple(noting.run_names),
        **noting.counts,
    )


def _unlike_words(count: int, name: str) -> tuple[str, ...]:
    if not count:
        return ()
    what = f"{plural(count, 'file')} {'has' if count == 1 else 'have'} another content on {name}"
    return (f"{what}: mltrack sync {name} --repair replaces what is sound here",)


class _Noting:
    """Counts what was copied, and writes it down in the ledger."""

    def __init__(self, work: PushWork, watched: WatchedCopy, differing: Mapping[str, Sequence[str]]) -> None:
        self._differing = differing
        self.run_names: list[str] = []
        self.unlike = 0
        """How many files have another content on the remote, and were not replaced."""

        self.counts: dict[str, Any] = Counter()
        self._work = work
        self._watched = watched
        self._lines: list[dict[str, Any]] = []
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def note(self, applied: Applied) -> None:
        """Take in what came of one unit."""
        snapshot, lacking = self._watched.take(applied.unit)
        self._seen.add(applied.unit)
        if snapshot is None or (applied.problems and not applied.files):
            return
        if applied.unit in self._differing and applied.token:
            self._note_same(applied.unit, snapshot, {state.path for state in lacking})
        if applied.unit.startswith(RUNS):
            artifacts = {name: state.sha256 for name, state in artifacts_in(snapshot).items()} if applied.token else {}
            sent = sum(state.path.startswith(ARTIFACTS) for state in lacking)
            self._note_run(applied, snapshot, artifacts, sent)
            self.counts["artifact_bytes"] += sum(state.size for state in lacking if state.path.startswith(ARTIFACTS))
        else:
            self._note_other(applied)
        if len(self._lines) >= LINES_AT_ONCE:
            self.flush()

    def _note_same(self, unit: str, snapshot: UnitSnapshot, copied: Container[str]) -> None:
        """Note that a unit no longer differs, but for files that have another content there still."""
        on_both = {state.path for state in snapshot.files}
        left = [path for path in self._differing[unit] if path in on_both and path not in copied]
        if list(self._differing[unit]) != left or not left:
            self._lines.append(differs_line(unit, differs=bool(left), files=left))
        self.unlike += len(left)

    def _note_run(self, applied: Applied, snapshot: UnitSnapshot, artifacts: dict[str, str], sent: int) -> None:
        run_id = applied.unit.removeprefix(RUNS)
        try:
            head = head_of(snapshot) or self._work.store.run(run_id).head()
        except NotFoundError:  # it was removed since
            return
        entry = self._work.ledger.run(run_id)
        if applied.bytes or applied.files or is_run_pending(head, self._work.ledger.state):
            self.counts["runs"] += 1
            if len(self.run_names) < RUN_NAMES_MAX:
                self._name(run_id)
            self.counts["created"] += not entry.remote_id
        self.counts["points"] += sum(max(0, end - entry.points.get(w, 0)) for w, end in applied.points.items())
        self.counts["artifacts"] += sent
        copied = RunEntry(events=applied.events, points=applied.points, artifacts=artifacts)
        settled = self._is_settled(applied)
        self._lines += run_lines(head, entry, copied, settled=settled)
        if settled and not head.live:
            self._lines.append(unit_line(applied.unit, whole_token(applied.token)))

    def _name(self, run_id: str) -> None:
        with contextlib.suppress(MltrackError):  # it was removed meanwhile, or can't be read: then its name is not said
            self.run_names.append(self._work.store.run(run_id).info.run_name)

    def _is_settled(self, applied: Applied) -> bool:
        """Whether the remote has all that it is to have of the unit; a copy thinner than the remote's own is not."""
        bound = self._work.remote.max_artifact_size
        return bool(applied.token) and is_held(applied.token, whole_token(applied.token), bound)

    def _note_other(self, applied: Applied) -> None:
        area = applied.unit.partition("/")[0]
        if applied.bytes or applied.files:
            self.counts["logged_models"] += area == "models"
            self.counts["traces"] += area == "traces"
        if applied.token:
            self._lines.append(unit_line(applied.unit, applied.token))

    def note_held(self) -> None:
        """Note runs that the remote said it holds whole, and of which the ledger did not know that."""
        held, bound = self._watched.target.held, self._work.remote.max_artifact_size
        for unit, token in self._watched.source.tokens.items():
            if unit.startswith(RUNS) and unit not in self._seen and is_held(held.get(unit, ""), token, bound):
                with contextlib.suppress(NotFoundError):  # it was removed meanwhile
                    self._note_held(unit, token)

    def _note_held(self, unit: str, token: str) -> None:
        run_id = unit.removeprefix(RUNS)
        run = self._work.store.run(run_id)
        positions = {writer.writer: writer.position for writer in run.writers()}
        copied = RunEntry(
            events={writer: position.events for writer, position in positions.items()},
            points={writer: position.points for writer, position in positions.items()},
            artifacts={artifact.path: artifact.sha256 for artifact in run.artifacts},
        )
        self._lines += run_lines(run.head(), self._work.ledger.run(run_id), copied, settled=True)
        self._lines.append(unit_line(unit, token))

    def flush(self) -> None:
        """Write the ledger."""
        with self._lock:
            lines, self._lines = self._lines, []
            if lines:
                self._work.ledger.copied(lines)

"""A push to a lake: what is new of the selected runs and other things goes there in a few batches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.errors import CorruptionError, NotFoundError, RemoteError, StoreError
from mltrack_sync.errors import PushStopped
from mltrack_sync.lake.batches import Batches
from mltrack_sync.lake.blobs import Blobs
from mltrack_sync.lake.failures import no_lake
from mltrack_sync.lake.gathering import Gathering
from mltrack_sync.lake.known import KnownRuns, also_sent, find_known_runs, last_numbers
from mltrack_sync.lake.named import named_contents
from mltrack_sync.lake.notes import NoteFile
from mltrack_sync.lake.other_rows import OtherRows
from mltrack_sync.lake.pending import pending_units, with_fork_sources
from mltrack_sync.lake.run_batches import RunSender
from mltrack_sync.lake.scan import LakeScan
from mltrack_sync.ledger.lake import lake_line
from mltrack_sync.remotes.ledgers import ledger_path
from mltrack_sync.remotes.pending import is_run_pending
from mltrack_sync.report import PushReport

if TYPE_CHECKING:
    from mltrack.disk.filesystem import FileSystem
    from mltrack_sync.lake.other_rows import UnitRows
    from mltrack_sync.lake.tables import LakeTables
    from mltrack_sync.remotes.kind import PushWork

__all__ = ["push_to_lake"]


def push_to_lake(work: PushWork, tables: LakeTables, fs: FileSystem) -> PushReport:
    """Send what is selected and new.

    Args:
        work: What is selected, and the ledger.
        tables: The lake.
        fs: Writes the note of a batch.

    Raises:
        RemoteError: the lake can't be used, or the ledger can't be written.
        StoreError, OSError: the store can't be read.
    """
    heads = with_fork_sources(work.store, work.heads, work.options.selection)
    return _Push(replace(work, found_heads=heads), tables, fs).run()


class _Push:
    """One push."""

    def __init__(self, work: PushWork, tables: LakeTables, fs: FileSystem) -> None:
        self._work = work
        self._tables = tables
        self._store_id = work.store.store_id
        note = NoteFile(ledger_path(work.store, work.remote).parent, fs=fs)
        self._batches = Batches(tables, work.ledger, note, self._store_id)
        self._note = note
        self._counts: dict[str, Any] = Counter()
        self._problems: list[str] = []
        self._new_runs: set[str] = set()
        self._sent_twice: list[str] = []
        self._runs_version = -1
        self._blobs = Blobs(
            tables.files,
            named=lambda: named_contents(LakeScan(tables)),
            pace=work.options.stoppable_pace,
            progress=work.options.progress,
            stop=work.options.stop,
        )
        self._gathering = Gathering(tables.files, self._store_id)

    def run(self) -> PushReport:
        state = self._work.ledger.state
        units = pending_units(self._work.store, state, self._work.options.selection)
        is_new = not state.lake.numbers or bool(state.damage)
        pending = self._pending()
        has_work = bool(pending or units or self._note.exists())
        if has_work or not is_new:
            self._open(known=not is_new)
        if has_work:
            is_lost = self._batches.resume()
            known = self._take_known(everything=is_new or is_lost)
            self._runs_version = known.version
            self._send_runs(known)
            self._send_others(units)
            self._commit()
        return self._report()

    def _open(self, *, known: bool) -> None:
        """Find the lake that was pushed to, or make it where nothing was sent yet."""
        if not self._tables.check(create=not known) and known:
            raise no_lake(self._tables.place.uri)
        self._batches.check_place()

    def _pending(self) -> list[str]:
        state = self._work.ledger.state
        heads = self._work.heads
        return [run_id for run_id in sorted(heads) if is_run_pending(heads[run_id], state)]

    def _take_known(self, *, everything: bool) -> KnownRuns:
        """Note what the lake has of runs that the ledger does not know, as it was lost, or that another store sends."""
        work = self._work
        pending = self._pending()
        asked = pending
        if not everything:
            sent = {run_id for run_id in pending if work.ledger.run(run_id).remote_id}
            shared = also_sent(self._tables, self._store_id, sent) if sent else ()
            asked = [run_id for run_id in pending if run_id not in sent or run_id in shared]
        known = find_known_runs(self._tables, work.store, self._store_id, asked, everything=everything)
        lines = [line for run_id in asked for line in known.lines(run_id, work.ledger.run(run_id), lost=everything)]
        numbers = last_numbers(self._tables, self._store_id) if everything else {}
        if numbers:
            lines.append(lake_line(numbers))
        if lines:
            work.ledger.copied(lines)
        return known

    # --- runs ---

    def _send_runs(self, known: KnownRuns) -> None:
        work = self._work
        pending = self._pending()
        work.options.progress.started(runs=len(pending), points=sum(self._points_waiting(run_id) for run_id in pending))
        sender = RunSender(work, self._gathering, self._blobs, known)
        for run_id in pending:
            if work.options.stop.is_set():
                break
            self._send_run(sender, run_id)
            work.options.progress.run_done()

    def _points_waiting(self, run_id: str) -> int:
        return max(0, self._work.heads[run_id].points - sum(self._work.ledger.run(run_id).points.values()))

    def _send_run(self, sender: RunSender, run_id: str) -> None:
        is_created = not self._work.ledger.run(run_id).remote_id
        try:
            sent = sender.send(run_id, on_full=self._commit)
        except NotFoundError:
            return  # removed meanwhile
        except PushStopped:
            return  # what was gathered of it is committed
        except (CorruptionError, OSError) as error:
            self._problems.append(f"run {run_id}: {error}")
            return
        self._problems += sent.problems
        self._counts.update(sent.counts)
        self._counts["runs"] += 1
        self._counts["created"] += is_created
        self._new_runs |= {run_id} if is_created else set()
        if self._gathering.is_full:
            self._commit()

    # --- others ---

    def _send_others(self, units: dict[str, str]) -> None:
        if not units or self._work.options.stop.is_set():
            return
        others = OtherRows(self._work.store, self._tables, self._batches, self._blobs, self._work.ledger.state)
        for unit, token in units.items():
            try:
                for found in others.of_unit(unit, token):
                    self._gather(found)
            except NotFoundError:
                continue
            except PushStopped:
                return
            except RemoteError:
                raise
            except (StoreError, OSError) as error:
                self._problems.append(f"{unit}: {error}")

    def _gather(self, found: UnitRows) -> None:
        for table, rows in found.rows.items():
            self._gathering.add_rows(table, rows)
        self._gathering.lines += found.lines
        self._problems += found.problems
        self._counts.update(found.counts)
        if self._gathering.is_full:
            self._commit()

    # --- batches ---

    def _commit(self) -> None:
        """Commit what was gathered, and begin the next batch in the same object, since others have it."""
        gathering = self._gathering
        if gathering.is_empty:
            return
        self._blobs.settle()
        staged = gathering.finish()
        self._batches.commit(staged, gathering.lines)
        size = sum(file.size for file in staged)
        self._counts["bytes"] += size
        self._counts["requests"] += len({file.table for file in staged})
        self._work.options.progress.advanced(points=gathering.points, body=size)
        gathering.clear()
        self._look_for_others()

    def _look_for_others(self) -> None:
        """See whether another store sent new runs of this batch while it was made."""
        version = self._tables.versions.get("runs", -1)
        if self._new_runs and version > self._runs_version + 1:
            self._sent_twice += also_sent(self._tables, self._store_id, self._new_runs)
        self._runs_version = max(version, self._runs_version)
        self._new_runs.clear()

    def _report(self) -> PushReport:
        work = self._work
        rejected = tuple(item for item in work.ledger.state.rejected.values() if item.run_id in work.heads)
        return PushReport(
            work.remote.name,
            work.remote.url,
            problems=tuple(self._problems),
            rejected=rejected,
            notes=(*_notes(self._tables.collisions), *_twice(self._sent_twice)),
            **self._counts,
        )


def _twice(run_ids: list[str]) -> tuple[str, ...]:
    if not run_ids:
        return ()
    words = f"run {run_ids[0]}" if len(run_ids) == 1 else f"{len(run_ids):,} runs, as {run_ids[0]},"
    return (f"another store sent {words} at the same moment: mltrack lake repair leaves what is there twice once",)


def _notes(collisions: int) -> tuple[str, ...]:
    if not collisions:
        return ()
    words = "1 commit" if collisions == 1 else f"{collisions:,} commits"
    return (f"{words} of other machines came in between; this one's were made after them",)

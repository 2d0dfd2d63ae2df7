"""One run's part of a batch: its new points, the contents of its files, its new events, and at last the run itself."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.errors import CorruptionError, NotFoundError
from mltrack_sync.errors import PushStopped
from mltrack_sync.lake.blobs import BlobChangedError, digest_of
from mltrack_sync.lake.fact_rows import Row, fact_rows, run_row
from mltrack_sync.lake.layout import month_of, shard_of
from mltrack_sync.lake.pending import LOGS, least_bound, waiting_artifacts
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.ledger.stores import run_lines

if TYPE_CHECKING:
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.lake.blobs import Blobs
    from mltrack_sync.lake.gathering import Gathering
    from mltrack_sync.lake.known import KnownRuns
    from mltrack_sync.remotes.kind import PushWork

__all__ = ["RunSender", "SentRun"]

OnFull = Callable[[], None]


@dataclass(slots=True)
class SentRun:
    """What was gathered of a run."""

    counts: dict[str, Any] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RunSender:
    """Gathers runs.

    Attributes:
        work: What is pushed.
        gathering: The batch.
        blobs: Takes the contents of files.
        known: What the lake was found to have.
    """

    work: PushWork
    gathering: Gathering
    blobs: Blobs
    known: KnownRuns

    def send(self, run_id: str, *, on_full: OnFull) -> SentRun:
        """Gather what is new of a run.

        Args:
            run_id: The run.
            on_full: Is called when the batch is full in the middle of the run.

        Raises:
            NotFoundError: there is no such run any more.
            CorruptionError, OSError: it can't be read, or is being copied here.
            RemoteError: something can't be sent.
            PushStopped: the push is to stop.
        """
        run = self.work.store.run(run_id)
        visibility = run.state.visibility
        if visibility is not None and visibility.hidden:  # the same points by other writers, which a lake would keep
            raise OSError("its copy from another store is not complete: run the same pull again")
        sent = SentRun()
        done = dict(self.work.ledger.run(run_id).points)
        try:
            self._points(run, done, sent, on_full)
            self._facts(run, done, sent)
        except (NotFoundError, CorruptionError, OSError, PushStopped):
            self._acknowledge(run_id, RunEntry(points=done), settled=False)  # these points are in the batch
            raise
        return sent

    def _acknowledge(self, run_id: str, copied: RunEntry, *, settled: bool) -> None:
        entry = self.work.ledger.run(run_id)
        self.gathering.lines += run_lines(self.work.heads[run_id], entry, copied, settled=settled)

    def _points(self, run: StoredRun, done: dict[str, int], sent: SentRun, on_full: OnFull) -> None:
        """Gather new points, hidden ones, too, and move ``done`` along."""
        partition = (month_of(run.info.start_time), shard_of(run.run_id))
        for writer, points in run.read_points(dict(done), rewinds=()):
            self.gathering.add_points(partition, run.run_id, writer, points)
            sent.counts["points"] += len(points)
            done[writer] = int(points.seqs[-1]) + 1
            if self.gathering.is_full:
                self._acknowledge(run.run_id, RunEntry(points=done), settled=False)
                on_full()

    def _facts(self, run: StoredRun, done: dict[str, int], sent: SentRun) -> None:
        """Gather everything but points; nothing is added to the batch before all of it was read."""
        entry = self.work.ledger.run(run.run_id)
        artifacts, is_whole = self._files(run, sent)
        logs = self._logs(run, entry)
        damage: list[CorruptionError] = []
        rows, events = fact_rows(
            self.gathering.store_id, run.run_id, run.folder.events, entry.events, report=damage.append
        )
        run.refresh()
        copied = RunEntry(events=events, points=done, artifacts=artifacts | {LOGS + row[2]: row[4] for row in logs})
        last = self._run_rows(run, entry, copied)
        found = [*damage, *run.damage]
        sent.problems += [f"run {run.run_id}: {error}" for error in found]
        for table, those in [*rows.items(), ("files", logs), ("runs", last)]:
            self.gathering.add_rows(table, those)
        self._acknowledge(run.run_id, copied, settled=is_whole and not found)
        for table in ("params", "tags", "datasets"):
            sent.counts[table] += len(rows.get(table, ()))

    def _run_rows(self, run: StoredRun, entry: RunEntry, copied: RunEntry) -> list[Row]:
        """The row of the run, unless the lake has the very same."""
        events, points = {**entry.events, **copied.events}, {**entry.points, **copied.points}
        revision = self.work.ledger.state.lake.numbers.get("runs", 0) + 1
        row = run_row(self.gathering.store_id, run, sum(events.values()), sum(points.values()), revision)
        return [] if self.known.rows.get(run.run_id) == row[:-1] else [row]

    # --- files ---

    def _files(self, run: StoredRun, sent: SentRun) -> tuple[dict[str, str], bool]:
        """Send the contents that the lake lacks: those it has now, by path, and whether all that is here went."""
        entry = self.work.ledger.run(run.run_id)
        bound = least_bound(self.work.options.artifact_bytes_max, self.work.remote)
        waiting = waiting_artifacts(run, entry, bound)
        done: dict[str, str] = {}

        def send(item: Any) -> str | None:
            try:
                path = run.artifact_path(item.path)
                self.blobs.put(path, item.sha256, item.size)
            except (BlobChangedError, NotFoundError, OSError) as error:
                return f"run {run.run_id}: artifact {item.path!r}: {error}"
            return None

        with ThreadPoolExecutor(self.work.options.jobs) as pool:
            for item, problem in zip(waiting, pool.map(send, waiting), strict=True):
                if problem is None:
                    done[item.path] = item.sha256
                    sent.counts["artifacts"] += 1
                    sent.counts["artifact_bytes"] += item.size
                else:
                    sent.problems.append(problem)
        return done, len(done) == len(waiting)

    def _logs(self, run: StoredRun, entry: RunEntry) -> list[Row]:
        """The journals of rich values of writers that have ended, which only a pull needs: rows of new ones."""
        rows: list[Row] = []
        for writer in run.writers():
            name = f"series/{writer.writer}.jsonl"
            path = run.folder.path / name
            if writer.alive or not os.path.isfile(path):
                continue
            sha256, size = digest_of(path), os.stat(path).st_size
            if entry.artifacts.get(LOGS + name) != sha256:
                self.blobs.put(path, sha256, size)
                rows.append((self.gathering.store_id, run.run_id, name, size, sha256))
        return rows

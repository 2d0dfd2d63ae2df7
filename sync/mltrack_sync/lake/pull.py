"""A pull from a lake: runs come back as themselves, with what belongs to them; what the store has is not read."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.errors import MltrackError, NotFoundError, RemoteError
from mltrack.storage.runs.point_sources import INHERITED
from mltrack_sync.lake.pull_others import OthersPull
from mltrack_sync.lake.run_source import RunFiles
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.ledger.stores import run_lines
from mltrack_sync.remotes.pending import is_run_pending
from mltrack_sync.report import PullReport
from mltrack_sync.stores.local_target import LocalTarget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.catalog.search import RunRecord
    from mltrack.entities import Artifact
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.lake.lake import Lake
    from mltrack_sync.remotes.kind import PullWork

__all__ = ["pull_from_lake"]

PAGE_RUNS = 1_000


def pull_from_lake(work: PullWork, lake: Lake, *, fs: FileSystem = LOCAL) -> PullReport:
    """Bring what is selected in the lake and new here.

    Args:
        work: The store, the selection, and the ledger.
        lake: The lake.
        fs: Writes to the store.

    Raises:
        RemoteError: the lake can't be read.
        NotFoundError, FilterError: the selection names what the lake does not have, or is not valid.
        StoreError, OSError: the store can't be written.
    """
    return _Pull(work, lake, fs).run()


class _Pull:
    """One pull."""

    def __init__(self, work: PullWork, lake: Lake, fs: FileSystem) -> None:
        self._work = work
        self._lake = lake
        self._target = LocalTarget(work.store, fs=fs)
        self._counts: dict[str, Any] = Counter()
        self._problems: list[str] = []
        self._others = OthersPull(work.store, lake, work.options, self._counts, self._problems)

    def run(self) -> PullReport:
        run_ids = set()
        for record in self._with_fork_sources():
            run_ids.add(record.run_id)
            if self._work.options.stop.is_set():
                break
            try:
                self._bring(record)
            except RemoteError:
                raise
            except (MltrackError, OSError) as error:
                self._problems.append(f"run {record.run_id}: {error}")
        if not self._work.options.stop.is_set():
            self._others.run(run_ids)
        options, remote = self._work.options, self._work.remote
        return PullReport(
            remote.name, remote.url, dry_run=options.dry_run, problems=tuple(self._problems), **self._counts
        )

    def _selected(self) -> Iterator[RunRecord]:
        selection = self._work.options.selection
        wanted = {self._lake.run(text).run_id for text in selection.runs}
        token: str | None = None
        while True:
            page = self._lake.search_runs(
                filter_string=selection.filter,
                run_view_type="ALL",
                max_results=PAGE_RUNS,
                page_token=token,
                experiment_names=selection.experiments or None,
            )
            yield from (record for record in page if not wanted or record.run_id in wanted)
            token = page.token
            if token is None:
                return

    def _with_fork_sources(self) -> Iterator[RunRecord]:
        """What is selected; before a fork the runs whose points it begins with."""
        sources = self._lake.fork_sources()
        seen: set[str] = set()
        for record in self._selected():
            for run_id in sources.get(record.run_id, ()):
                if run_id not in seen:
                    seen.add(run_id)
                    yield from self._fork_source(record.run_id, run_id)
            if record.run_id not in seen:
                seen.add(record.run_id)
                yield record

    def _fork_source(self, fork_id: str, run_id: str) -> Iterator[RunRecord]:
        try:
            yield self._lake.run(run_id).record
        except NotFoundError:
            if run_id not in self._work.store.run_ids():
                self._problems.append(
                    f"run {fork_id} was forked from run {run_id}, which the lake does not have:"
                    " points from before the fork are missing"
                )

    def _bring(self, record: RunRecord) -> None:
        run_id = record.run_id
        store, options = self._work.store, self._work.options
        here: StoredRun | None = None
        with contextlib.suppress(NotFoundError):
            here = store.run(run_id)
        before = here.head() if here is not None else None
        held = {writer.writer: writer.position for writer in here.writers()} if here is not None else {}
        wanted = list(self._artifacts(run_id, here))
        events, points = self._lake.sizes_of(run_id)
        is_held = before is not None and before.events >= events and before.points >= points
        is_sent = before is not None and not is_run_pending(before, self._work.ledger.state)
        if is_held and is_sent and not wanted:  # else what is new here may be as much as what is new there
            return
        scan = self._lake.scan()
        files = RunFiles(scan, record.info, wanted, {name: each.points for name, each in held.items()}, options.clock())
        with contextlib.closing(files):
            snapshot = files.snapshot()
            needs = self._target.needs(snapshot)
            if not needs:
                return
            self._counts["runs"] += 1
            self._counts["created"] += before is None
            sizes = {state.path: state.size for state in snapshot.files}
            files_needed = [need.path for need in needs if need.path.startswith("artifacts/")]
            self._counts["artifacts"] += len(files_needed)
            self._counts["artifact_bytes"] += sum(sizes[path] for path in files_needed)
            if options.dry_run:
                self._counts["points"] += files.new_points
                return
            self._others.experiment(record.info.experiment_id, record.info.experiment_name)
            applied = self._target.apply(snapshot, files.pieces(snapshot, needs))
        self._problems += applied.problems
        self._counts["bytes"] += applied.bytes
        self._note(run_id, before.points if before is not None else 0, 0 if here is None else _own_points(here))

    def _artifacts(self, run_id: str, here: StoredRun | None) -> Iterator[Artifact]:
        """Those whose content is wanted, in the lake, and not here."""
        options = self._work.options
        for each in self._lake.run(run_id).artifacts:
            bound = options.artifact_bytes_max
            is_small = bound is None or each.size <= bound > 0
            if here is not None and (here.folder.artifacts / each.path).is_file():
                continue
            if not is_small or not options.wants_artifact(each.path):
                self._counts["skipped_artifacts"] += 1
            elif self._lake.has_content(each):
                yield each

    def _note(self, run_id: str, points_before: int, own_before: int) -> None:
        """Count what came, and note in the ledger that it need not be sent back."""
        run = self._work.store.run(run_id)
        head = run.head()
        self._counts["points"] += max(0, _own_points(run) - own_before)
        positions = {writer.writer: writer.position for writer in run.writers()}
        files = {each.path: each.sha256 for each in run.artifacts}
        copied = RunEntry(
            events={writer: position.events for writer, position in positions.items()},
            points={writer: position.points for writer, position in positions.items()},
            artifacts={path: sha256 for path, sha256 in files.items() if (run.folder.artifacts / path).is_file()},
        )
        if points_before == 0:
            self._work.ledger.copied(run_lines(head, self._work.ledger.run(run_id), copied, settled=True))


def _own_points(run: StoredRun) -> int:
    """How many points are in the run's own files."""
    return sum(writer.position.points for writer in run.writers() if writer.role != INHERITED)

"""A store compared with a lake: all rows of each run by their digests, contents of files by their SHA-256."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.lake.blobs import BLOBS, blob_digest
from mltrack_sync.lake.digests import LOCAL, REMOTE, Digests, differing, hashed_columns
from mltrack_sync.lake.fact_rows import FACT_TABLES, fact_rows, run_row, table_of
from mltrack_sync.lake.failures import no_lake
from mltrack_sync.lake.layout import TABLES, month_of, shard_of
from mltrack_sync.lake.point_rows import PointPiece, point_rows
from mltrack_sync.lake.scan import LakeScan
from mltrack_sync.lake.summaries import summaries_of
from mltrack_sync.lake.verify_units import compare_units
from mltrack_sync.report import Difference, VerifyReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store
    from mltrack_sync.lake.tables import LakeTables
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.remotes.options import VerifyOptions

__all__ = ["compare_with_lake"]

RUNS_AT_ONCE = 500
"""So many runs are compared with one scan of each table."""


def compare_with_lake(
    store: Store, tables: LakeTables, remote: Remote, options: VerifyOptions, *, known: bool
) -> VerifyReport:
    """Compare what is selected with the lake; nothing is changed.

    In full, every point and every distinct file is read once in the lake; in quick mode, points are compared by the
    summaries of their metrics, and files by their sizes.

    Args:
        store: The store.
        tables: The lake.
        remote: The lake as a remote.
        options: What is compared, and how.
        known: Whether something was pushed to it: then the lake must exist.

    Raises:
        RemoteError: the lake can't be read.
        NotFoundError, FilterError: the selection is not valid.
        StoreError, OSError: the store can't be read.
    """
    if not tables.check(create=False) and known:
        raise no_lake(tables.place.uri)
    comparison = _Comparison(store, LakeScan(tables), remote, options)
    run_ids = sorted(options.selection.heads(store))
    for at in range(0, len(run_ids), RUNS_AT_ONCE):
        comparison.compare(run_ids[at : at + RUNS_AT_ONCE])
    if not options.runs_only:
        compare_units(store, comparison.scan, options.selection, comparison.differences, comparison.counts)
    return VerifyReport(
        remote.name,
        remote.url,
        quick=options.quick,
        differences=tuple(comparison.differences),
        **comparison.counts,
    )


class _Comparison:
    """One comparison of a store with a lake."""

    def __init__(self, store: Store, scan: LakeScan, remote: Remote, options: VerifyOptions) -> None:
        self.scan = scan
        self.differences: list[Difference] = []
        self.counts: dict[str, Any] = Counter()
        self._store = store
        self._options = options
        self._remote = remote
        self._sizes: dict[str, int] | None = None
        self._hashed: dict[str, bool] = {}

    def compare(self, run_ids: Sequence[str]) -> None:
        """Compare some runs."""
        runs: dict[str, StoredRun] = {}
        for run_id in run_ids:
            with contextlib.suppress(NotFoundError):  # removed meanwhile
                runs[run_id] = self._store.run(run_id)
        before = len(self.differences)
        with contextlib.closing(Digests()) as digests:
            self._facts(digests, runs)
            if not self._options.quick:
                self._points(digests, runs)
        self._run_rows(runs)
        self._summaries(runs)
        differing_runs = {each.run_id for each in self.differences[before:]}
        for run_id, run in runs.items():
            self._artifacts(run)
            self._count(run, equal=run_id not in differing_runs)
            self._options.on_run(run_id)

    def _differs(self, run_id: str, thing: str, here: object, far: object, kind: str = "run", key: str = "") -> None:
        self.differences.append(Difference(run_id, thing, str(here), str(far), kind, key))

    # --- rows ---

    def _facts(self, digests: Digests, runs: dict[str, StoredRun]) -> None:
        for run_id, run in runs.items():
            damage: list[MltrackError] = []
            rows, _ = fact_rows(self._store.store_id, run_id, run.folder.events, {}, report=damage.append)
            for error in damage:
                self._differs(run_id, "events", error, "not compared")
            for name, found in rows.items():
                digests.add(LOCAL, name, table_of(name, found))
        for name in FACT_TABLES:
            columns = list(dict.fromkeys(["run_id", "writer", *hashed_columns(name)]))
            digests.add_all(REMOTE, name, self.scan.batches(name, columns, {"run_id": runs}))
            self._report(digests, name, name)

    def _points(self, digests: Digests, runs: dict[str, StoredRun]) -> None:
        partitions = set()
        for run_id, run in runs.items():
            partitions.add((month_of(run.info.start_time), shard_of(run_id)))
            for writer, points in run.read_points(rewinds=()):
                rows = point_rows(self._store.store_id, [PointPiece(run_id, writer, points)])
                digests.add(LOCAL, "points", rows.points)
        months, shards = ({pair[at] for pair in partitions} for at in (0, 1))
        where = {"month": months, "shard": shards, "run_id": runs}
        columns = hashed_columns("points")
        digests.add_all(REMOTE, "points", self.scan.batches("points", columns, where))
        self._report(digests, "points", "points")

    def _report(self, digests: Digests, table: str, thing: str) -> None:
        for run_id, writer, here, far in differing(digests.of(table)):
            words = f"{far.rows:,} rows" if here.rows != far.rows else f"{far.rows:,} rows of other content"
            if far.repeats(here):
                words += f", each more than once: mltrack lake repair {self._remote.name}"
            self._differs(run_id, f"{thing} of writer {writer}", f"{here.rows:,} rows", words)

    def _run_rows(self, runs: dict[str, StoredRun]) -> None:
        names = TABLES["runs"].schema.names
        found = self.scan.rows("runs", where={"run_id": runs})
        columns = [found.column(name) for name in names]
        values = [(c.cast("int64") if str(c.type).startswith("timestamp") else c).to_pylist() for c in columns]
        latest: dict[str, tuple[Any, ...]] = {}
        for row in zip(*values, strict=True):
            if row[1] not in latest or row[-3:] > latest[row[1]][-3:]:
                latest[row[1]] = row
        for run_id, run in runs.items():
            head = run.head()
            mine = run_row(self._store.store_id, run, head.events, head.points, 0)
            theirs = latest.get(run_id)
            if theirs is None:
                self._differs(run_id, "run", "exists", "missing")
                continue
            for name, here, far in list(zip(names, mine, theirs, strict=True))[2:-1]:
                if here != far and not (name == "experiment_name" and self._is_renamed(run)):
                    self._differs(run_id, name, here, far)

    def _is_renamed(self, run: StoredRun) -> bool:
        """Whether the run's experiment has another name now: the table of experiments says that."""
        return run.info.experiment_name != str(run.state.start.get("experiment_name", run.info.experiment_name))

    def _summaries(self, runs: dict[str, StoredRun]) -> None:
        lake = summaries_of(self.scan, runs)
        for run_id, run in runs.items():
            mine = run.summaries
            found = lake.get(run_id, {})
            for key in sorted(mine.keys() | found.keys()):
                here, far = mine.get(key), found.get(key)
                if repr(here) != repr(far):  # NaN equals itself so
                    self._differs(run_id, f"metric {key}", _shown(here), _shown(far), "metric", key)

    # --- files ---

    def _artifacts(self, run: StoredRun) -> None:
        if self._sizes is None:
            self._sizes = {p.rpartition("/")[2]: n for p, n in self.scan.tables.files.sizes(BLOBS).items()}
        for artifact in run.artifacts:
            bound = self._remote.max_artifact_size
            if artifact.remote or (bound is not None and not artifact.size <= bound > 0):
                continue
            size = self._sizes.get(artifact.sha256)
            key = artifact.path
            if size is None and not (run.folder.artifacts / artifact.path).is_file():
                continue  # a copy without this file: nothing here could have been sent
            if size != artifact.size:
                far = "missing" if size is None else f"{size:,} bytes"
                self._differs(run.run_id, f"artifact {key}", f"{artifact.size:,} bytes", far, "artifact", key)
            elif not self._is_intact(artifact.sha256):
                self._differs(run.run_id, f"artifact {key}", artifact.sha256[:16], "other bytes", "artifact", key)
            else:
                self.counts["artifacts"] += 1

    def _is_intact(self, sha256: str) -> bool:
        """Whether the lake's content is what its name says; each is read once."""
        if self._options.quick:
            return True
        if sha256 not in self._hashed:
            assert self._sizes is not None
            self._hashed[sha256] = blob_digest(self.scan.tables.files, sha256) == sha256
            self.counts["artifact_bytes"] += self._sizes[sha256]
        return self._hashed[sha256]

    def _count(self, run: StoredRun, *, equal: bool) -> None:
        self.counts["runs"] += 1
        if not equal:
            return
        self.counts["params"] += len(run.params)
        self.counts["tags"] += len(run.tags)
        self.counts["metrics"] += len(run.summaries)
        self.counts["datasets"] += len(run.datasets)
        if not self._options.quick:
            self.counts["points"] += run.point_count


def _shown(summary: Any) -> str:
    if summary is None:
        return "missing"
    return f"{summary.count:,} points, latest {summary.value!r} at step {summary.step}"

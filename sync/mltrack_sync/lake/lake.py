"""Reading a lake: the runs of all stores that pushed to it, searched, asked in SQL, and their points as Arrow."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.errors import NotFoundError, UsageError
from mltrack.extras import need
from mltrack_sync.lake.places import LakePlace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from mltrack.catalog.search import PagedList, RunRecord
    from mltrack.entities import Artifact, RunData, RunInfo
    from mltrack.errors import CorruptionError
    from mltrack_sync.lake.catalog import LakeCatalog
    from mltrack_sync.lake.scan import LakeScan
    from mltrack_sync.lake.tables import LakeTables

__all__ = ["Lake", "LakeRun"]


class Lake:
    """A lake, open for reading, by its URL: ``mltrack.Lake("s3://bucket/prefix")``, ``mltrack.Lake("delta:/path")``.

    It shows the lake as it was when it was first asked; ``refresh`` shows it as it is now. Credentials come from the
    cloud's own tools and environment variables. Any thread may use it.
    """

    def __init__(self, url: str) -> None:
        """Open it.

        Raises:
            UsageError: the URL is not one of a lake.
            NotFoundError: there is no lake.
            RemoteError: it can't be reached, or is not one that this mltrack knows.
            MissingPackageError: the extra ``lake`` is not installed.
        """
        need("deltalake", "a lake")
        from mltrack_sync.lake.files import files_of
        from mltrack_sync.lake.tables import LakeTables

        self.place = LakePlace.parse(url)
        self.tables: LakeTables = LakeTables(self.place, files_of(self.place))
        if not self.tables.check(create=False):
            raise NotFoundError(f"no lake at {self.place.uri}", hint=f"a push makes it: mltrack sync {self.place.url}")
        self._lock = threading.RLock()
        self._catalog: LakeCatalog | None = None
        self._sizes: dict[str, tuple[int, int]] | None = None

    def __repr__(self) -> str:
        return f"Lake({self.place.url!r})"

    def refresh(self) -> None:
        """Show what was pushed since."""
        with self._lock:
            self.close()

    def close(self) -> None:
        """Free the memory that it uses."""
        with self._lock:
            if self._catalog is not None:
                self._catalog.close()
                self._catalog = self._sizes = None

    def __enter__(self) -> Lake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> LakeCatalog:
        if self._catalog is None:
            from mltrack_sync.lake.catalog import LakeCatalog

            self._catalog = LakeCatalog(self.tables)
        return self._catalog

    def search_runs(
        self,
        experiment_ids: Sequence[str] | None = None,
        filter_string: str = "",
        run_view_type: str | int = "ACTIVE_ONLY",
        max_results: int = 1000,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
        *,
        experiment_names: Sequence[str] | None = None,
        aggregates: Sequence[str] | None = None,
    ) -> PagedList[RunRecord]:
        """Runs that pass a filter, in order, a page at a time; as ``Store.search_runs``.

        Their ``info.artifact_uri`` is empty, as a lake has no folder for each run: ``LakeRun.artifacts`` lists a run's
        files, and ``LakeRun.read_artifact`` reads one.

        Args:
            experiment_ids: Only runs of these.
            filter_string: MLflow's grammar: ``metrics.loss < 0.5 and params.opt = 'adam'``.
            run_view_type: ACTIVE_ONLY, DELETED_ONLY or ALL.
            max_results: The size of a page.
            order_by: As in MLflow: ``["metrics.loss DESC", "start_time"]``.
            page_token: The ``token`` of the page before.
            experiment_names: Only runs of experiments with these names.
            aggregates: What else to give of metrics: ``["min(loss)", "mean(acc)"]``.

        Raises:
            FilterError, UsageError, NotFoundError: as ``Store.search_runs``.
            RemoteError: the lake can't be read.
        """
        from mltrack.catalog.aggregates import add_means
        from mltrack.catalog.search import PagedList, RunQuery, find_runs
        from mltrack_sync.lake.catalog import SEARCHED

        query = RunQuery.parse(
            experiment_ids,
            filter_string,
            run_view_type,
            max_results,
            order_by,
            page_token,
            experiment_names,
            aggregates,
        )
        with self._lock:
            catalog = self._open()
            catalog.fill(SEARCHED)
            found = find_runs(catalog.con, query, self.place.uri)
        found = PagedList(map(_placed, found), found.token)
        values = {run.run_id: run.aggregates for run in found}
        add_means(values, query.aggregates, {run.run_id: LakeRun(self, run) for run in found}.__getitem__, _raised)
        return found

    def sql(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> pa.Table:
        """The result of one SELECT, in DuckDB's SQL, as an Arrow table.

        The views are those of ``Store.sql``: runs, params, tags, metrics, latest_metrics, datasets, artifacts,
        alerts, experiments. A query on ``metrics`` that names a run and a metric reads few files. ``params`` binds
        ``?`` or ``$name``.

        Raises:
            UsageError: it is not a single reading statement, or fails; the message is DuckDB's.
            RemoteError: the lake can't be read.
        """
        from mltrack.catalog.sql import answer_query

        with self._lock:
            catalog = self._open()
            catalog.fill_for(query)
            with contextlib.closing(catalog.con.cursor()) as con:
                return answer_query(con, query, params, prepare=lambda: catalog.add_metrics(con, query))

    def run(self, run_id: str) -> LakeRun:
        """One run, by its id, by the first digits of it, or by its name where that is unique.

        Raises:
            NotFoundError: the lake has no such run.
            UsageError: several runs begin so, or have that name.
            RemoteError: the lake can't be read.
        """
        from mltrack.catalog.search import RunQuery, find_runs

        with self._lock:
            catalog = self._open()
            catalog.fill(["runs"])
            found = self._ids(catalog, run_id)
            catalog.fill_run(found)
            query = RunQuery.parse(filter_string=f"attributes.run_id = '{found}'", run_view_type="ALL")
            (record,) = find_runs(catalog.con, query, self.place.uri)
            return LakeRun(self, _placed(record))

    def _ids(self, catalog: LakeCatalog, text: str) -> str:
        rows = catalog.con.execute(
            "SELECT run_id FROM base.runs WHERE run_id = $text OR (run_name = $text AND $text <> '')"
            " OR (length($text) >= 2 AND starts_with(run_id, $text)) ORDER BY run_id = $text DESC LIMIT 5",
            {"text": text},
        ).fetchall()
        ids = [row[0] for row in rows]
        if not ids:
            raise NotFoundError(f"no run {text!r} in {self.place.uri}", hint="was it pushed?")
        if len(ids) > 1 and ids[0] != text:
            raise UsageError(f"several runs match {text!r}", hint="give more digits of the id: " + ", ".join(ids[:4]))
        return str(ids[0])

    # --- for pulls ---

    def scan(self) -> LakeScan:
        """The lake's tables, as they were when they were first read."""
        with self._lock:
            return self._open().scan

    def sizes_of(self, run_id: str) -> tuple[int, int]:
        """How many events and points of a run the lake has, by the run's last row.

        Raises:
            RemoteError: the lake can't be read.
        """
        with self._lock:
            if self._sizes is None:
                rows = self.scan().rows("runs", ["run_id", "events", "points"])
                self._sizes = {}
                for name, *size in zip(*(rows.column(each).to_pylist() for each in rows.column_names), strict=True):
                    self._sizes[name] = max(self._sizes.get(name, (0, 0)), (size[0], size[1]))
            return self._sizes.get(run_id, (0, 0))

    def fork_sources(self) -> dict[str, list[str]]:
        """By fork the runs that have the points it begins with.

        Raises:
            RemoteError: the lake can't be read.
        """
        with self._lock:
            rows = self.scan().rows("forks", ["run_id", "of_run_id"])
        found: dict[str, list[str]] = {}
        for run_id, source in zip(*(rows.column(each).to_pylist() for each in rows.column_names), strict=True):
            if source not in found.setdefault(run_id, []):
                found[run_id].append(source)
        return found

    def has_content(self, artifact: Artifact) -> bool:
        """Whether the lake has the content of a file.

        Raises:
            RemoteError: that can't be found out.
        """
        from mltrack_sync.lake.blobs import blob_path

        return self.tables.files.size(blob_path(artifact.sha256)) == artifact.size

    def _points(self, info: RunInfo, key: str | None) -> pa.Table:
        from mltrack_sync.lake.series import read_series

        with self._lock:
            return read_series(self._open().scan, info, key)

    def _artifacts(self, run_id: str) -> list[Artifact]:
        from mltrack.entities import Artifact

        with self._lock:
            catalog = self._open()
            catalog.fill(["artifacts"])
            rows = catalog.con.execute(
                "SELECT path, size, sha256, time FROM base.artifacts WHERE run_id = ? ORDER BY path", [run_id]
            ).fetchall()
        return [Artifact(*row) for row in rows]


class LakeRun:
    """A run in a lake: ``info`` and ``data`` as a record of a search has them, its points and its files."""

    def __init__(self, lake: Lake, record: RunRecord) -> None:
        """Use ``Lake.run``."""
        self._lake = lake
        self.record = record

    def __repr__(self) -> str:
        return f"LakeRun({self.run_id!r}, {self.info.run_name!r}, {self.info.status})"

    @property
    def run_id(self) -> str:
        """32 hex digits."""
        return self.record.run_id

    @property
    def info(self) -> RunInfo:
        """Name, experiment, status, times."""
        return self.record.info

    @property
    def data(self) -> RunData:
        """Params, tags and latest metrics."""
        return self.record.data

    @property
    def params(self) -> Mapping[str, str]:
        """Params by key."""
        return self.record.data.params

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags by key."""
        return self.record.data.tags

    @property
    def artifacts(self) -> list[Artifact]:
        """Its files, in order of path."""
        return self._lake._artifacts(self.run_id)

    def metrics(self, key: str | None = None) -> pa.Table:
        """Points as an Arrow table: of one metric ``step, time, value``; of all, ``metric`` before these.

        As ``StoredRun.metrics``: step int64; time timestamp[ns, UTC]; value float64. One writer's points are in the
        order of logging, those of several writers in the order of time.

        Raises:
            NotFoundError: the run has no such metric.
            RemoteError: the lake can't be read.
        """
        return self._lake._points(self.info, key)

    def read_artifact(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            NotFoundError: the run has no such file, or the lake not its content.
            RemoteError: the lake can't be read.
        """
        from mltrack_sync.lake.blobs import blob_path

        for artifact in self.artifacts:
            if artifact.path == path:
                data = self._lake.tables.files.read(blob_path(artifact.sha256))
                if data is None:
                    raise NotFoundError(f"the lake does not have the content of {path!r}", hint="it was left out")
                return data
        raise NotFoundError(f"run {self.run_id} has no artifact {path!r}", hint="see its artifacts")


def _placed(record: RunRecord) -> RunRecord:
    """The record without the address of a folder: a lake has none for each run, but contents by their SHA-256."""
    return replace(record, info=replace(record.info, artifact_uri=""))


def _raised(error: CorruptionError) -> None:
    raise error

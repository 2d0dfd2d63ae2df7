"""A lake's rows as the catalog of a store, in memory: the same searches and SQL views work on both.

Tables are filled when a question needs them, with the rows that count of each thing; points are never copied, but
scanned where they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb

from mltrack.catalog.schema import POINT_COLUMNS, create_tables
from mltrack.catalog.sql import define_metrics, names_metrics
from mltrack_sync.lake.alerts import alert_rows
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.rewinds import HIDDEN_SQL, hidden_table
from mltrack_sync.lake.scan import LakeScan
from mltrack_sync.lake.summaries import SUMMARIES_SQL, summary_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from mltrack_sync.lake.tables import LakeTables

__all__ = ["LakeCatalog"]

_POSITION = "'time': time_ns, 'writer': writer, 'seq': seq"

_RUNS = """
SELECT run_id, run_name, experiment_id, experiment_name, status, epoch_ms(start_time), epoch_ms(end_time),
       lifecycle_stage, user_id, parent_run_id, crashed, live, lost_points, 0
FROM source QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY events DESC, points DESC, revision DESC) = 1
"""
_EXPERIMENTS = """
SELECT experiment_id, name, lifecycle_stage, epoch_ms(creation_time), epoch_ms(last_update_time), tags
FROM source QUALIFY row_number() OVER (PARTITION BY experiment_id ORDER BY last_update_time DESC, revision DESC) = 1
"""
_PARAMS = "SELECT run_id, key, value FROM source QUALIFY row_number() OVER (PARTITION BY run_id, key ORDER BY {}) = 1"
_TAGS = """
SELECT run_id, key, value FROM (
    SELECT run_id, key, value FROM source
    QUALIFY row_number() OVER (PARTITION BY run_id, key ORDER BY time_ns DESC, writer DESC, seq DESC) = 1
) WHERE value IS NOT NULL
"""
_ARTIFACTS = """
SELECT run_id, path, size, sha256, logged_ns FROM (
    SELECT * FROM source
    QUALIFY row_number() OVER (PARTITION BY run_id, path ORDER BY time_ns DESC, writer DESC, seq DESC) = 1
) WHERE NOT deleted
"""
_DATASETS = """
SELECT run_id, row_number() OVER (PARTITION BY run_id ORDER BY time_ns, writer, seq) AS number, name, digest, context,
       source_type, source, schema, profile, tags
FROM (SELECT * FROM source
      QUALIFY row_number() OVER (PARTITION BY run_id, name, digest ORDER BY time_ns, writer, seq) = 1)
"""
_MODELS = """
SELECT run_id, row_number() OVER (PARTITION BY run_id ORDER BY time_ns, writer, seq) AS number, model_id, made, step
FROM (SELECT * FROM source
      QUALIFY row_number() OVER (PARTITION BY run_id, model_id, made ORDER BY time_ns, writer, seq) = 1)
"""
_LATEST = f"SELECT run_id, key, value, step, time, min, max, count FROM ({SUMMARIES_SQL})"

_FILLED: dict[str, tuple[str, str]] = {
    "runs": ("runs", _RUNS),
    "experiments": ("experiments", _EXPERIMENTS),
    "params": ("params", _PARAMS.format("time_ns, writer, seq")),
    "tags": ("tags", _TAGS),
    "latest_metrics": ("metric_summaries", _LATEST),
    "artifacts": ("artifacts", _ARTIFACTS),
    "datasets": ("datasets", _DATASETS),
    "models": ("models", _MODELS),
    "alerts": ("events", "SELECT * FROM source"),
}
"""By table of the catalog, the table of the lake that fills it, and how."""

_NEEDS = {"runs": ("runs", "experiments")}
SEARCHED = tuple(name for name in _FILLED if name not in ("artifacts", "alerts"))
"""The tables that a search may need."""


@dataclass(slots=True)
class LakeCatalog:
    """The catalog of a lake as it was when a table was first needed.

    Attributes:
        tables: The lake.
        con: The database, in memory, which can't open files.
        scan: The tables that were read.
    """

    tables: LakeTables
    con: duckdb.DuckDBPyConnection = field(init=False)
    scan: LakeScan = field(init=False)
    _filled: set[str] = field(default_factory=set)
    _runs: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.scan = LakeScan(self.tables)
        self.con = duckdb.connect(":memory:")
        for setting in ("TimeZone = 'UTC'", "python_enable_replacements = false", "enable_external_access = false"):
            self.con.execute(f"SET GLOBAL {setting}")
        create_tables(self.con, "lake")
        self.con.execute("SET GLOBAL lock_configuration = true")

    def fill(self, names: Iterable[str]) -> None:
        """Fill tables of the catalog that were not yet.

        Raises:
            RemoteError: the lake can't be read.
        """
        wanted = dict.fromkeys(each for name in names for each in _NEEDS.get(name, (name,)))
        for name in wanted:
            if name not in self._filled:
                if self._runs:
                    self.con.execute(f"DELETE FROM base.{name}")
                self._insert(name, None)
                self._filled.add(name)

    def fill_run(self, run_id: str) -> None:
        """Fill the tables that a search may need with what belongs to one run, which is in ``runs``.

        Raises:
            RemoteError: the lake can't be read.
        """
        self.fill(["runs"])
        if run_id not in self._runs:
            for name in SEARCHED:
                if name not in self._filled:
                    self._insert(name, run_id)
            self._runs.add(run_id)

    def _insert(self, name: str, run_id: str | None) -> None:
        source, select = _FILLED[name]
        self.con.register("source", self._rows(source, run_id))
        self.con.execute(f"INSERT INTO base.{name} SELECT * FROM ({select}) ORDER BY 1, 2")
        self.con.unregister("source")

    def _rows(self, source: str, run_id: str | None) -> pa.Table:
        if source == "events":
            return alert_rows(self.scan)
        columns, run_ids = _columns(source), None if run_id is None else [run_id]
        if source == "metric_summaries":
            return summary_rows(self.scan, columns, run_ids)
        return self.scan.rows(source, columns, None if run_ids is None else {"run_id": run_ids})

    def fill_for(self, query: str) -> None:
        """Fill the tables whose names are in a query.

        Raises:
            RemoteError: the lake can't be read.
        """
        words = set(re.findall(r"\w+", query.lower()))
        self.fill(name for name in _FILLED if name in words)

    def add_metrics(self, con: duckdb.DuckDBPyConnection, query: str) -> None:
        """Make the view ``metrics``, over all points of the lake that count, where a query has its name.

        Raises:
            RemoteError: the lake can't be read.
        """
        if not names_metrics(query):
            return
        found: Any = self.scan.dataset("points")
        con.register("lake_points", self.scan.rows("points") if found is None else found)
        counting = "lake_points"
        if self.scan.rules:
            con.register("lake_hidden_rows", hidden_table(self.scan.rules))
            rows = "SELECT unnest(rows, recursive := true) FROM lake_hidden_rows"
            con.execute(f"CREATE OR REPLACE TEMP VIEW lake_hidden AS {rows}")
            counting = f"({HIDDEN_SQL})"
        define_metrics(con, f"SELECT {POINT_COLUMNS} FROM (SELECT *, time_ns AS time FROM {counting})")

    def close(self) -> None:
        """Free the memory."""
        self.con.close()


def _columns(table: str) -> list[str]:
    return [name for name in TABLES[table].schema.names if name != "store_id"]

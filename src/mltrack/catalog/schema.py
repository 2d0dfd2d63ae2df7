"""The catalog's tables (schema ``base``) and the views over them that SQL users see."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "CATALOG_FILE",
    "CATALOG_LOCK",
    "COLUMNS",
    "POINT_COLUMNS",
    "RUN_TABLES",
    "SCHEMA_VERSION",
    "VIEWS",
    "create_tables",
    "is_ours",
]

CATALOG_FILE, CATALOG_LOCK = "catalog.duckdb", "catalog.lock"
"""In the store's folder."""

SCHEMA_VERSION = 6
"""Raised by every change below: a catalog of another version is removed and rebuilt."""

COLUMNS: dict[str, dict[str, str]] = {
    # the run folders that were read: when their subfolders last changed (ns), whether a writer was alive, and which of
    # its points count (empty: all; see storage/runs/visibility.py)
    "folders": {
        "run_id": "VARCHAR",
        "events_ns": "BIGINT",
        "points_ns": "BIGINT",
        "segments_ns": "BIGINT",
        "watched": "BOOLEAN",
        "counting": "VARCHAR",
    },
    "runs": {
        "run_id": "VARCHAR",
        "run_name": "VARCHAR",
        "experiment_id": "VARCHAR",
        "experiment_name": "VARCHAR",
        "status": "VARCHAR",
        "start_time": "BIGINT",  # ms
        "end_time": "BIGINT",
        "lifecycle_stage": "VARCHAR",
        "user_id": "VARCHAR",
        "parent_run_id": "VARCHAR",
        "crashed": "BOOLEAN",
        "live": "BOOLEAN",
        "lost": "BIGINT",
        "last_point": "BIGINT",  # ns
    },
    "params": {"run_id": "VARCHAR", "key": "VARCHAR", "value": "VARCHAR"},
    "tags": {"run_id": "VARCHAR", "key": "VARCHAR", "value": "VARCHAR"},
    "latest_metrics": {
        "run_id": "VARCHAR",
        "key": "VARCHAR",
        "value": "DOUBLE",
        "step": "BIGINT",
        "time": "BIGINT",  # ns
        "min": "DOUBLE",
        "max": "DOUBLE",
        "count": "BIGINT",
    },
    "artifacts": {"run_id": "VARCHAR", "path": "VARCHAR", "size": "BIGINT", "sha256": "VARCHAR", "time": "BIGINT"},
    # the datasets of each run, ``number`` in the order of logging
    "datasets": {
        "run_id": "VARCHAR",
        "number": "BIGINT",
        "name": "VARCHAR",
        "digest": "VARCHAR",
        "context": "VARCHAR",
        "source_type": "VARCHAR",
        "source": "VARCHAR",
        "schema": "VARCHAR",
        "profile": "VARCHAR",
        "tags": "MAP(VARCHAR, VARCHAR)",
    },
    # what guards found in each run
    "alerts": {
        "run_id": "VARCHAR",
        "time": "BIGINT",  # ns
        "rule": "VARCHAR",
        "condition": "VARCHAR",
        "message": "VARCHAR",
        "metric": "VARCHAR",
        "step": "BIGINT",
        "value": "DOUBLE",
        "actions": "MAP(VARCHAR, VARCHAR)",
    },
    # the other runs whose files a fork needs
    "forks": {"run_id": "VARCHAR", "source": "VARCHAR"},
    # the logged models that each run used (no step) and made
    "models": {"run_id": "VARCHAR", "number": "BIGINT", "model_id": "VARCHAR", "made": "BOOLEAN", "step": "BIGINT"},
    # how far each writer's files were read; ``kept``: its points, few and final, are in ``points``
    "writers": {
        "run_id": "VARCHAR",
        "writer": "VARCHAR",
        "role": "VARCHAR",
        "alive": "BOOLEAN",
        "ended": "BOOLEAN",
        "events": "BIGINT",
        "points": "BIGINT",
        "kept": "BOOLEAN",
    },
    "segments": {"run_id": "VARCHAR", "writer": "VARCHAR", "first": "BIGINT", "last": "BIGINT"},
    # what could not be read or verified of a run's files; ``stamp`` changes when the file does
    "damage": {"run_id": "VARCHAR", "path": "VARCHAR", "place": "BIGINT", "what": "VARCHAR", "stamp": "VARCHAR"},
    # segments whose bytes were all compared with their checksums, in that state; ``fault``: what is wrong, or empty
    "verified": {"run_id": "VARCHAR", "name": "VARCHAR", "stamp": "VARCHAR", "fault": "VARCHAR"},
    "points": {
        "run_id": "VARCHAR",
        "metric": "VARCHAR",
        "step": "BIGINT",
        "time": "BIGINT",  # ns
        "value": "DOUBLE",
    },
    "experiments": {
        "experiment_id": "VARCHAR",
        "name": "VARCHAR",
        "lifecycle_stage": "VARCHAR",
        "creation_time": "BIGINT",  # ms
        "last_update_time": "BIGINT",
        "tags": "MAP(VARCHAR, VARCHAR)",
    },
    "meta": {"key": "VARCHAR", "value": "VARCHAR"},
}

RUN_TABLES = tuple(name for name, columns in COLUMNS.items() if "run_id" in columns)
"""The tables with rows of runs."""

VIEWS = ("runs", "params", "tags", "metrics", "latest_metrics", "datasets", "artifacts", "alerts", "experiments")
"""What SQL users see, in the order in which it is named to them."""

POINT_COLUMNS = "run_id, metric AS key, step, make_timestamp_ns(time) AT TIME ZONE 'UTC' AS time, value"
"""The columns of the view ``metrics``, from a table with those of ``base.points``."""

# ``metrics`` stands here to be listed: a query that names it gets one of its own, over all points (see sql.py)
_VIEWS = """
CREATE VIEW experiments AS
    SELECT experiment_id, name, lifecycle_stage, epoch_ms(nullif(creation_time, 0)) AT TIME ZONE 'UTC' AS creation_time,
           epoch_ms(nullif(last_update_time, 0)) AT TIME ZONE 'UTC' AS last_update_time, tags
    FROM base.experiments;
CREATE VIEW runs AS
    SELECT r.run_id, r.run_name, coalesce(e.name, r.experiment_name) AS experiment_name, r.status,
           epoch_ms(r.start_time) AT TIME ZONE 'UTC' AS start_time,
           epoch_ms(r.end_time) AT TIME ZONE 'UTC' AS end_time,
           r.user_id, r.lifecycle_stage, r.live, r.crashed, r.lost AS lost_points, r.parent_run_id, r.experiment_id
    FROM base.runs r LEFT JOIN base.experiments e USING (experiment_id);
CREATE VIEW params AS SELECT * FROM base.params;
CREATE VIEW tags AS SELECT * FROM base.tags;
CREATE VIEW metrics AS
    SELECT '' AS run_id, '' AS key, 0::BIGINT AS step, make_timestamp_ns(0) AT TIME ZONE 'UTC' AS time,
           0.0::DOUBLE AS value
    WHERE error('the view metrics has to be named in the query');
CREATE VIEW latest_metrics AS
    SELECT run_id, key, value, step, make_timestamp_ns(time) AT TIME ZONE 'UTC' AS time, min, max, count
    FROM base.latest_metrics;
CREATE VIEW alerts AS
    SELECT run_id, make_timestamp_ns(time) AT TIME ZONE 'UTC' AS time, rule, condition, metric AS key, step, value,
           message, actions
    FROM base.alerts;
CREATE VIEW datasets AS SELECT * EXCLUDE number FROM base.datasets;
CREATE VIEW artifacts AS
    SELECT run_id, path, size, make_timestamp_ns(time) AT TIME ZONE 'UTC' AS time, sha256 FROM base.artifacts;
"""


def create_tables(con: duckdb.DuckDBPyConnection, store_id: str) -> None:
    """Make the tables and views of an empty catalog, whole or not at all."""
    con.execute("BEGIN")
    con.execute("CREATE SCHEMA base")
    for table, columns in COLUMNS.items():
        con.execute(f"CREATE TABLE base.{table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
    con.execute(_VIEWS)
    con.execute("INSERT INTO base.meta VALUES ('version', ?), ('store_id', ?)", [str(SCHEMA_VERSION), store_id])
    con.execute("COMMIT")


def is_ours(con: duckdb.DuckDBPyConnection, store_id: str) -> bool:
    """Whether this is a catalog of this store in this version.

    Tables must be tables: a file from another source may have views of the same names.
    """
    import duckdb

    if not _has_our_tables(con):
        return False
    try:
        meta = dict(con.execute("SELECT key, value FROM base.meta").fetchall())
    except duckdb.CatalogException:
        return False
    return meta.get("version") == str(SCHEMA_VERSION) and meta.get("store_id") == store_id


def _has_our_tables(con: duckdb.DuckDBPyConnection) -> bool:
    tables = con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'base'").fetchall()
    columns = con.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = 'base'"
    ).fetchall()
    wanted = {(table, name, kind) for table, fields in COLUMNS.items() for name, kind in fields.items()}
    return {name for (name,) in tables} == set(COLUMNS) and set(columns) == wanted

"""The tables of a lake: their columns, how they are partitioned, and by what their files are sorted.

docs/lake/layout.md is the specification. A change that an older mltrack can't read raises LAYOUT.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

__all__ = ["LAYOUT", "MARKER", "TABLES", "TableSpec", "month_of", "shard_of"]

LAYOUT = 1
"""The version of all that is specified here. A lake says its own in the file MARKER."""

MARKER = "mltrack-lake.json"

_TEXT = pa.string()
_INT = pa.int64()
_NUMBER = pa.float64()
_FLAG = pa.bool_()
_TIME = pa.timestamp("us", tz="UTC")
_TEXTS = pa.map_(pa.string(), pa.string())
_OWNER = [("store_id", _TEXT), ("run_id", _TEXT)]
_POSITION = [("writer", _TEXT), ("seq", _INT), ("time_ns", _INT)]


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table.

    Attributes:
        name: Its folder below the lake.
        columns: Names and types, partition columns last.
        partition: The partition columns.
        key: What a row is about, where the one with the greatest ``revision`` counts; none where every row counts.
        order: What its files are sorted by.
    """

    name: str
    columns: tuple[tuple[str, pa.DataType], ...]
    partition: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    order: tuple[str, ...] = field(default=("run_id",))

    @property
    def schema(self) -> pa.Schema:
        """Of all columns."""
        return pa.schema(list(self.columns))

    @property
    def file_schema(self) -> pa.Schema:
        """Of the columns that its files have: the others are in their paths."""
        return pa.schema([column for column in self.columns if column[0] not in self.partition])


def _spec(name: str, *columns: tuple[str, pa.DataType], **options: tuple[str, ...]) -> TableSpec:
    return TableSpec(name, columns, **options)


_ALL = (
    _spec(
        "rewinds",
        *_OWNER,
        ("step", _INT),
        ("of_writer", _TEXT),
        ("below_seq", _INT),
        ("undoes", _TEXT),
        *_POSITION,
        order=("run_id", "of_writer", "undoes", "writer", "seq"),
    ),
    _spec(
        "forks",
        *_OWNER,
        ("parent_run_id", _TEXT),
        ("step", _INT),
        ("of_run_id", _TEXT),
        ("of_writer", _TEXT),
        ("below_seq", _INT),
        *_POSITION,
        order=("run_id", "of_run_id", "of_writer"),
    ),
    _spec(
        "points",
        ("store_id", _TEXT),
        ("run_id", _TEXT),
        ("metric", _TEXT),
        ("writer", _TEXT),
        ("seq", _INT),
        ("step", _INT),
        ("time_ns", _INT),
        ("ts", _TIME),
        ("value", _NUMBER),
        ("month", _TEXT),
        ("shard", _TEXT),
        partition=("month", "shard"),
        order=("run_id", "metric", "writer", "seq"),
    ),
    _spec(
        "metric_summaries",
        *_OWNER,
        ("metric", _TEXT),
        ("writer", _TEXT),
        ("first_seq", _INT),
        ("count", _INT),
        ("sum", _NUMBER),
        ("min", _NUMBER),
        ("max", _NUMBER),
        ("first", _NUMBER),
        ("first_step", _INT),
        ("first_time_ns", _INT),
        ("last", _NUMBER),
        ("last_step", _INT),
        ("last_time_ns", _INT),
        order=("run_id", "metric"),
    ),
    _spec("params", *_OWNER, ("key", _TEXT), ("value", _TEXT), *_POSITION, order=("run_id", "key")),
    _spec("tags", *_OWNER, ("key", _TEXT), ("value", _TEXT), *_POSITION, order=("run_id", "key")),
    _spec(
        "artifacts",
        *_OWNER,
        ("path", _TEXT),
        ("size", _INT),
        ("sha256", _TEXT),
        ("deleted", _FLAG),
        ("logged_ns", _INT),
        *_POSITION,
        order=("run_id", "path"),
    ),
    _spec(
        "datasets",
        *_OWNER,
        ("name", _TEXT),
        ("digest", _TEXT),
        ("context", _TEXT),
        ("source_type", _TEXT),
        ("source", _TEXT),
        ("schema", _TEXT),
        ("profile", _TEXT),
        ("tags", _TEXTS),
        *_POSITION,
    ),
    _spec("models", *_OWNER, ("model_id", _TEXT), ("made", _FLAG), ("step", _INT), *_POSITION),
    _spec(
        "events",
        *_OWNER,
        ("writer", _TEXT),
        ("seq", _INT),
        ("time_ns", _INT),
        ("ts", _TIME),
        ("type", _TEXT),
        ("line", _TEXT),
        order=("run_id", "writer", "seq"),
    ),
    _spec(
        "files",
        *_OWNER,
        ("path", _TEXT),
        ("size", _INT),
        ("sha256", _TEXT),
        order=("run_id", "path"),
    ),
    _spec(
        "experiments",
        ("store_id", _TEXT),
        ("experiment_id", _TEXT),
        ("name", _TEXT),
        ("lifecycle_stage", _TEXT),
        ("creation_time", _TIME),
        ("last_update_time", _TIME),
        ("tags", _TEXTS),
        ("revision", _INT),
        key=("store_id", "experiment_id"),
        order=("experiment_id",),
    ),
    _spec(
        "registered_models",
        ("store_id", _TEXT),
        ("name", _TEXT),
        ("description", _TEXT),
        ("creation_time", _TIME),
        ("last_update_time", _TIME),
        ("tags", _TEXTS),
        ("aliases", _TEXTS),
        ("deleted", _FLAG),
        ("revision", _INT),
        key=("store_id", "name"),
        order=("name",),
    ),
    _spec(
        "model_versions",
        ("store_id", _TEXT),
        ("name", _TEXT),
        ("version", _INT),
        ("source", _TEXT),
        ("run_id", _TEXT),
        ("model_id", _TEXT),
        ("description", _TEXT),
        ("stage", _TEXT),
        ("creation_time", _TIME),
        ("last_update_time", _TIME),
        ("tags", _TEXTS),
        ("deleted", _FLAG),
        ("revision", _INT),
        key=("store_id", "name", "version"),
        order=("name", "version"),
    ),
    _spec(
        "logged_models",
        ("store_id", _TEXT),
        ("model_id", _TEXT),
        ("name", _TEXT),
        ("experiment_id", _TEXT),
        ("run_id", _TEXT),
        ("model_type", _TEXT),
        ("status", _TEXT),
        ("status_message", _TEXT),
        ("lifecycle_stage", _TEXT),
        ("creation_time", _TIME),
        ("last_update_time", _TIME),
        ("params", _TEXTS),
        ("tags", _TEXTS),
        ("metrics", _TEXT),
        ("files", _TEXT),
        ("deleted", _FLAG),
        ("revision", _INT),
        key=("store_id", "model_id"),
        order=("model_id",),
    ),
    _spec(
        "traces",
        ("store_id", _TEXT),
        ("trace_id", _TEXT),
        ("experiment_id", _TEXT),
        ("run_id", _TEXT),
        ("state", _TEXT),
        ("start_ns", _INT),
        ("start", _TIME),
        ("duration_ns", _INT),
        ("tags", _TEXTS),
        ("metadata", _TEXTS),
        ("assessments", _TEXT),
        ("spans", _TEXT),
        ("deleted", _FLAG),
        ("revision", _INT),
        key=("store_id", "trace_id"),
        order=("trace_id",),
    ),
    _spec(
        "runs",
        *_OWNER,
        ("run_name", _TEXT),
        ("experiment_id", _TEXT),
        ("experiment_name", _TEXT),
        ("status", _TEXT),
        ("start_time", _TIME),
        ("end_time", _TIME),
        ("lifecycle_stage", _TEXT),
        ("user_id", _TEXT),
        ("parent_run_id", _TEXT),
        ("crashed", _FLAG),
        ("live", _FLAG),
        ("lost_points", _INT),
        ("month", _TEXT),
        ("events", _INT),
        ("points", _INT),
        ("revision", _INT),
        key=("run_id",),
        order=("run_id",),
    ),
)

TABLES = {spec.name: spec for spec in _ALL}
"""By name, in the order in which a batch is committed: what hides points comes before the points, and what a run has
before the run itself."""


def month_of(start_time_ms: int) -> str:
    """The partition of a run that started then, such as ``2026-11``, in UTC."""
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(start_time_ms / 1000, UTC).strftime("%Y-%m")
    except (OverflowError, OSError, ValueError):
        return "1970-01"


def shard_of(run_id: str) -> str:
    """The first hex digit of a run's id."""
    return run_id[:1]

"""How many rows each run has in a table, and the sum of their hashes: equal on two sides where the rows are the same.

The sum does not depend on the order, so neither side is sorted, and a repeated row counts twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa

from mltrack_sync.lake.layout import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Digest", "Digests", "hashed_columns"]

_NOT_COMPARED = frozenset({"store_id", "month", "shard"})
"""Columns that say who sent a row, and where it is kept."""

LOCAL, REMOTE = "local", "remote"


class Digest(NamedTuple):
    """How many rows they are, and the sum of their hashes."""

    rows: int
    sum: int

    def repeats(self, once: Digest) -> bool:
        """Whether these are the rows of another digest, each equally often and more than once."""
        times, rest = divmod(self.rows, once.rows or 1)
        return times > 1 and not rest and self.sum == times * once.sum


def hashed_columns(table: str) -> list[str]:
    """The columns of a table that are compared."""
    return [name for name in TABLES[table].schema.names if name not in _NOT_COMPARED]


def _new_connection() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:", config={"threads": 2})
    con.execute("SET TimeZone = 'UTC'")
    con.execute(
        "CREATE TABLE digests (side VARCHAR, name VARCHAR, run_id VARCHAR, writer VARCHAR, n BIGINT, total HUGEINT)"
    )
    return con


@dataclass(slots=True)
class Digests:
    """The digests of rows on both sides, by run and writer; fed piece by piece."""

    _con: duckdb.DuckDBPyConnection = field(default_factory=_new_connection)

    def add(self, side: str, table: str, rows: pa.Table | pa.RecordBatch) -> None:
        """Take in rows of a table."""
        if not rows.num_rows:
            return
        whole = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        columns = ", ".join(_as_hashed(table, name) for name in hashed_columns(table))
        self._con.register("piece", whole)
        self._con.execute(
            f"INSERT INTO digests SELECT '{side}', '{table}', run_id, writer, count(*), sum(hash({columns})::HUGEINT)"
            " FROM piece GROUP BY ALL"
        )
        self._con.unregister("piece")

    def add_all(self, side: str, table: str, pieces: Iterable[pa.Table | pa.RecordBatch]) -> None:
        """Take in many."""
        for piece in pieces:
            self.add(side, table, piece)

    def of(self, table: str) -> dict[tuple[str, str], tuple[Digest, Digest]]:
        """By run and writer, the digests here and in the lake."""
        sides: list[str] = []
        for side in (LOCAL, REMOTE):
            sides.append(f"coalesce(sum(n) FILTER (side = '{side}'), 0)::BIGINT")
            sides.append(f"coalesce(sum(total) FILTER (side = '{side}'), 0)")
        rows = self._con.execute(
            f"SELECT run_id, writer, {', '.join(sides)} FROM digests WHERE name = ? GROUP BY ALL ORDER BY ALL", [table]
        ).fetchall()
        return {(row[0], row[1]): (Digest(row[2], int(row[3])), Digest(row[4], int(row[5]))) for row in rows}

    def close(self) -> None:
        """Free the memory."""
        self._con.close()


def _as_hashed(table: str, name: str) -> str:
    is_map = pa.types.is_map(TABLES[table].schema.field(name).type)
    return f"CAST({name} AS VARCHAR)" if is_map else name


def differing(found: dict[tuple[str, str], tuple[Digest, Digest]]) -> Sequence[tuple[str, str, Digest, Digest]]:
    """The runs and writers whose rows are not the same on both sides."""
    return [(*key, here, far) for key, (here, far) in found.items() if here != far]

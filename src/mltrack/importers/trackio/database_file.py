"""A project's database, of any version: each row has JSON of what was logged together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

from mltrack.importers.database import Database
from mltrack.importers.json_fields import parse_json
from mltrack.importers.logged_rows import BATCH_ITEMS, LoggedRows, is_step
from mltrack.importers.times import ns_of
from mltrack.importers.trackio.rows import METRICS, SYSTEM, Part, RunHeads

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings

__all__ = ["DatabaseFile"]

Row = tuple[Any, ...]


class DatabaseFile:
    """It, open to read."""

    def __init__(self, path: Path, where: str, findings: Findings) -> None:
        """Open it.

        Raises:
            SourceError: it can't be read.
        """
        self.where = where
        self.database = Database(path)
        self._findings = findings

    def close(self) -> None:
        """Close it."""
        self.database.close()

    # --- runs ---

    def heads(self) -> RunHeads:
        """Its runs.

        Raises:
            SourceError: the database is damaged.
        """
        found = RunHeads()
        for table in (METRICS, SYSTEM):
            if self.database.has(table):
                run = self._run_column(table)
                query = f"SELECT {run}, max(run_name), min(timestamp), max(timestamp), min(rowid) r FROM {table}"
                for rows in self.database.rows(f"{query} GROUP BY {run} ORDER BY r"):
                    for run_id, name, first, last, _ in rows:
                        found.meet(str(run_id), str(name), ns_of(first), ns_of(last))
        for row in self.database.select("configs", ["run_id", "run_name", "config"]):
            run_id = row["run_id"] if row["run_id"] is not None else row["run_name"]
            head = found.meet(str(run_id), str(row["run_name"]), 0, 0)
            head.config = self._object(row["config"], f"the config of {head.name}")
        return found

    def _run_column(self, table: str) -> str:
        """What names the run of a row: its id, or in older versions its name."""
        return "run_id" if self.database.has(table, "run_id") else "run_name"

    def _object(self, text: Any, what: str) -> dict[str, Any]:
        try:
            found = parse_json(text.encode() if isinstance(text, str) else text)
        except (TypeError, ValueError, RecursionError) as error:
            self._findings.problem(self.where, f"{what} is not JSON: {error}")
            return {}
        if isinstance(found, dict):
            return found
        self._findings.problem(self.where, f"{what} is not an object")
        return {}

    def count(self, table: str) -> int:
        """How many rows a table has.

        Raises:
            SourceError: the database is damaged.
        """
        if not self.database.has(table):
            return 0
        return sum(row[0] for rows in self.database.rows(f"SELECT count(*) FROM {table}") for row in rows)

    # --- rows ---

    def last_step(self, run_id: str) -> int | None:
        """The greatest step of a run; None where it has no rows."""
        query = f"SELECT max(step) FROM {METRICS} WHERE {self._run_column(METRICS)} = ?"
        for rows in self.database.rows(query, (run_id,)):
            return rows[0][0] if is_step(rows[0][0]) else None
        return None

    def has_log(self, table: str, log_ids: Iterable[str]) -> set[str]:
        """Those of these ids whose rows are here already."""
        ids = list(log_ids)
        if not self.database.has(table, "log_id"):
            return set()
        marks = ", ".join("?" * len(ids))
        query = f"SELECT log_id FROM {table} WHERE log_id IN ({marks})"
        return {row[0] for rows in self.database.rows(query, ids) for row in rows}

    def parts(self, run_id: str, table: str) -> Iterator[Part]:
        """The rows of a run, by their numbers.

        Raises:
            SourceError: the database is damaged.
        """
        if not self.database.has(table):
            return
        steps = "step" if table == METRICS else "NULL"
        where = f"FROM {table} WHERE {self._run_column(table)} = ? ORDER BY rowid"
        logged, counted = LoggedRows(), count()
        for rows in self.database.rows(f"SELECT rowid, timestamp, {steps}, metrics {where}", (run_id,), raw=True):
            for (number, text, at, _), fields in zip(rows, self._objects(rows, table), strict=True):
                at = next(counted) if table == SYSTEM else at
                if not is_step(at):
                    self._findings.problem(self.where, f"row {number:,} of {table} has no step: {at!r:.60}")
                elif fields:
                    logged.add(at, ns_of(text), fields)
            if len(logged) >= BATCH_ITEMS:
                yield logged.take()
        yield logged.take()

    def _objects(self, rows: list[Row], table: str) -> list[dict[str, Any]]:
        """The JSON of rows: all at once, or where one is damaged, one by one."""
        try:
            found: list[dict[str, Any]] = parse_json(b"[" + b",".join(row[3] for row in rows) + b"]")
            if len(found) == len(rows) and all(type(each) is dict for each in found):
                return found
        except (TypeError, ValueError, RecursionError):
            pass
        return [self._object(row[3], f"row {row[0]:,} of {table}") for row in rows]

"""Rows of a project that lie in the inbox: fragments of JSON lines, which trackio moves to the database later.

A fragment is removed only after its rows are in the database. So rows that are in both, by their ids, count once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mltrack.importers.json_fields import parse_json
from mltrack.importers.logged_rows import BATCH_ITEMS, LoggedRows, is_step
from mltrack.importers.source import SourceError
from mltrack.importers.times import ns_of
from mltrack.importers.trackio.projects import project_name
from mltrack.importers.trackio.rows import METRICS, SYSTEM, Part, RunHeads

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.trackio.projects import Project

__all__ = ["Inbox", "KnownLogs"]

KnownLogs = Callable[[str, Iterable[str]], set[str]]
"""Which ids of rows of a table the database has."""

KINDS = {"metric": METRICS, "system_metric": SYSTEM}
LINES = 500

Record = dict[str, Any]


class Inbox:
    """The rows of one project in the inbox. Each fragment is read once for its runs, and once for each run in it."""

    def __init__(self, project: Project, findings: Findings) -> None:
        self._project = project
        self._findings = findings
        self._fragments: dict[tuple[str, str], list[Path]] = {}
        self.alerts = 0
        self.heads = self._read_heads()

    def _read_heads(self) -> RunHeads:
        found = RunHeads()
        for path in self._project.fragments:
            for record in self._records(path):
                run_id, table = _run_of(record), KINDS.get(record["kind"])
                if table is None:
                    self.alerts += 1
                    continue
                time = ns_of(record.get("timestamp"))
                head = found.meet(run_id, str(record["run"]), time, time)
                if isinstance(record.get("config"), dict):
                    head.config.update(record["config"])
                paths = self._fragments.setdefault((run_id, table), [])
                if path not in paths[-1:]:
                    paths.append(path)
        return found

    def _records(self, path: Path) -> Iterator[Record]:
        """The records of the project in a fragment."""
        where = path.relative_to(self._project.folder).as_posix()
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    record = self._record(line, f"{where}: line {number:,}")
                    if record is not None and project_name(record["project"]) == self._project.name:
                        yield record
        except FileNotFoundError:
            return  # it was moved to the database meanwhile: the next import finds it there
        except OSError as error:
            raise SourceError(f"{where} can't be read: {error.strerror}") from error

    def _record(self, line: bytes, where: str) -> Record | None:
        if not line.strip():
            return None
        try:
            record = parse_json(line)
        except (ValueError, RecursionError) as error:
            torn = str(error) if line.endswith(b"\n") else "it is torn"
            self._findings.problem(where, f"not JSON: {torn}")
            return None
        if not isinstance(record, dict) or not all(record.get(key) for key in ("project", "run", "kind")):
            self._findings.problem(where, "not a record of trackio's")
            return None
        if not isinstance(record.get("metrics", {}), dict):
            self._findings.problem(where, "its metrics are not an object")
            return None
        return record

    def parts(self, run_id: str, table: str, last_step: int | None, known: KnownLogs) -> Iterator[Part]:
        """The rows of a run that the database does not have, in the order in which trackio would move them.

        Args:
            run_id: The run.
            table: Which rows.
            last_step: The greatest step in the database, or for system metrics, the number of rows less one.
            known: Asks the database.

        Raises:
            SourceError: a fragment can't be read.
        """
        logged = LoggedRows()
        last = -1 if last_step is None else last_step
        for path in self._fragments.get((run_id, table), ()):
            for record in self._new(path, run_id, table, known):
                step = record.get("step") if table == METRICS else None
                if step is None:
                    step = last + 1
                elif not is_step(step):
                    self._findings.problem(path.name, f"no step: {step!r:.60}")
                    continue
                last = max(last, step)
                logged.add(step, ns_of(record.get("timestamp")), record.get("metrics") or {})
            if len(logged) >= BATCH_ITEMS:
                yield logged.take()
        yield logged.take()

    def _new(self, path: Path, run_id: str, table: str, known: KnownLogs) -> Iterator[Record]:
        """The records of a run in a fragment whose ids the database does not have."""
        held: list[Record] = []
        for record in self._records(path):
            if KINDS.get(record["kind"]) == table and _run_of(record) == run_id:
                held.append(record)
                if len(held) == LINES:
                    yield from _unknown(held, table, known)
                    held = []
        yield from _unknown(held, table, known)


def _unknown(records: list[Record], table: str, known: KnownLogs) -> Iterator[Record]:
    ids = [str(record["log_id"]) for record in records if record.get("log_id")]
    held = known(table, ids) if ids else set()
    return (record for record in records if record.get("log_id") not in held)


def _run_of(record: Record) -> str:
    """Its id, or as trackio does without one, its name."""
    return str(record.get("run_id") or record["run"])

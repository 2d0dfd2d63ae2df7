"""aim's repository as runs: names and the like from its SQLite database, the rest from a folder for each run."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.environment import NOTE_TAG
from mltrack.importers.aim.aim_run import AimRun, text_file
from mltrack.importers.database import Database
from mltrack.importers.source import BaseSource, SourceError, SourceExperiment, SourceFile, SourceRun
from mltrack.importers.times import ns_of

if TYPE_CHECKING:
    from mltrack.importers.findings import Findings

__all__ = ["AimSource"]

DATABASE = "run_metadata.sqlite"
DEFAULT = "default"
RUN = re.compile(r"[\w.-]+")
RUN_COLUMNS = ("id", "hash", "name", "description", "is_archived", "created_at", "finalized_at", "experiment_id")


class AimSource(BaseSource):
    """A folder ``.aim``."""

    def __init__(self, folder: Path, findings: Findings) -> None:
        """Read the database.

        Raises:
            SourceError: it can't be read.
        """
        self._folder = folder
        self._findings = findings
        self._runs: dict[str, dict[str, Any]] = {}
        self._tags: dict[int, list[str]] = {}
        self._notes: dict[int, list[tuple[int, str]]] = {}
        self._experiments: dict[int, dict[str, Any]] = {}
        if (folder / DATABASE).is_file():
            database = Database(folder / DATABASE)
            try:
                self._read(database)
            finally:
                database.close()

    def _read(self, database: Database) -> None:
        self._runs = {str(row["hash"]): row for row in database.select("run", RUN_COLUMNS)}
        columns = ("id", "name", "description", "created_at")
        self._experiments = {row["id"]: row for row in database.select("experiment", columns)}
        names = {row["id"]: str(row["name"]) for row in database.select("tag", ("id", "name"))}
        for row in database.select("run_tag", ("run_id", "tag_id")):
            self._tags.setdefault(row["run_id"], []).append(names.get(row["tag_id"], ""))
        for row in database.select("note", ("id", "run_id", "content")):
            if row["run_id"] is not None:
                self._notes.setdefault(row["run_id"], []).append((row["id"], str(row["content"] or "")))

    def experiments(self) -> Iterable[SourceExperiment]:
        """Its experiments, with their descriptions."""
        for row in self._experiments.values():
            tags = {NOTE_TAG: str(row["description"])} if row["description"] else {}
            yield SourceExperiment(name=str(row["name"]), tags=tags, created=ns_of(row["created_at"]))

    def runs(self) -> Iterable[SourceRun]:
        """Its runs, by the time when they began."""
        folders = self._folder / "meta" / "chunks"
        found = {path.name for path in folders.iterdir() if path.is_dir()} if folders.is_dir() else set()
        left_out: Counter[str] = Counter()
        for name in sorted(found, key=lambda name: (str(self._runs.get(name, {}).get("created_at") or ""), name)):
            run = AimRun(self._folder, name, self._findings)
            try:
                if not RUN.fullmatch(name):
                    raise SourceError("not a run's name")
                run.scan()
                left_out.update(run.left_out())
            except (OSError, SourceError) as error:
                self._findings.problem(run.where, f"can't be read: {error}")
                continue
            yield self._run(run)
        for name in sorted(set(self._runs) - found):
            self._findings.problem(f"run {name}", "its folder in meta/chunks is missing")
        for what, count in (+left_out).items():
            self._findings.left_out(what, count)

    def _run(self, run: AimRun) -> SourceRun:
        row = self._runs.get(run.run, {})
        experiment = self._experiments.get(row.get("experiment_id") or 0, {})
        start = ns_of(row.get("created_at"))
        guessed = not start
        if guessed:
            start = (self._folder / "meta" / "chunks" / run.run).stat().st_mtime_ns
        end = run.end_time or ns_of(row.get("finalized_at"))
        return SourceRun(
            source_id=run.run,
            where=run.where,
            name=str(row.get("name") or run.run).removeprefix("Run: "),
            experiment=str(experiment.get("name") or DEFAULT),
            status="FINISHED" if end else "KILLED",
            start_time=start,
            end_time=end or None,
            guessed_times=guessed,
            untimed=True,
            params=run.params,
            tags={**run.tags, **self._row_tags(row)},
            points=run.points,
            values=run.values,
            files=partial(self._files, run, row),
        )

    def _row_tags(self, row: dict[str, Any]) -> dict[str, str]:
        labels = sorted(self._tags.get(row.get("id") or 0, ()))
        known = {
            NOTE_TAG: str(row.get("description") or ""),
            "aim.tags": json.dumps(labels, ensure_ascii=False) if labels else "",
            "aim.archived": "True" if row.get("is_archived") else "",
        }
        return {tag: value for tag, value in known.items() if value}

    def _files(self, run: AimRun, row: dict[str, Any]) -> Iterator[SourceFile]:
        yield from run.files()
        for number, text in self._notes.get(row.get("id") or 0, ()):
            yield text_file(f"notes/{number}.md", text)

"""Projects of trackio's as experiments, and their runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from mltrack.disk.derived_ids import is_random_id
from mltrack.importers.json_fields import params_of
from mltrack.importers.source import BaseSource, SourceError, SourceFile, SourceRun
from mltrack.importers.trackio.artifacts import artifact_files
from mltrack.importers.trackio.database_file import DatabaseFile
from mltrack.importers.trackio.inbox import Inbox
from mltrack.importers.trackio.media import is_png, media_file, media_names
from mltrack.importers.trackio.parquet_file import ParquetFile
from mltrack.importers.trackio.rows import RunHeads
from mltrack.importers.trackio.trackio_run import TrackioRun

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.trackio.projects import Project
    from mltrack.importers.trackio.rows import ProjectFile, RunHead

__all__ = ["TrackioSource"]

USER, GROUP = "_Username", "_Group"
_COUNTED = {"alerts": "alerts", "traces": "traces of trackio's"}


class TrackioSource(BaseSource):
    """A folder of projects, or one project."""

    def __init__(self, path: Path, projects: list[Project], findings: Findings) -> None:
        self._root = path if path.is_dir() else path.parent
        self._projects = projects
        self._findings = findings
        self._open: list[ProjectFile] = []

    def close(self) -> None:
        """Close its databases."""
        for file in self._open:
            file.close()
        self._open.clear()

    def runs(self) -> Iterable[SourceRun]:
        """The runs of its projects, by the time when they began."""
        left_out: Counter[str] = Counter()
        for project in self._projects:
            try:
                yield from self._runs_of(project, left_out)
            except SourceError as error:
                self._findings.problem(project.name, str(error))
        for what, count in left_out.items():
            if count:
                self._findings.left_out(what, count)

    def _runs_of(self, project: Project, left_out: Counter[str]) -> Iterator[SourceRun]:
        file = self._file(project)
        inbox = Inbox(project, self._findings)
        heads = RunHeads()
        for given in (file.heads() if file is not None else {}, inbox.heads):
            for head in given.values():
                known = heads.meet(head.run_id, head.name, head.first, head.last)
                known.config |= head.config
        left_out["alerts"] += inbox.alerts
        if isinstance(file, DatabaseFile):
            for table, what in _COUNTED.items():
                left_out[what] += file.count(table)
        left_out["files of projects, which no run has"] += _count_files(project)
        for head in sorted(heads.values(), key=lambda each: (each.first, each.run_id)):
            run = TrackioRun(head, file, inbox, project.folder / "media", self._findings)
            yield self._run(project, run, file)

    def _file(self, project: Project) -> ProjectFile | None:
        """A project's database, or Parquet files; None where all is in the inbox."""
        file: ProjectFile
        if project.database is not None:
            file = DatabaseFile(project.database, project.database.name, self._findings)
        elif project.parquet:
            path = project.parquet["metrics"]
            file = ParquetFile(project.parquet, path.relative_to(self._root).as_posix(), self._findings)
        else:
            return None
        self._open.append(file)
        return file

    def _run(self, project: Project, run: TrackioRun, file: ProjectFile | None) -> SourceRun:
        head = run.head
        return SourceRun(
            source_id=head.run_id,
            where=run.where,
            name=head.name,
            experiment=project.name,
            space="" if is_random_id(head.run_id) else f"{project.name}\0{head.first}",
            start_time=head.first,
            end_time=head.last or None,
            user=str(head.config.get(USER) or ""),
            params=params_of({key: value for key, value in head.config.items() if not key.startswith("_")}),
            tags=_tags(head),
            points=run.points,
            values=run.values,
            files=partial(_files, project, run, file, self._findings),
            time_unit=1_000,
        )


def _tags(head: RunHead) -> dict[str, str]:
    group = head.config.get(GROUP)
    return {"trackio.group": group if isinstance(group, str) else json.dumps(group)} if group else {}


def _files(project: Project, run: TrackioRun, file: ProjectFile | None, findings: Findings) -> Iterator[SourceFile]:
    """Media that are not images of their own, under trackio's names; then the files of artifacts."""
    media, found = project.folder / "media", dict[str, Any]()
    for item in run.media():
        is_value = isinstance(item.value, list) or item.value.get("_type") == "trackio.image"
        for name in media_names(item.value):
            path = media_file(name, media)
            if path is not None and not findings.is_outside(path) and not (is_value and is_png(path)):
                found[f"media/{name}"] = path
    for name, path in found.items():
        yield SourceFile(name, path.stat().st_size, partial(_opened, path))
    if isinstance(file, DatabaseFile):
        yield from artifact_files(file, project, run.head, findings)


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def _count_files(project: Project) -> int:
    folder = project.folder / "media" / project.name / "files"
    return sum(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else 0

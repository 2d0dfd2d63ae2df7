"""Which projects are in a folder of trackio's, and in which files each is.

A project is a database. On the Hub it is Parquet files of the same name; exported for a static page, the files of one
project have fixed names. On network disks, rows wait in an inbox, which all projects share, to be moved to databases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mltrack.importers.database import Database
from mltrack.importers.json_fields import parse_json
from mltrack.importers.source import SourceError

__all__ = ["INBOX", "Project", "project_name", "projects_of"]

INBOX = "inbox"
DATABASE, PARQUET = ".db", ".parquet"
PARTS = {"system": "_system.parquet", "configs": "_configs.parquet"}
OTHERS = ("traces", "artifacts", "artifact_versions", "artifact_aliases", "run_artifact_links")
SIDES = (*PARTS.values(), *(f"_{each}.parquet" for each in OTHERS), "_external_run_artifact_links.parquet")
"""How the names of files end that have no points."""

STATIC = ("metrics.parquet", {"system": "aux/system_metrics.parquet", "configs": "aux/configs.parquet"})
SQLITE = b"SQLite format 3\0"
COLUMNS = {"timestamp", "run_name", "step"}
"""What a table of points of every version has."""

KINDS = ("metric", "system_metric", "alert")


@dataclass(slots=True)
class Project:
    """A project and its files; ``folder`` is trackio's, in which media and artifacts are."""

    name: str
    folder: Path
    database: Path | None = None
    parquet: dict[str, Path] = field(default_factory=dict)
    fragments: list[Path] = field(default_factory=list)
    damaged: bool = False
    """Whether its file looks like one of trackio's by its first bytes and can't be read."""


def projects_of(path: Path, *, quick: bool = False) -> list[Project]:
    """The projects of a folder, or the one of a file, by name; none if it is nothing of trackio's.

    ``quick``: of each fragment in the inbox, only the first line is read.
    """
    if path.is_file():
        found = _file_project(path)
        return [found] if found is not None else []
    projects = {project.name: project for project in _in_files(path)}
    for place in (path, path / INBOX) if path.name != INBOX else (path,):
        for fragment in sorted(place.glob("*/*.jsonl")):
            for name in _names_in(fragment, quick):
                projects.setdefault(name, Project(name, path)).fragments.append(fragment)
        if projects and place != path:
            break
    return [projects[name] for name in sorted(projects)]


def project_name(project: object) -> str:
    """What files of a project are called: trackio keeps letters, digits, hyphens and underscores."""
    return "".join(each for each in str(project) if each.isalnum() or each in "-_") or "default"


def _file_project(path: Path) -> Project | None:
    if path.suffix == DATABASE:
        is_one = _is_database(path)
        project = Project(path.stem, path.parent, path)
    elif path.suffix == PARQUET:
        is_one = _is_parquet(path)
        project = _parquet_project(path)
    else:
        return None
    project.damaged = is_one is None
    return None if is_one is False else project


def _in_files(folder: Path) -> Iterator[Project]:
    """Projects in databases, then those of Parquet files without one."""
    names = set()
    for path in sorted(folder.glob(f"*{DATABASE}")):
        if (project := _file_project(path)) is not None:
            names.add(path.stem)
            yield project
    for path in sorted(folder.glob(f"*{PARQUET}")):
        if path.name.endswith(SIDES) or path.stem in names:
            continue
        if (project := _file_project(path)) is not None:
            yield project


def _parquet_project(path: Path) -> Project:
    folder, static = path.parent, STATIC[1]
    if path.name == STATIC[0] and (folder / "aux").is_dir():
        name, parts = folder.resolve().name, {part: folder / place for part, place in static.items()}
    else:
        name, parts = path.stem, {part: folder / f"{path.stem}{suffix}" for part, suffix in PARTS.items()}
    found = {part: place for part, place in parts.items() if place.is_file()}
    return Project(name, folder, parquet={"metrics": path, **found})


def _is_database(path: Path) -> bool | None:
    """Whether it is a database of trackio's; None where it is one that can't be read."""
    try:
        with path.open("rb") as file:
            head = file.read(len(SQLITE))
        if head != SQLITE and (head or not path.with_name(f"{path.name}-wal").exists()):
            return False
        database = Database(path)
    except (OSError, SourceError):
        return None
    try:
        return {*COLUMNS, "metrics"} <= database.columns.get("metrics", set())
    finally:
        database.close()


def _is_parquet(path: Path) -> bool | None:
    """Whether it is a table of trackio's; None where it is one that can't be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            if file.read(4) != b"PAR1":
                return False
        return set(pq.read_schema(path).names) >= COLUMNS
    except (OSError, pa.ArrowException):
        return None


def _names_in(fragment: Path, quick: bool) -> list[str]:
    """The projects whose rows are in a fragment; none where it is not a fragment of trackio's."""
    names: dict[str, None] = {}
    try:
        with fragment.open("rb") as file:
            for line in file:
                record = _record(line)
                if record.get("kind") in KINDS and record.get("project"):
                    names[project_name(record["project"])] = None
                if quick:
                    break
    except OSError:
        return []
    return list(names)


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = parse_json(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}

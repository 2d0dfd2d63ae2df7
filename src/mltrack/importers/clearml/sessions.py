"""Which folders and ZIP files are sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mltrack.importers.zip_members import names_in_zip

__all__ = ["LOG", "METRICS", "TASK", "session_paths"]

TASK, METRICS, LOG = "task.json", "metrics.jsonl", "log.jsonl"
LOOKED_AT_MAX = 1_000


def session_paths(path: Path) -> Iterator[Path]:
    """The sessions of a source, in order: itself, or those in it; of one that is there twice the ZIP file."""
    if _is_session(path):
        yield path
    elif path.is_dir():
        children = [child for child in sorted(path.iterdir()) if not child.name.startswith(".")][:LOOKED_AT_MAX]
        found = [child for child in children if _is_session(child)]
        whole = {child.stem for child in found if child.is_file()}
        yield from (child for child in found if child.is_file() or child.name not in whole)


def _is_session(path: Path) -> bool:
    if path.is_dir():
        return (path / TASK).is_file() and any((path / name).is_file() for name in (METRICS, LOG))
    names = names_in_zip(path) if path.is_file() and path.suffix == ".zip" else set()
    return TASK in names and bool(names & {METRICS, LOG})

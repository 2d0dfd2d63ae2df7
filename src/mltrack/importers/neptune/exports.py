"""Where the files of an export are, and which parts belong to which run.

Each project is a folder of ``RUN_part_N.parquet``, whose names end in digests. Parts are written as ``.tmp`` and get
their names when the run is done, part 0 the last: a run without it is not whole. Files are in a folder apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Export", "RunParts", "find_export", "run_parts"]

_PART = re.compile(r"(?P<run>.+-[0-9a-f]{16})_part_(?P<number>\d+)\.parquet(?P<unfinished>\.tmp)?")
DATA, FILES, MODELS = "data", "files", "model_data"
ENTITIES = ("models", "model_versions")


@dataclass(frozen=True, slots=True)
class Export:
    """An export: its root for messages, the folders of its projects, where its files are, and its models if any."""

    root: Path
    projects: tuple[Path, ...]
    files: Path
    models: Path | None = None


@dataclass(slots=True)
class RunParts:
    """The parts of one run by number, and how many are not finished."""

    prefix: Path
    parts: dict[int, Path] = field(default_factory=dict)
    unfinished: int = 0

    @property
    def missing(self) -> list[int]:
        """The numbers of parts that should be there."""
        return [number for number in range(max(self.parts, default=0) + 1) if number not in self.parts]


def find_export(path: Path) -> Export | None:
    """The export in a folder: of all projects, or of one; None where there is none."""
    if not path.is_dir():
        return None
    for data in (path, path / DATA):
        projects = tuple(folder for folder in _folders(data) if _has_parts(folder))
        if projects:
            models = path / MODELS if data != path else data.parent / MODELS
            return Export(path, projects, data.parent / FILES, models if models.is_dir() else None)
    if _has_parts(path) and path.name not in ENTITIES:
        return Export(path, (path,), path.parent.parent / FILES)
    return None


def run_parts(folder: Path) -> Iterator[RunParts]:
    """The runs in a project's folder, or other things that have parts, by name."""
    found: dict[str, RunParts] = {}
    for path in sorted(folder.iterdir()):
        match = _PART.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        run = found.setdefault(match["run"], RunParts(folder / match["run"]))
        if match["unfinished"]:
            run.unfinished += 1
        else:
            run.parts[int(match["number"])] = path
    yield from found.values()


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(folder for folder in path.iterdir() if folder.is_dir())
    except OSError:
        return []


def _has_parts(folder: Path) -> bool:
    try:
        return any(_PART.fullmatch(path.name) for path in folder.iterdir())
    except OSError:
        return False

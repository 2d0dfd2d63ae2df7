"""mltrack's own files, which are recognized and not imported: a store, a bundle, and what `mltrack export` wrote.

Runs go from one store to another as themselves, by a pull. An export has their points but not what else makes them
the same runs, so that they would come as new ones, next to those that they were written from.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mltrack.importers.listing import is_store
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["OwnFiles", "is_export"]

BUNDLE_SUFFIX = ".mltb"
POINT_COLUMNS = ["run_id", "metric", "step", "time", "value"]
EXPORTED = ("metrics.parquet", "metrics.csv", "metrics.jsonl")
LINE_BYTES_MAX = 1 << 16


class OwnFiles:
    """They."""

    name = "mltrack"
    title = "a source"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a store, a bundle, or what an export wrote."""
        return _is_store(path) or path.suffix == BUNDLE_SUFFIX or is_export(path)

    def open(self, path: Path, findings: Findings) -> Source:
        """Refuse it, with how its runs come.

        Raises:
            SourceError: always.
        """
        if _is_store(path):
            raise SourceError("it is a store of mltrack's own", hint=f"bring its runs as they are: mltrack pull {path}")
        if path.suffix == BUNDLE_SUFFIX:
            raise SourceError(
                "it is a bundle of mltrack's own", hint=f"bring its runs as they are: mltrack pull {path}"
            )
        raise SourceError(
            "it was written by mltrack export, which leaves out part of what makes up a run",
            hint="bring the runs from the store that they are in, by: mltrack pull FOLDER; or the points of a CSV or"
            " JSON lines file, as new runs, by: mltrack import FILE --from csv",
        )


def _is_store(path: Path) -> bool:
    names = [each.name for each in path.iterdir()] if path.is_dir() else []
    return is_store(names, names)


def is_export(path: Path) -> bool:
    """Whether a file has the points of an export, or a folder has them with the runs."""
    if path.is_dir():
        return any(
            (path / name).is_file() and (path / name.replace("metrics", "runs")).is_file() and is_export(path / name)
            for name in EXPORTED
        )
    return path.is_file() and _columns(path) == POINT_COLUMNS


def _columns(path: Path) -> list[str]:
    """The columns of a table of ours; none if it is something else."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_schema(path).names)
        if path.suffix not in (".csv", ".json", ".jsonl"):
            return []
        with path.open("rb") as file:
            line = file.readline(LINE_BYTES_MAX).decode()
        if path.suffix == ".csv":
            return [name.strip('"') for name in line.strip().split(",")]
        row = json.loads(line)
        return list(row) if isinstance(row, dict) else []
    except (OSError, ValueError):  # Arrow's errors are ValueErrors
        return []

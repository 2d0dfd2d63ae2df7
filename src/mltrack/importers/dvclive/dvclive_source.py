"""DVCLive's folders as runs: metrics, params, and files.

A folder has no id, and DVCLive empties it when another run begins there. So a run is known again by the place of its
folder and by the first row of the metric that was logged first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.importers.batches import make_batch
from mltrack.importers.dvclive.folders import METRICS
from mltrack.importers.dvclive.metric_table import MetricTable
from mltrack.importers.json_fields import number_of, params_of, parse_json
from mltrack.importers.listing import list_files
from mltrack.importers.logged_rows import LoggedRows
from mltrack.importers.source import BaseSource, SourceError, SourceFile, SourceRun, SourceValue
from mltrack.values.rich import Text

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.findings import Findings

__all__ = ["DvcliveSource"]

PARAMS, SUMMARY = "params.yaml", "metrics.json"
DEPTH_MAX = 20


class DvcliveSource(BaseSource):
    """A folder, or several."""

    def __init__(self, path: Path, folders: list[Path], findings: Findings) -> None:
        self._path = path
        self._folders = folders
        self._findings = findings

    def runs(self) -> Iterable[SourceRun]:
        """A run for each folder."""
        for folder in self._folders:
            where = folder.relative_to(self._path).as_posix() if folder != self._path else folder.resolve().name
            try:
                yield self._run(folder, where)
            except (SourceError, OSError) as error:
                self._findings.problem(where, str(error))

    def _run(self, folder: Path, where: str) -> SourceRun:
        place = folder.resolve()
        times = [path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()]
        return SourceRun(
            source_id=place.name,
            where=where,
            name=place.name,
            experiment=place.parent.name or "dvclive",
            space=f"{place}\0{self._first_row(folder, where)}",
            start_time=min(times),
            end_time=max(times),
            guessed_times=True,
            untimed=True,
            params=self._params(folder, where),
            points=partial(self._points, folder, where),
            values=partial(self._values, folder, where),
            files=partial(self._files, folder, where),
        )

    def _tables(self, folder: Path, where: str) -> list[MetricTable]:
        """A table for each metric."""
        root = folder / METRICS
        found = [(path, path.relative_to(root).as_posix()) for path in sorted(root.rglob("*.tsv"))]
        return [
            MetricTable(path, f"{where}/{METRICS}/{name}", self._findings)
            for path, name in found
            if not self._leads_out(path)
        ]

    def _first_row(self, folder: Path, where: str) -> str:
        """The first row of the metric that has the least step in it; of several, the first by name."""
        firsts = ((table.name, next(table.rows(), None)) for table in self._tables(folder, where))
        found = min(((row.step, name, row) for name, row in firsts if row is not None), default=None)
        return "" if found is None else repr(found)

    def _params(self, folder: Path, where: str) -> dict[str, str]:
        import yaml

        if self._leads_out(folder / PARAMS):
            return {}
        try:
            found = yaml.safe_load((folder / PARAMS).read_bytes())
        except FileNotFoundError:
            return {}
        except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
            self._findings.problem(f"{where}/{PARAMS}", f"can't be read: {' '.join(str(error).split())[:200]}")
            return {}
        return params_of(_with_texts(found)) if isinstance(found, dict) else {}

    # --- points, values and files ---

    def _points(self, folder: Path, where: str) -> Iterator[pa.RecordBatch]:
        """Numbers of every metric; then those of the summary that no metric has, at its step."""
        tables = self._tables(folder, where)
        for table in tables:
            for steps, times, values in table.numbers():
                yield make_batch([table.name], np.zeros(len(steps), np.int64), steps, times, values)
        summary, logged = self._summary(folder, where), LoggedRows()
        step, names = summary.get("step"), {table.name for table in tables}
        own = {name: value for name, value in _leaves(summary, "", 0) if name not in names and name != "step"}
        logged.add(step if isinstance(step, int) else 0, 0, own)
        points, _ = logged.take()
        yield make_batch(points.keys, points.codes, points.steps, points.times, points.values)

    def _values(self, folder: Path, where: str) -> Iterator[SourceValue]:
        """Texts that were logged as metrics."""
        for table in self._tables(folder, where):
            for row in table.texts():
                yield SourceValue(table.name, row.step, row.time, Text(str(row.value)))

    def _files(self, folder: Path, where: str) -> Iterator[SourceFile]:
        """Images, plots, reports and other files of the folder."""
        files = list_files(
            folder,
            lambda words: self._findings.problem(where, words),
            lambda name: self._findings.left_out(f"{where}: {name}, a link that leads elsewhere"),
        )
        for file in files:
            if file.path not in (PARAMS, SUMMARY) and not file.path.startswith(f"{METRICS}/"):
                yield file

    def _leads_out(self, path: Path) -> bool:
        return path.exists() and self._findings.is_outside(path)

    def _summary(self, folder: Path, where: str) -> dict[str, Any]:
        if self._leads_out(folder / SUMMARY):
            return {}
        try:
            found = parse_json((folder / SUMMARY).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self._findings.problem(f"{where}/{SUMMARY}", f"can't be read: {error}")
            return {}
        return found if isinstance(found, dict) else {}


def _leaves(fields: dict[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, float]]:
    """Numbers of a summary, their names joined by slashes as metrics' are."""
    for key, value in fields.items():
        if isinstance(value, dict) and depth < DEPTH_MAX:
            yield from _leaves(value, f"{prefix}{key}/", depth + 1)
        elif (number := number_of(value)) is not None:
            yield f"{prefix}{key}", number


def _with_texts(fields: Any) -> dict[str, Any]:
    """Params of types that JSON does not have, such as dates, as texts."""
    found: dict[str, Any] = json.loads(json.dumps(fields, default=str, skipkeys=True))
    return found

"""A small importer, as another package may add one: a file of JSON with runs that have rich values."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mltrack.importers.batches import make_batch
from mltrack.importers.findings import Findings
from mltrack.importers.source import BaseSource, SourceError, SourceFile, SourceRun, SourceValue
from mltrack.values.rich import Histogram, Image, Text

__all__ = ["JsonImporter"]


class JsonImporter:
    """Files named ``*.runs.json``."""

    name = "json-runs"
    title = "a file of JSON with runs"

    def recognizes(self, path: Path) -> bool:
        """By its name."""
        return path.name.endswith(".runs.json")

    def open(self, path: Path, findings: Findings) -> JsonSource:
        """Open it."""
        try:
            return JsonSource(path, json.loads(path.read_text()), findings)
        except ValueError as error:
            raise SourceError(f"not JSON: {error}") from error


class JsonSource(BaseSource):
    """Such a file."""

    def __init__(self, path: Path, runs: list[dict[str, Any]], findings: Findings) -> None:
        self._path = path
        self._runs = runs
        self._findings = findings

    def runs(self) -> Iterable[SourceRun]:
        """Its runs."""
        for run in self._runs:
            if "id" not in run:
                self._findings.problem(self._path.name, "a run without id")
                continue
            yield SourceRun(
                source_id=run["id"],
                where=f"run {run['id']}",
                name=run["id"],
                experiment=run.get("experiment", "json"),
                space=run.get("project", ""),
                status=run.get("status", "FINISHED"),
                start_time=1_700_000_000_000_000_000,
                points=partial(self._points, run),
                values=partial(self._values, run),
                files=partial(self._files, run),
            )
            if run.get("notes"):
                self._findings.left_out(f"notes of {run['id']}")

    def _points(self, run: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        for rows in run.get("points", []):  # batches of [key, step, time, value]
            keys = sorted({row[0] for row in rows})
            columns = list(zip(*rows, strict=True))
            codes = np.array([keys.index(key) for key in columns[0]], np.int64)
            steps, times = np.array(columns[1], np.int64), np.array(columns[2], np.int64)
            yield make_batch(keys, codes, steps, times, np.array(columns[3], np.float64))
        if run.get("breaks"):
            raise SourceError("it ends in the middle of a record")

    def _values(self, run: dict[str, Any]) -> Iterator[SourceValue]:
        for step, numbers in enumerate(run.get("histograms", [])):
            yield SourceValue("weights", step, 1_700_000_000_000_000_000 + step, Histogram(np.array(numbers)))
        for step, text in enumerate(run.get("texts", [])):
            yield SourceValue("said", step, 1_700_000_000_000_000_000 + step, Text(text))
        for step, side in enumerate(run.get("images", [])):
            pixels = np.full((side, side, 3), step, np.uint8)
            yield SourceValue("seen: it", step, 1_700_000_000_000_000_000 + step * 1_000_000, Image(pixels))

    def _files(self, run: dict[str, Any]) -> Iterator[SourceFile]:
        for name, text in run.get("files", {}).items():
            data = text.encode()
            yield SourceFile(name, len(data), partial(io.BytesIO, data))

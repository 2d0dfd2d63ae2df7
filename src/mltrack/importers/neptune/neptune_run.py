"""One run of an export: read once for its facts and the scale of its steps, then for points, values and files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mltrack.disk.filesystem import safe_join
from mltrack.errors import InvalidPathError, UsageError
from mltrack.importers.batches import make_batch
from mltrack.importers.neptune.facts import TIME_MS_MAX, VALUE_COLUMNS, RunFacts
from mltrack.importers.neptune.part_file import SERIES, PartFile
from mltrack.importers.neptune.steps import StepScale, millionths
from mltrack.importers.png_image import PNG, PngImage
from mltrack.importers.source import SourceError, SourceValue
from mltrack.text.counting import plural
from mltrack.values.rich import Histogram, Text

if TYPE_CHECKING:
    import numpy.typing as npt

    from mltrack.importers.findings import Findings
    from mltrack.importers.neptune.exports import RunParts

__all__ = ["NamedFile", "NeptuneRun"]

NS_PER_MS = 1_000_000
CONSOLES = ("stdout", "stderr")
HEAD = ["project_id", "run_id", "attribute_path", "attribute_type", "step"]
OTHERS = [*HEAD, "timestamp", *VALUE_COLUMNS.values(), "file_value", "histogram_value"]
POINTS = ["attribute_path", "attribute_type", "step", "timestamp", "float_value"]

Row = dict[str, Any]
NamedFile = tuple[str, str, int | None, str]
"""An attribute, its type, the step in millionths if any, and the path of the file in the export."""


class NeptuneRun:
    """It. ``files`` is the folder that the paths of files begin in."""

    def __init__(self, parts: RunParts, where: str, files: Path, findings: Findings) -> None:
        self.where = where
        self.facts = RunFacts()
        self.named: list[NamedFile] = []
        self.consoles: dict[str, int] = {}
        """Attributes that are the console's output, and their bytes as a file."""
        self._parts = [PartFile(path, f"{where}_part_{number}") for number, path in sorted(parts.parts.items())]
        self._files = files
        self._findings = findings
        self._scale = StepScale()
        self._has_values = False

    # --- facts ---

    def scan(self) -> None:
        """Read the facts, and all steps.

        Raises:
            SourceError: it can't be read.
        """
        for row in self._rows(seen=False):
            if not row.get("attribute_path"):
                continue
            path, kind = str(row["attribute_path"]), str(row["attribute_type"])
            self.facts.project = self.facts.project or str(row["project_id"] or "")
            self.facts.run_id = self.facts.run_id or str(row["run_id"] or "")
            if kind in VALUE_COLUMNS:
                self.facts.take(path, kind, row)
            elif row.get("file_value"):
                self.named.append((path, kind, row["step"], str(row["file_value"].get("path"))))
            elif kind == "string_series" and path.rsplit("/", 1)[-1] in CONSOLES:
                self.consoles[path] = self.consoles.get(path, 0) + len(_line(row))
            else:
                self._has_values = True
        for batch in () if self.facts.run_id else self._batches(["project_id", "run_id"], series=True):
            self.facts.project, self.facts.run_id = (str(batch.column(at)[0]) for at in range(2))
            break
        for batch in self._batches(["step"], series=True):
            self._scale.see(millionths(batch.column(0))[0])
        if not self.facts.run_id:
            raise SourceError("it names no run")

    @property
    def tags(self) -> dict[str, str]:
        """Tags; one says by what steps were multiplied, where they are not whole numbers in Neptune."""
        factor = self._scale.factor
        return self.facts.tags() | ({"neptune.step_multiplier": str(factor)} if factor > 1 else {})

    def _batches(self, columns: list[str], *, series: bool) -> Iterator[pa.RecordBatch]:
        for part in self._parts:
            try:
                yield from part.batches(columns, series=series)
            except SourceError as error:
                self._findings.problem(self.where, str(error))

    def _rows(self, *, seen: bool = True) -> Iterator[Row]:
        """Rows that are not points; their steps as they are here once all were seen."""
        for batch in self._batches(OTHERS, series=False):
            kept = batch.filter(pc.not_equal(batch.column("attribute_type").cast(pa.string()), SERIES))
            raw, has_step = millionths(kept.column("step")) if "step" in kept.schema.names else _no_steps(len(kept))
            if not seen:
                self._scale.see(raw)
            steps = self._scale.whole(raw) if seen else raw
            for row, step, valid in zip(self._objects(kept), steps.tolist(), has_step.tolist(), strict=True):
                yield {**row, "step": step if valid else None}

    def _objects(self, batch: pa.RecordBatch) -> list[Row]:
        """Rows as objects, times in ms; where some are damaged, only those that are not."""
        columns = [_plain(column) for column in batch.columns]
        plain = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        try:
            return list(plain.to_pylist())
        except (ValueError, OverflowError) as error:
            if len(plain) > 1:
                return [row for at in range(len(plain)) for row in self._objects(plain.slice(at, 1))]
            self._findings.problem(self.where, f"a row can't be read: {error}")
            return [{}]

    # --- points ---

    def points(self) -> Iterator[pa.RecordBatch]:
        """Series of numbers, with steps that are whole numbers."""
        for batch in self._batches(POINTS, series=True):
            names = set(batch.schema.names)
            if not names >= set(POINTS):
                raise SourceError(f"points without {', '.join(sorted(set(POINTS) - names))}")
            kinds = batch.column("attribute_type").cast(pa.string())
            kept = batch.filter(pc.fill_null(pc.equal(kinds, SERIES), False))
            raw, has_step = millionths(kept.column("step"))
            if not has_step.all():
                self._findings.problem(self.where, f"without a step: {plural(int((~has_step).sum()), 'point')}")
                kept, raw = kept.filter(pa.array(has_step)), raw[has_step]
            if len(kept):
                yield self._points(kept, self._scale.whole(raw))

    def _points(self, batch: pa.RecordBatch, steps: npt.NDArray[np.int64]) -> pa.RecordBatch:
        path = batch.column("attribute_path")
        values = pc.fill_null(batch.column("float_value"), float("nan"))  # the exporter writes NaN so
        codes = path.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return make_batch(path.dictionary.to_pylist(), codes, steps, _times(batch), np.asarray(values))

    # --- values and files ---

    def values(self) -> Iterator[SourceValue]:
        """Histograms, texts, and images that are PNG files."""
        for path, kind, raw, name in self.named:
            found = self.file(name) if kind == "file_series" else None
            if found is not None and is_png(found):
                yield SourceValue(path, self.step(raw) or 0, self.facts.start_time, PngImage(found.read_bytes()))
        for row in self._rows() if self._has_values else ():
            if not row.get("attribute_path"):
                continue
            path, kind = str(row["attribute_path"]), str(row["attribute_type"])
            ms = row.get("timestamp") or 0
            time = ms * NS_PER_MS if abs(ms) < TIME_MS_MAX else 0
            try:
                if kind == "histogram_series" and row["histogram_value"]:
                    counted = Histogram.from_counts(row["histogram_value"]["values"], row["histogram_value"]["edges"])
                    yield SourceValue(path, row["step"] or 0, time, counted)
                elif kind == "string_series" and path not in self.consoles and row["string_value"] is not None:
                    yield SourceValue(path, row["step"] or 0, time, Text(row["string_value"]))
            except UsageError as error:
                self._findings.problem(self.where, f"{path!r} at step {row['step']}: {error}")

    def console(self, attribute: str) -> bytes:
        """What the console showed, a line for each step."""
        return b"".join(_line(row) for row in self._rows() if row.get("attribute_path") == attribute)

    def step(self, raw: int | None) -> int | None:
        """A step in millionths as it is here."""
        return None if raw is None else int(self._scale.whole(np.array([raw], np.int64))[0])

    def file(self, name: str) -> Path | None:
        """A file or folder of the export; None where it is not there."""
        try:
            path = safe_join(self._files, name)
        except InvalidPathError:
            return None
        return path if path.exists() and not self._findings.is_outside(path) else None


def is_png(path: Path) -> bool:
    """Whether a file is a PNG image."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(PNG)) == PNG


def _plain(column: pa.Array) -> pa.Array:
    """A column without times, which may be in years that Python does not know, and without steps."""
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64())
    return column.cast(pa.string()) if pa.types.is_decimal(column.type) else column


def _line(row: Row) -> bytes:
    text = str(row.get("string_value") or "")
    return (text if text.endswith("\n") else f"{text}\n").encode("utf-8", "replace")


def _no_steps(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    return np.zeros(count, np.int64), np.zeros(count, np.bool_)


def _times(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """In ns since the epoch, 0 where they are not known."""
    times = np.asarray(pc.fill_null(_plain(batch.column("timestamp")).cast(pa.int64()), 0))
    if len(times) and (times.max() >= TIME_MS_MAX or times.min() <= -TIME_MS_MAX):
        times = np.where(np.abs(times) < TIME_MS_MAX, times, 0)
    return times * NS_PER_MS

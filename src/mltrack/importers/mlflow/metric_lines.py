"""The text files in which MLflow's FileStore keeps a metric: one line a point, parsed in blocks.

``time value`` (before 1.0, in seconds, step 0), ``time value step``, ``time value step dataset-name dataset-digest``.
Times are in ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from mltrack.importers.mlflow.terms import NS_PER_MS, TIME_MS_MAX

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from mltrack.importers.findings import Findings

__all__ = ["MetricLines", "read_metric_file"]

BLOCK_BYTES = 8 << 20
SECONDS_MAX = 100_000_000_000
"""Smaller times are in seconds, where lines have no step: as ms they were before March 1973."""


class MetricLines(NamedTuple):
    """Points of one metric: steps, times in ns, values."""

    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


def read_metric_file(path: Path, where: str, findings: Findings) -> Iterator[MetricLines]:
    """The points of a metric's file in order, in blocks. Lines that are torn are named and left out.

    Args:
        path: The file.
        where: Its name in messages.
        findings: Gets what can't be read.

    Raises:
        OSError: the file can't be read.
    """
    line = 1
    with path.open("rb") as file:
        rest = b""
        while data := file.read(BLOCK_BYTES):
            whole, _, rest = (rest + data).rpartition(b"\n")
            if whole:
                yield from _parse(whole + b"\n", where, line, findings)
                line += whole.count(b"\n") + 1
        if rest.strip():
            yield from _parse(rest, where, line, findings)


def _parse(data: bytes, where: str, line: int, findings: Findings) -> Iterator[MetricLines]:
    fields = data[: data.find(b"\n")].count(b" ") + 1
    columns = {"f0": pa.int64(), "f1": pa.float64(), "f2": pa.int64()}
    names = [f"f{number}" for number in range(fields)]
    options = pa.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1)
    parse = pa.csv.ParseOptions(delimiter=" ", quote_char=False, ignore_empty_lines=False)
    convert = pa.csv.ConvertOptions(
        column_types={name: columns.get(name, pa.string()) for name in names},
        include_columns=names[:3],
        null_values=[],
        strings_can_be_null=False,
    )
    if fields in (2, 3, 4, 5, 6) and data.endswith(b"\n"):
        try:
            table = pa.csv.read_csv(pa.BufferReader(data), options, parse, convert)
        except pa.ArrowInvalid:
            pass
        else:
            times = table.column(0).to_numpy()
            if not len(times) or (times.min() >= -TIME_MS_MAX and times.max() <= TIME_MS_MAX):
                steps = table.column(2).to_numpy() if fields > 2 else np.zeros(len(times), np.int64)
                yield MetricLines(steps, _ns(times, fields), table.column(1).to_numpy())
                return
    yield from _line_by_line(data, where, line, findings)


def _ns(times: npt.NDArray[np.int64], fields: int) -> npt.NDArray[np.int64]:
    if fields > 2:
        return times * NS_PER_MS
    return np.where(np.abs(times) < SECONDS_MAX, times * 1_000, times) * NS_PER_MS


def _line_by_line(data: bytes, where: str, line: int, findings: Findings) -> Iterator[MetricLines]:
    """The same, where something in the block is not as it should be, or lines have several forms."""
    steps, times, values = [], [], []
    most = 0
    *lines, last = data.decode("utf-8", "replace").split("\n")
    if last.strip():  # MLflow ends each line, so this one was not written to its end
        findings.problem(where, f"line {line + len(lines):,} is torn: {last[:60]!r}")
    for number, text in enumerate(lines, line):
        if not text.strip():
            continue
        parts = text.split(" ")
        most = max(most, len(parts))
        try:
            time, value, step = _point(parts, most)
        except (ValueError, IndexError):
            findings.problem(where, f"line {number:,} is torn: {text[:60]!r}")
            continue
        times.append(time)
        steps.append(step)
        values.append(value)
    if values:
        yield MetricLines(np.array(steps, np.int64), np.array(times, np.int64), np.array(values, np.float64))


def _point(parts: list[str], most: int) -> tuple[int, float, int]:
    """A line's time in ns, value and step; ``most``: how many fields a line before it had.

    Raises:
        ValueError, IndexError: it is torn, or two lines are in one.
    """
    if len(parts) not in (2, 3, 4, 5, 6) or (len(parts) == 2 and most > 2):
        raise ValueError
    if len(parts) == 5 and _is_number(parts[3]) and _is_number(parts[4]):
        raise ValueError  # two lines, of which the first was not ended
    time, value, step = int(parts[0]), float(parts[1]), int(parts[2]) if len(parts) > 2 else 0
    if len(parts) == 2 and abs(time) < SECONDS_MAX:
        time *= 1_000
    if not -TIME_MS_MAX <= time <= TIME_MS_MAX or not -(1 << 63) <= step < 1 << 63:
        raise ValueError
    return time * NS_PER_MS, value, step


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

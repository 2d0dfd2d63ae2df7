"""The points of event files, chunk by chunk, and the events that hold anything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mltrack.importers.batches import Columns
from mltrack.importers.protobuf import WireError
from mltrack.importers.tfevents.events import Event, event_of
from mltrack.importers.tfevents.layouts import Layout, layout_of, text_codes, times_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from mltrack.importers.findings import Findings
    from mltrack.importers.tfevents.records import Chunk

__all__ = ["Decoder", "OtherEvent"]

LAYOUTS_MAX = 64
"""So many layouts are tried on events of one size; what has another one is taken apart one by one."""


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """An event that is not only scalars, and where its record is in the file; ``plugins`` says what its names are."""

    event: Event
    place: int
    size: int
    plugins: Mapping[str, str]


@dataclass(slots=True)
class _Points:
    """Parts of a chunk's points, in any order: by record, and by number within the record."""

    parts: list[tuple[npt.NDArray[np.int64], ...]] = field(default_factory=list)

    def add(
        self,
        order: npt.NDArray[np.int64],
        codes: npt.NDArray[np.int64],
        steps: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> None:
        self.parts.append((order, codes, steps, times, values.view(np.int64)))

    def columns(self, keys: list[str]) -> Columns:
        if not self.parts:
            empty = np.zeros(0, np.int64)
            return Columns(keys, empty, empty, empty, empty.view(np.float64))
        order, codes, steps, times, values = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        ranks = np.argsort(order, kind="stable")
        return Columns(keys, codes[ranks], steps[ranks], times[ranks], values[ranks].view(np.float64))


class Decoder:
    """Decodes the chunks of one run's files, in order."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._layouts: dict[int, list[Layout]] = {}
        self._keys: list[str] = []
        self._codes: dict[bytes, int] = {}
        self._plugins: dict[str, str] = {}

    def decode(self, chunk: Chunk, where: str) -> tuple[Columns, list[OtherEvent]]:
        """The points of a chunk in the file's order, and its other events."""
        points, others = _Points(), list[int]()
        order = np.argsort(chunk.sizes, kind="stable")
        limits = np.flatnonzero(np.diff(chunk.sizes[order])) + 1
        for group in np.split(order, limits):
            if len(group):
                others += self._decode_size(chunk, group, points)
        found = [event for event in (self._single(chunk, index, where) for index in sorted(others)) if event]
        for index, other in found:
            self._add_single(points, index, other.event)
        return points.columns(list(self._keys)), [other for _, other in found if len(other.event.items)]

    def _decode_size(self, chunk: Chunk, index: npt.NDArray[np.int64], points: _Points) -> list[int]:
        """Decode the records of one size; returns those that hold something else, or have a rare layout."""
        rows = _rows(chunk, index)
        layouts = self._layouts.setdefault(int(chunk.sizes[index[0]]), [])
        for layout in layouts:
            if not len(index):
                return []
            rows, index = self._take(layout, rows, index, points)
        others: list[int] = []
        while len(index):
            made = layout_of(chunk.record(int(index[0]))) if len(layouts) < LAYOUTS_MAX else None
            if made is None:
                taken = len(index) if len(layouts) >= LAYOUTS_MAX else 1
                others += index[:taken].tolist()
                rows, index = rows[taken:], index[taken:]
                continue
            layouts.append(made)
            rows, index = self._take(made, rows, index, points)
        return others

    def _take(
        self, layout: Layout, rows: npt.NDArray[np.uint8], index: npt.NDArray[np.int64], points: _Points
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Decode what has the layout; returns the rest."""
        matches = layout.matches(rows)
        whole = bool(matches.all())
        mine, numbers = (rows, index) if whole else (rows[matches], index[matches])
        if len(mine):
            steps, times = layout.steps(mine), times_of(layout.walls(mine))
            for place, value in enumerate(layout.values):
                texts, codes = text_codes(mine, value.tag)
                codes = np.array([self._code(text) for text in texts], np.int64)[codes]
                points.add((numbers << 20) + place, codes, steps, times, layout.numbers(mine, value))
        return (rows[:0], index[:0]) if whole else (rows[~matches], index[~matches])

    def _code(self, tag: bytes) -> int:
        code = self._codes.get(tag)
        if code is None:
            code = self._codes[tag] = len(self._keys)
            self._keys.append(tag.decode("utf-8", "replace"))
        return code

    def _single(self, chunk: Chunk, index: int, where: str) -> tuple[int, OtherEvent] | None:
        start = chunk.place + int(chunk.starts[index])
        try:
            event = event_of(chunk.record(index), self._plugins)
        except WireError as error:
            self._findings.problem(where, f"byte {start - 12:,}: not an event: {error}")
            return None
        return index, OtherEvent(event, start, int(chunk.sizes[index]), self._plugins)

    def _add_single(self, points: _Points, index: int, event: Event) -> None:
        for place, item in enumerate(event.of_kind("scalar")):
            code, order = self._code(item.tag.encode()), (index << 20) + place
            whole = np.array([[order], [code], [event.step], [event.time]], np.int64)
            points.add(whole[0], whole[1], whole[2], whole[3], np.array([item.number], np.float64))


def _rows(chunk: Chunk, index: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Records of one size as rows, filled up to whole words."""
    size = int(chunk.sizes[index[0]])
    rows = np.zeros((len(index), -(-size // 8) * 8), np.uint8)
    if size:
        rows[:, :size] = np.lib.stride_tricks.sliding_window_view(chunk.data, size)[chunk.starts[index]]
    return rows

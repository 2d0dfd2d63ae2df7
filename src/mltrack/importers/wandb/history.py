"""What was logged: records of history as points, and as values that are more than numbers.

A record is an item for each metric, and the step. Most items have a key that came before, and a number: their bytes are
split at the field of the value, the key is looked up as it stands, and the numbers are read by Arrow, many at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from mltrack.disk.arrow_columns import column_array
from mltrack.importers.batches import Columns
from mltrack.importers.protobuf import BYTES, Fields, WireError, message, signed, varint
from mltrack.importers.wandb.items import item_name, item_value, set_nested, split_item

__all__ = ["BATCH_ITEMS", "History", "LoggedValue"]

BATCH_ITEMS = 1 << 16
VALUE_FIELD = b"\x82\x01"
"""What the value of an item begins with: field 16, bytes."""

STEP, TIME, SKIPPED, MEDIA = -1, -2, -3, -4
"""What a key is that is not a metric."""

_NUMERIC = np.zeros(256, np.bool_)
_NUMERIC[list(b"-0123456789NI")] = True
_LITERALS = {b"true": b"1", b"false": b"0", b'"NaN"': b"NaN", b'"Infinity"': b"Infinity", b'"-Infinity"': b"-Infinity"}


@dataclass(frozen=True, slots=True)
class LoggedValue:
    """A value that is not a number, in JSON; ``time`` is in seconds since the epoch."""

    key: str
    step: int
    time: float
    text: bytes


@dataclass(slots=True)
class History:
    """Collects records; ``take`` gives what was collected."""

    keys: list[str] = field(default_factory=list)
    last_step: int = 0
    last_time: float = 0.0
    _known: dict[bytes, int] = field(default_factory=dict)
    _by_name: dict[str, int] = field(default_factory=dict)
    _codes: list[int] = field(default_factory=list)
    _texts: list[bytes] = field(default_factory=list)
    _rows: list[tuple[int, int, float]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, data: bytes, start: int, end: int) -> None:
        """Add a HistoryRecord.

        Raises:
            WireError, JsonError: it is damaged; nothing of it is added.
        """
        step, time, at, has_media = None, self.last_time, start, False
        codes: list[int] = []
        texts: list[bytes] = []
        known = self._known
        while at < end:
            size = data[at + 1] if at + 1 < end else 0
            if data[at] == 0x0A and size < 0x80:
                item = data[at + 2 : at + 2 + size]
                at += 2 + size
            elif data[at] == 0x12 and 0 < size < 0x0B and data[at + 2] == 8:
                step, stop = varint(data, at + 3, end)
                step, at = signed(step), at + 2 + size
                if stop != at:
                    raise WireError(f"byte {at}: a step that is not a number")
                continue
            else:
                item, at, said = _other_field(data, at, end)
                step = said if said is not None else step
                if not item:
                    continue
            head, _, tail = item.partition(VALUE_FIELD)
            if len(tail) > 1 and tail[0] == len(tail) - 1 and tail[0] < 0x80:
                code, text = known.get(head), tail[1:]
                if code is None:
                    code = known[head] = self._code_of(item)
            else:
                code, text = self._slow(item)
            if code >= 0:
                codes.append(code)
                texts.append(text)
            elif code == TIME:
                time = _seconds(text, time)
            elif code == STEP and step is None:
                step = _step_of(text)
            elif code == MEDIA:
                has_media = True
        if at != end:
            raise WireError(f"byte {at}: an item that goes on after the end of its record")
        if has_media:
            codes, texts = self._with_media(Fields(data, start, end))
        self._add_row(codes, texts, step, time)

    def _with_media(self, record: Fields) -> tuple[list[int], list[bytes]]:
        """The items of a record with an image or another medium, whose fields are items of their own."""
        fields: dict[str, Any] = {}
        for item in record.each(1):
            path, value = item_value(item)
            set_nested(fields, path, value)
        found = [(self._code_of_name(path), json.dumps(value).encode()) for path, value in _leaves([], fields)]
        return [code for code, _ in found if code >= 0], [text for code, text in found if code >= 0]

    def _add_row(self, codes: list[int], texts: list[bytes], step: int | None, time: float) -> None:
        self.last_step, self.last_time = (self.last_step if step is None else step), time
        self._codes += codes
        self._texts += texts
        self._rows.append((len(codes), self.last_step, time))

    def _slow(self, item: bytes) -> tuple[int, bytes]:
        path, text = split_item(Fields(item))
        return self._code_of_name(path), text or b"null"

    def _code_of(self, item: bytes) -> int:
        return self._code_of_name(split_item(Fields(item))[0])

    def _code_of_name(self, path: list[str]) -> int:
        name = item_name(path)
        if len(path) > 1 and path[-1] == "_type":
            return MEDIA
        if name.startswith("_"):
            return {"_step": STEP, "_timestamp": TIME}.get(name, SKIPPED)
        code = self._by_name.get(name)
        if code is None:
            code = self._by_name[name] = len(self.keys)
            self.keys.append(name)
        return code

    def take(self) -> tuple[Columns, list[LoggedValue]]:
        """The points, and the other values; both are forgotten here."""
        codes, rows = np.array(self._codes, np.int64), self._rows
        counts = np.array([row[0] for row in rows], np.int64)
        steps = np.repeat(np.array([row[1] for row in rows], np.int64), counts)
        times = np.repeat(np.array([row[2] for row in rows], np.float64), counts)
        texts = self._texts
        firsts = np.frombuffer(bytes([text[0] for text in texts]), np.uint8)
        numeric = _NUMERIC[firsts]
        others: list[LoggedValue] = []
        for index in np.flatnonzero(~numeric).tolist():
            text = texts[index]
            if text in _LITERALS:
                texts[index], numeric[index] = _LITERALS[text], True
            elif text != b"null":
                key = self.keys[int(codes[index])]
                others.append(LoggedValue(key, int(steps[index]), float(times[index]), text))
        if not numeric.all():
            texts = [text for text, is_number in zip(texts, numeric.tolist(), strict=True) if is_number]
        columns = Columns(list(self.keys), codes[numeric], steps[numeric], ns_of(times[numeric]), _numbers(texts))
        self.forget()
        return columns, others

    def forget(self) -> None:
        """Forget what was collected."""
        self._codes, self._texts, self._rows = [], [], []


def _leaves(path: list[str], value: Any) -> Iterator[tuple[list[str], Any]]:
    if isinstance(value, dict) and "_type" not in value:
        for key, inner in value.items():
            yield from _leaves([*path, key], inner)
    else:
        yield path, value


def ns_of(seconds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Seconds since the epoch in ns, 0 for what is not a time."""
    usable = np.where(np.isfinite(seconds) & (np.abs(seconds) < 9e9), seconds, 0.0)
    whole = np.floor(usable)
    found = whole.astype(np.int64) * 1_000_000_000
    found += np.rint((usable - whole) * 1e9).astype(np.int64)
    return found


def _numbers(texts: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    try:
        return column_array(pa.array(texts, pa.binary()).cast(pa.string()).cast(pa.float64()), np.float64)
    except pa.ArrowInvalid:  # something begins as a number and is not one
        return np.array([_seconds(text, float("nan")) for text in texts], np.float64)


def _step_of(text: bytes) -> int:
    number = _seconds(text, 0.0)
    return int(number) if abs(number) < 2.0**63 else 0


def _seconds(text: bytes, default: float) -> float:
    try:
        return float(text)
    except ValueError:
        return default


def _other_field(data: bytes, at: int, end: int) -> tuple[bytes, int, int | None]:
    """A field that is not a short item: a long item, or the step."""
    key, after = varint(data, at, end)
    if key & 7 != BYTES:
        for _, _, _, after in message(data, at, end):
            return b"", after, None
    size, start = varint(data, after, end)
    stop = start + size
    if stop > end:
        raise WireError(f"byte {at}: a field that goes on after the end of its record")
    if key >> 3 == 1:
        return data[start:stop], stop, None
    if key >> 3 == 2:
        return b"", stop, Fields(data, start, stop).integer(1)
    return b"", stop, None

"""Numbers of a log as columns. Nearly all records are numbers, so those of the usual layout are taken by a pattern."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from mltrack.importers.batches import Columns
from mltrack.importers.swanlab.records import Scalar, protobuf_record

__all__ = ["BATCH_ITEMS", "Scalars", "is_scalar"]

BATCH_ITEMS = 1 << 16
VARINT_BYTES = 10
SYSTEM = "__swanlab__."
_TIME = rb"(?:\x08([\x80-\xff]*[\x00-\x7f]))?(?:\x10([\x80-\xff]*[\x00-\x7f]))?"
_HEAD = re.compile(
    rb"(?:\x08[\x80-\xff]*[\x00-\x7f])?\x12[\x00-\x7f]" + _TIME + rb"\x6a[\x80-\xff]*[\x00-\x7f]\x0a([\x00-\x7f])", re.S
)
_TAIL = re.compile(
    rb"(?:\x10([\x80-\xff]{0,9}[\x00-\x7f]))?\x18\x01\x22[\x00-\x7f]" + _TIME + rb"\x2a(?:\x00|\x09\x09(.{8}))", re.S
)
_SHIFTS = (np.arange(VARINT_BYTES, dtype=np.uint64) * np.uint64(7))[None, :]
_NAMES = {
    "cpu.pct": "cpu_utilization_percentage",
    "mem.pct": "system_memory_usage_percentage",
    "disk.usage": "disk_usage_percentage",
}


def is_scalar(data: bytes) -> bool:
    """Whether a record is a number of the usual layout, told by its first bytes."""
    return _HEAD.match(data) is not None


class Scalars:
    """Collects numbers; ``take`` gives what was collected."""

    def __init__(self) -> None:
        self._keys: dict[bytes, int] = {}
        self._codes: list[int] = []
        self._steps: list[bytes] = []
        self._seconds: list[bytes] = []
        self._rest: list[bytes] = []
        self._values: list[bytes] = []

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, data: bytes) -> None:
        """Add a record if it is a number.

        Raises:
            WireError: it is damaged.
        """
        head = _HEAD.match(data)
        start = head.end() if head is not None else 0
        end = start + head[3][0] if head is not None else 0
        tail = _TAIL.fullmatch(data, end) if head is not None else None
        if tail is None or tail[2] is None:
            found = protobuf_record(data)
            if isinstance(found, Scalar):
                self.put(found)
            return
        key = data[start:end]
        code = self._keys.get(key)
        if code is None:
            code = self._keys[key] = len(self._keys)
        self._codes.append(code)
        step, seconds, rest, value = tail.groups(b"\0")
        self._steps.append(step.ljust(VARINT_BYTES, b"\0"))
        self._seconds.append(seconds.ljust(VARINT_BYTES, b"\0"))
        self._rest.append(rest.ljust(VARINT_BYTES, b"\0"))
        self._values.append(value if len(value) > 1 else bytes(8))

    def put(self, scalar: Scalar) -> None:
        """Add a number."""
        self._codes.append(self._keys.setdefault(scalar.key.encode("utf-8", "replace"), len(self._keys)))
        seconds, rest = divmod(scalar.time, 1_000_000_000)
        self._steps.append(_varint(scalar.step))
        self._seconds.append(_varint(seconds))
        self._rest.append(_varint(rest))
        self._values.append(np.float64(scalar.value).tobytes())

    def take(self) -> Columns:
        """The numbers, which are forgotten here."""
        seconds, rest = _numbers(self._seconds), _numbers(self._rest)
        known = (np.abs(seconds) < 9_000_000_000) & (rest >= 0) & (rest < 1_000_000_000)
        columns = Columns(
            [_name(key.decode("utf-8", "replace")) for key in self._keys],
            np.array(self._codes, np.int64),
            _numbers(self._steps),
            np.where(known, seconds * 1_000_000_000 + rest, 0),
            np.frombuffer(b"".join(self._values), np.float64).copy(),
        )
        self._codes, self._steps, self._seconds, self._rest, self._values = [], [], [], [], []
        return columns


def _numbers(parts: list[bytes]) -> npt.NDArray[np.int64]:
    """Varints, each filled up with zeros to ten bytes."""
    table = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, VARINT_BYTES) & np.uint8(0x7F)
    return np.asarray((table.astype(np.uint64) << _SHIFTS).sum(axis=1, dtype=np.uint64).astype(np.int64))


def _varint(number: int) -> bytes:
    number &= 0xFFFF_FFFF_FFFF_FFFF
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found).ljust(VARINT_BYTES, b"\0")


def _name(key: str) -> str:
    """The name of a metric: of SwanLab's system metrics MLflow's where both measure the same."""
    if not key.startswith(SYSTEM):
        return key
    own = key.removeprefix(SYSTEM)
    return f"system/{_NAMES.get(own, own)}"

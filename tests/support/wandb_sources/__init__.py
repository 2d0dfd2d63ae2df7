"""A small folder that wandb wrote offline, how to unpack it, and records for files of one's own.

``write_with_wandb.py`` wrote the archive with wandb 0.31.0, in a folder ``/tmp/offline``; of each run the ``.wandb``
file and the folder ``files`` were kept. ``read.json`` in it is what wandb's own classes read.
``tests/importers/wandb/test_written_by_wandb.py`` writes all of it again where wandb can be installed.
"""

from __future__ import annotations

import struct
import tarfile
import zlib
from pathlib import Path

__all__ = ["ARCHIVE", "MAGIC", "WRITER", "field", "fragments", "frame", "history", "is_history", "log", "run", "unpack"]

ARCHIVE = Path(__file__).parent / "wandb.tar.xz"
WRITER = Path(__file__).parent / "write_with_wandb.py"
MAGIC = b":W&B\xe1\xbe\x00"
BLOCK = 32_768


def unpack(folder: Path) -> Path:
    """Unpack the archive into a folder; returns the folder ``wandb``."""
    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(folder, filter="data")
    return folder / "wandb"


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, content: bytes | int) -> bytes:
    """A field of a message: bytes, or a number."""
    if isinstance(content, int):
        return _number(number << 3) + _number(content & (1 << 64) - 1)
    return _number(number << 3 | 2) + _number(len(content)) + content


def run(run_id: str, project: str = "spirals") -> bytes:
    """A record of a run."""
    start = field(17, field(1, 1_700_000_000))
    return field(17, field(1, run_id.encode()) + field(3, project.encode()) + start)


def history(step: int, *, nested: bool = True, **values: str) -> bytes:
    """A record of history: values in JSON by their keys, whose parts are joined by two underscores."""
    items = b""
    for key, value in [*values.items(), ("_timestamp", str(1_700_000_000 + step))]:
        parts = [b"_timestamp"] if key == "_timestamp" else key.encode().split(b"__")
        name = b"".join(field(2, part) for part in parts) if nested else field(1, b".".join(parts))
        items += field(1, name + field(16, value.encode()))
    return field(1, step + 1) + field(2, items + field(2, field(1, step) if step else b""))


def log(*records: bytes) -> bytes:
    """A ``.wandb`` file."""
    data = bytearray(MAGIC)
    for record in records:
        rest, is_first = record, True
        while rest or is_first:
            left = BLOCK - len(data) % BLOCK
            if left < 7:
                data += bytes(left)
                left = BLOCK
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if not rest else 2) if is_first else (4 if not rest else 3)
            data += frame(kind, part)
            is_first = False
    return bytes(data)


def frame(kind: int, content: bytes) -> bytes:
    """A fragment of a record: 1 is a whole one, 2 to 4 are first, middle and last."""
    return struct.pack("<IHB", zlib.crc32(content, zlib.crc32(bytes([kind]))), len(content), kind) + content


def fragments(data: bytes | bytearray) -> list[tuple[int, int, int]]:
    """Where the fragments of a whole file begin and end, header included, and their kinds."""
    found, at = [], len(MAGIC)
    while at < len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        found.append((at, at + 7 + size, kind))
        at += 7 + size
    return found


def is_history(record: bytes) -> bool:
    """Whether a record is one of history."""
    at = 1
    while record[at] > 0x7F:
        at += 1
    return record[0] == 8 and record[at + 1] == 0x12

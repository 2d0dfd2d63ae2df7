"""Small folders that SwanLab wrote in ``/tmp/golden`` by ``write_with_swanlab.py``, how to unpack and change them."""

from __future__ import annotations

import json
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

__all__ = ["NEWEST", "OLDER", "WRITER", "add_record", "head", "log_of", "read_by_swanlab", "record", "scalar", "unpack"]

FOLDER = Path(__file__).parent
WRITER = FOLDER / "write_with_swanlab.py"
NEWEST, OLDER = "swanlab-0.10.3", "swanlab-0.7.20"
"""Records as protocol buffers, and as JSON; the log of the run ``killed`` is torn in the older one."""


def unpack(folder: Path, name: str = NEWEST) -> Path:
    """Unpack an archive into a folder; returns the folder ``swanlog``."""
    with tarfile.open(FOLDER / f"{name}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder / "swanlog"


def read_by_swanlab(folder: Path) -> dict[str, dict[str, list[tuple[int, int | str, str]]]]:
    """Step, time and value of each number, by run and by metric, as SwanLab's own reader reads them."""
    read: dict[str, Any] = json.loads((folder / "read.json").read_text())
    return read


def log_of(source: Path, run: str) -> Path:
    """The log of the run of that name."""
    return next(path for path in sorted(source.glob("*/*.swanlab")) if run.encode() in path.read_bytes()[:1_000])


def head(version: int = 2) -> bytes:
    """What a log begins with."""
    return b":SWL" + struct.pack("<HB", 0xE1D6, version)


def record(content: bytes) -> bytes:
    """A whole record, as it is in a log."""
    return struct.pack("<IHB", zlib.crc32(content, zlib.crc32(b"\1")), len(content), 1) + content


def add_record(path: Path, content: bytes) -> None:
    """Append a record to a log that ends within a block."""
    path.write_bytes(path.read_bytes() + record(content))


def scalar(key: bytes, step: int, value: float) -> bytes:
    """The content of a record of a number, with a step of less than 128 and without times."""
    inner = b"\x0a" + bytes([len(key)]) + key + bytes([0x10, step, 0x18, 1, 0x2A, 9, 9]) + struct.pack("<d", value)
    return b"\x6a" + bytes([len(inner)]) + inner

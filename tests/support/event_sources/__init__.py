"""Small event files that the real programs wrote, how to unpack them, and records for files of one's own.

``write_with_tensorboard.py`` wrote the archive, with torch 2.13.0, tensorboardX 2.6.5 and TensorBoard 2.21.0, in a
folder ``/tmp/golden``; ``tests/importers/tfevents/test_written_by_tensorboard.py`` writes it again where these can be
installed. ``read.json`` in it is what TensorBoard itself reads in the files.
"""

from __future__ import annotations

import struct
import tarfile
from pathlib import Path

from mltrack.importers.tfevents.crc32c import crc32c

__all__ = ["ARCHIVE", "WRITER", "frames", "record", "scalar", "unpack"]

ARCHIVE = Path(__file__).parent / "tensorboard.tar.xz"
WRITER = Path(__file__).parent / "write_with_tensorboard.py"


def unpack(folder: Path) -> Path:
    """Unpack the archive into a folder; returns the folder of the runs."""
    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(folder, filter="data")
    return folder / "runs"


def record(data: bytes) -> bytes:
    """A record with its frame."""
    size = struct.pack("<Q", len(data))
    return size + _masked(size) + data + _masked(data)


def scalar(tag: str, value: float, step: int, wall: float = 1_700_000_000.0) -> bytes:
    """A record of an event with one scalar; ``step`` is at most 127."""
    name = tag.encode()
    inner = b"\x0a" + bytes([len(name)]) + name + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + bytes([len(inner)]) + inner
    return record(b"\x09" + struct.pack("<d", wall) + b"\x10" + bytes([step, 0x2A, len(summary)]) + summary)


def frames(data: bytes | bytearray) -> list[tuple[int, int]]:
    """Where the records of a whole file begin and end, without their frames."""
    found, at = [], 0
    while at < len(data):
        size = struct.unpack_from("<Q", data, at)[0]
        found.append((at + 12, at + 12 + size))
        at += size + 16
    return found


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFF_FFFF)

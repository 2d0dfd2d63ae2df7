"""The checksum of a short journal: its points stay unsealed, so nothing else shows a bit that the disk has flipped."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE
from mltrack.disk.filesystem import reading

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["points_checksum", "points_files"]


def points_files(folder: Path, writer: str) -> list[Path]:
    """A writer's files in the run's folder of points files, in order.

    Raises:
        OSError: the folder can't be read.
    """
    names = [name.split(".") for name in os.listdir(folder) if name.startswith(f"{writer}.")]
    numbers = sorted(int(parts[1]) for parts in names if parts[1].isdecimal() and parts[2:] == ["points"])
    return [folder / f"{writer}.{number}.points" for number in numbers]


def points_checksum(folder: Path, writer: str, points: int) -> int | None:
    """CRC-32 of a writer's records, all files together without their headers; None if there are fewer than ``points``.

    Args:
        folder: The run's folder of points files.
        writer: The writer, which has ended.
        points: How many records it wrote.

    Raises:
        OSError: a file can't be read.
    """
    left, crc = points * RECORD_SIZE, 0
    for path in points_files(folder, writer):
        with reading(path) as file:
            file.seek(HEADER_SIZE)
            data = file.read(left)
        data = data[: len(data) - len(data) % RECORD_SIZE]
        crc = zlib.crc32(data, crc)
        left -= len(data)
    return crc if left == 0 else None

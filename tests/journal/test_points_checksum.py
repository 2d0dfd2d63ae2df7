"""The checksum of journals that stay: of all files of a writer together."""

from __future__ import annotations

import zlib
from pathlib import Path

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE
from mltrack.journal.points_checksum import points_checksum

WRITER = "a" * 16


def test_the_checksum_is_of_all_records_in_order_and_of_no_header(tmp_path: Path) -> None:
    records = bytes(range(RECORD_SIZE)) * 12
    for number in range(12):  # the tenth comes after the second
        record = bytes([number]) + records[1:RECORD_SIZE]
        rest = b"\0" * RECORD_SIZE if number == 11 else b"\0"  # allocated, and not written
        (tmp_path / f"{WRITER}.{number}.points").write_bytes(b"h" * HEADER_SIZE + record + rest)
    (tmp_path / f"{'b' * 16}.0.points").write_bytes(b"another's")
    (tmp_path / f"{WRITER}.0.points.tmp").write_bytes(b"left behind")
    written = b"".join(bytes([number]) + records[1:RECORD_SIZE] for number in range(12))
    assert points_checksum(tmp_path, WRITER, 12) == zlib.crc32(written)
    assert points_checksum(tmp_path, WRITER, 14) is None

"""The codec: every byte mltrack writes in its own formats is encoded and decoded here (see docs/format.md)."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from mltrack.disk.fields import Records

__all__ = [
    "FORMAT_VERSION",
    "HEADER_SIZE",
    "LINE_BYTES_MAX",
    "LINE_BYTES_MIN",
    "POINTS_BYTES_MAX",
    "RECORD_SIZE",
    "SEGMENT_MARK_SIZE",
    "SEGMENT_TAIL_SIZE",
    "BadLine",
    "PointsHeader",
    "RecordError",
    "decode_header",
    "decode_line",
    "decode_records",
    "decode_segment_mark",
    "encode_header",
    "encode_line",
    "encode_records",
    "encode_segment_mark",
    "pack_record",
    "record_bytes",
    "record_dtype",
    "segment_footer_size",
]

FORMAT_VERSION = 1
"""The version of everything below. A store with a greater one is refused."""

# --- event lines: one JSON object a line, its own CRC-32 first -------------------------------------------------

LINE_BYTES_MAX = 256 << 20
"""The longest line that is written or read."""

LINE_BYTES_MIN = 16
"""Each numbered line takes at least this many bytes, so a line's number bounds the byte where it begins."""

NESTED_MAX = 100
CONTAINERS_MAX = 2_000_000
ITEMS_MAX = 20_000_000
LARGE_LINE_BYTES = 1 << 20
"""A longer line is checked before it is decoded: decoded it may take many times its size in memory."""

_CRC_HEAD = b'{"crc":"'
_BODY_AT = len(_CRC_HEAD) + 8 + 2  # the byte after `{"crc":"xxxxxxxx",`
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_dumps_ascii = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class BadLine(ValueError):
    """A line that is not what encode_line wrote; the message says how."""


def encode_line(fields: Mapping[str, Any]) -> bytes:
    """One object as a checksummed JSON line, newline included. ``fields`` must not be empty.

    Raises:
        BadLine: JSON can't express it, or it would be longer than readers accept.
    """
    try:
        body = _dumps(fields).encode()[1:]
    except UnicodeEncodeError:  # half a surrogate pair, as in a name that is not UTF-8: escaped, the file stays UTF-8
        body = _dumps_ascii(fields).encode()[1:]
    except (TypeError, ValueError, RecursionError) as error:  # bytes; NaN, or a circle; nested too deeply
        raise BadLine(f"JSON can't express it: {error}") from None
    if len(body) > 2 * NESTED_MAX:
        _check_extent(body)
    return b'{"crc":"%08x",%b\n' % (zlib.crc32(body), body)


def decode_line(line: bytes, records: Records | None = None) -> dict[str, Any]:
    """The fields of one line (given without its newline) but the checksum; ``records`` declares what they may be.

    Raises:
        BadLine: the checksum is missing or differs, the text is not a JSON object, or a field is not as declared.
    """
    if len(line) < _BODY_AT or not line.startswith(_CRC_HEAD):
        raise BadLine("it does not start with a checksum")
    body = line[_BODY_AT:]
    if line[len(_CRC_HEAD) : _BODY_AT] != b'%08x",' % zlib.crc32(body):
        raise BadLine("checksum differs")
    if len(body) > 2 * NESTED_MAX:
        _check_extent(body)
    try:
        fields = json.loads(b"{" + body)
    except (ValueError, RecursionError) as error:
        raise BadLine(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadLine("not a JSON object")
    if records is not None:
        fault = records.fault(fields)
        if fault is not None:
            raise BadLine(fault)
    return fields


def _check_extent(body: bytes) -> None:
    """Refuse what needs too much memory, or too deep a stack, to decode; only long lines are scanned, at 1 GB/s."""
    if len(body) > LINE_BYTES_MAX:
        raise BadLine(f"{len(body):,} bytes are more than the {LINE_BYTES_MAX:,} that a line may have")
    if len(body) <= LARGE_LINE_BYTES and body.count(b"[") + body.count(b"{") <= NESTED_MAX:
        return
    outside = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _PLAIN)
    marks = b"".join(outside.split(b'"')[::2])
    if marks.count(b"[") + marks.count(b"{") > CONTAINERS_MAX or marks.count(b",") > ITEMS_MAX:
        raise BadLine(f"more than {CONTAINERS_MAX:,} lists and objects, or {ITEMS_MAX:,} values")
    marks = b"{" + marks.replace(b",", b"")
    for _ in range(NESTED_MAX):
        inner = marks.replace(b"[]", b"").replace(b"{}", b"")
        if not inner:
            return
        if len(inner) == len(marks):  # brackets that don't match: not JSON, which the decoder reports
            return
        marks = inner
    raise BadLine(f"lists and objects are nested more than {NESTED_MAX} deep")


_PLAIN = bytes(set(range(256)) - set(b'[]{},"'))


# --- points files: a 64-byte header, then 32-byte records ------------------------------------------------------

POINTS_BYTES_MAX = 64 << 20
"""The longest points file that is read; writers make them up to 32 MiB."""

SEQ_MAX = 1 << 48
"""More points than a writer can ever have."""

MAGIC = b"MLTPOINT"
HEADER_SIZE = 64
RECORD_SIZE = 32
_HEADER = struct.Struct("<8sIIQQ16s12sI")  # magic, version, record size, first seq, reserved, writer, zeros, crc
_RECORD = struct.Struct("<qqdII")  # step, time ns, value, metric number, commit mark

pack_record = _RECORD.pack_into
"""pack_record(buffer, offset, step, time_ns, value, number, mark): mark is the offset itself, and written last."""

record_bytes = _RECORD.pack
"""The same record as bytes, where the file is written rather than mapped."""

RecordError = struct.error
"""What pack_record raises for a value of the wrong kind and for an offset past the buffer."""


class PointsHeader:
    """The header of a points file: its writer and the seq of its first record."""

    __slots__ = ("first_seq", "writer")

    def __init__(self, writer: str, first_seq: int) -> None:
        self.writer = writer
        self.first_seq = first_seq


def encode_header(writer: str, first_seq: int) -> bytes:
    """The 64 bytes at the start of a points file. ``writer`` is 16 ASCII characters."""
    head = _HEADER.pack(MAGIC, FORMAT_VERSION, RECORD_SIZE, first_seq, 0, writer.encode("ascii"), b"", 0)
    return head[:-4] + struct.pack("<I", zlib.crc32(head[:-4]))


def decode_header(data: bytes) -> PointsHeader | None:
    """The header in the first 64 bytes; None if it was never completed (its checksum, the last 4, is missing).

    Raises:
        BadLine: the bytes are not a points header, or one of a newer version.
    """
    if len(data) < HEADER_SIZE or not any(data[HEADER_SIZE - 4 : HEADER_SIZE]):
        return None
    magic, version, record_size, first_seq, _, writer, _, crc = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BadLine("not a points file")
    if crc != zlib.crc32(data[: HEADER_SIZE - 4]):
        raise BadLine("header checksum differs")
    if version > FORMAT_VERSION or record_size != RECORD_SIZE:
        raise BadLine(f"points format {version} with {record_size}-byte records is not known here")
    if first_seq > SEQ_MAX:
        raise BadLine(f"its header gives its first point the number {first_seq:,}")
    return PointsHeader(writer.decode("ascii", "replace"), first_seq)


def record_dtype() -> np.dtype[Any]:
    """The 32-byte record as a NumPy structured type."""
    import numpy as np

    return np.dtype([("step", "<i8"), ("time", "<i8"), ("value", "<f8"), ("number", "<u4"), ("mark", "<u4")])


def encode_records(
    offset: int,
    steps: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
    number: int | npt.NDArray[np.uint32],
) -> npt.NDArray[np.void]:
    """Consecutive records.

    Args:
        offset: The byte of their file where they will be written.
        steps: Shape (n,).
        times: In ns since the epoch, shape (n,).
        values: Shape (n,).
        number: The metric's number, or that of each record, shape (n,).
    """
    import numpy as np

    records = np.empty(len(values), record_dtype())
    records["step"] = steps
    records["time"] = times
    records["value"] = values
    records["number"] = number
    records["mark"] = np.arange(offset, offset + RECORD_SIZE * len(values), RECORD_SIZE, dtype=np.uint32)
    return records


def decode_records(
    data: bytes | memoryview, offset: int = HEADER_SIZE
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """The committed records in ``data``, read from byte ``offset`` of its file, and their slot numbers.

    Slot 0 is the first record in ``data``. A gap in the slot numbers is a hole: a missing mark with a committed
    record after it. A crash of the writer leaves none, only damage of the disk does (a lost page).
    """
    import numpy as np

    records = np.frombuffer(data, record_dtype(), count=len(data) // RECORD_SIZE)
    marks = np.arange(offset, offset + RECORD_SIZE * len(records), RECORD_SIZE, dtype=np.uint32)
    slots = np.flatnonzero(records["mark"] == marks)
    return (records if len(slots) == len(records) else records[slots]), slots


# --- segments: Parquet, with a 16-byte mark between the rows and the footer -------------------------------------

SEGMENT_TAIL_SIZE = 8  # Parquet's own: the footer's length, "PAR1"
_SEGMENT_MAGIC = b"MLTSEGMT"
_SEGMENT_MARK = struct.Struct("<8sII")  # magic, crc of all before the mark, crc of all after it
SEGMENT_MARK_SIZE = _SEGMENT_MARK.size
_PARQUET_MAGIC = b"PAR1"


def segment_footer_size(tail: bytes) -> int:
    """The length of the Parquet footer, from the last 8 bytes of the file, which it includes.

    Raises:
        BadLine: they are not the end of a Parquet file.
    """
    if len(tail) != SEGMENT_TAIL_SIZE or tail[4:] != _PARQUET_MAGIC:
        raise BadLine("not a whole Parquet file")
    return int.from_bytes(tail[:4], "little") + SEGMENT_TAIL_SIZE


def encode_segment_mark(rows_crc: int, footer: bytes) -> bytes:
    """The mark: the given CRC-32 of all bytes before it, and that of ``footer``, all bytes after it."""
    return _SEGMENT_MARK.pack(_SEGMENT_MAGIC, rows_crc, zlib.crc32(footer))


def decode_segment_mark(mark: bytes, footer: bytes) -> int:
    """The CRC-32 that the bytes before the mark must have; the footer is checked here.

    Raises:
        BadLine: the mark is missing, or the footer fails its checksum.
    """
    magic, rows_crc, footer_crc = _SEGMENT_MARK.unpack(mark)
    if magic != _SEGMENT_MAGIC:
        raise BadLine("its footer has no mark before it")
    if footer_crc != zlib.crc32(footer):
        raise BadLine("footer checksum differs")
    return int(rows_crc)


def placeholder_name(number: int) -> str:
    """The name of a metric whose line in the events file is damaged: its points are kept under it."""
    return f"unnamed/{number}"

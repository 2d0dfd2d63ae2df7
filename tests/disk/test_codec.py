"""The codec: what is written is read back, bit for bit, and what is damaged is never taken for something else."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.disk.codec import (
    FORMAT_VERSION,
    HEADER_SIZE,
    RECORD_SIZE,
    BadLine,
    RecordError,
    decode_header,
    decode_line,
    decode_records,
    decode_segment_mark,
    encode_header,
    encode_line,
    encode_records,
    encode_segment_mark,
    pack_record,
    record_bytes,
    segment_footer_size,
)

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))  # half surrogate pairs too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=10,
)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
WRITER = "0123456789abcdef"
LINE = encode_line({"seq": 3, "time": 1, "type": "param", "key": "größe", "value": "1e-3"})[:-1]


# --- lines ---


@given(st.dictionaries(ANY_TEXT.filter(lambda key: key != "crc"), JSON, min_size=1, max_size=5))
def test_any_json_survives_a_line(fields: dict[str, Any]) -> None:
    line = encode_line(fields)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_line(line[:-1]) == fields


@given(st.dictionaries(ANY_TEXT, ANY_TEXT, min_size=1, max_size=3))
def test_a_line_is_utf8_and_plain_json(fields: dict[str, str]) -> None:
    found = json.loads(encode_line(fields).decode("utf-8"))
    assert len(found.pop("crc")) == 8 or "crc" in fields
    assert found == {key: value for key, value in fields.items() if key != "crc"}


def test_any_changed_bit_of_a_line_is_noticed() -> None:
    for at in range(len(LINE)):
        for bit in range(8):
            with pytest.raises(BadLine):
                decode_line(LINE[:at] + bytes([LINE[at] ^ 1 << bit]) + LINE[at + 1 :])


def test_a_line_cut_anywhere_is_noticed() -> None:
    for end in range(len(LINE)):
        with pytest.raises(BadLine):
            decode_line(LINE[:end])


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_a_bad_line_and_nothing_worse(data: bytes) -> None:
    with pytest.raises(BadLine):
        decode_line(data)


def test_a_nan_is_refused_in_a_line() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_line({"value": float("nan")})


# --- points headers ---


@given(st.text("0123456789abcdef", min_size=16, max_size=16), st.integers(0, 1 << 48))
def test_writer_and_seq_survive_a_header(writer: str, first_seq: int) -> None:
    header = decode_header(encode_header(writer, first_seq))
    assert header is not None
    assert (header.writer, header.first_seq) == (writer, first_seq)


def test_any_changed_bit_of_a_header_is_noticed() -> None:
    header = encode_header(WRITER, 77)
    for at in range(HEADER_SIZE):
        for bit in range(8):
            with pytest.raises(BadLine):
                decode_header(header[:at] + bytes([header[at] ^ 1 << bit]) + header[at + 1 :])


def test_an_incomplete_header_is_ignored() -> None:
    header = encode_header(WRITER, 0)
    assert all(decode_header(header[:end]) is None for end in range(HEADER_SIZE))
    assert decode_header(bytes(4096)) is None


def test_a_header_of_a_newer_version_is_refused_by_name() -> None:
    import zlib

    head = bytearray(encode_header(WRITER, 0))
    struct.pack_into("<I", head, 8, FORMAT_VERSION + 1)
    struct.pack_into("<I", head, 60, zlib.crc32(head[:60]))
    with pytest.raises(BadLine, match=f"points format {FORMAT_VERSION + 1}"):
        decode_header(bytes(head))


# --- records ---


@given(st.lists(st.tuples(INT64, INT64, st.floats(), st.integers(0, (1 << 32) - 1)), max_size=20))
def test_any_numbers_survive_a_record(points: list[tuple[int, int, float, int]]) -> None:
    buffer = bytearray(HEADER_SIZE + RECORD_SIZE * (len(points) + 1))
    for slot, (step, time, value, number) in enumerate(points):
        offset = HEADER_SIZE + RECORD_SIZE * slot
        pack_record(buffer, offset, step, time, value, number, offset)
        assert buffer[offset : offset + RECORD_SIZE] == record_bytes(step, time, value, number, offset)
    records, slots = decode_records(bytes(buffer[HEADER_SIZE:]))
    assert slots.tolist() == list(range(len(points)))
    wanted = [(s, t, struct.pack("<d", v), n) for s, t, v, n in points]
    assert [(r["step"], r["time"], r["value"].tobytes(), r["number"]) for r in records] == wanted


@given(st.lists(st.tuples(INT64, INT64, st.floats()), min_size=1, max_size=20), st.integers(0, 1000))
def test_a_series_is_encoded_as_the_same_records(points: list[tuple[int, int, float]], slot: int) -> None:
    steps, times, values = (np.array(c) for c in zip(*points, strict=True))
    offset = HEADER_SIZE + RECORD_SIZE * slot
    packed = encode_records(offset, steps, times, values, 9).tobytes()
    marks = range(offset, offset + len(packed), RECORD_SIZE)
    assert packed == b"".join(record_bytes(s, t, v, 9, m) for (s, t, v), m in zip(points, marks, strict=True))


def test_a_record_without_its_mark_was_never_logged() -> None:
    data = bytearray(RECORD_SIZE * 4)
    for slot in (0, 1, 3):
        offset = HEADER_SIZE + RECORD_SIZE * slot
        data[RECORD_SIZE * slot : RECORD_SIZE * (slot + 1)] = record_bytes(slot, 0, 0.5, 0, offset)
    records, slots = decode_records(bytes(data))
    assert slots.tolist() == [0, 1, 3]
    assert records["step"].tolist() == [0, 1, 3]
    assert decode_records(b"")[1].tolist() == []
    for end in range(RECORD_SIZE, 2 * RECORD_SIZE):
        assert decode_records(bytes(data[:end]))[1].tolist() == [0]


def test_a_number_that_does_not_fit_a_record_is_refused_and_not_truncated() -> None:
    buffer = bytearray(RECORD_SIZE)
    for step, time in ((1 << 63, 0), (0, 1 << 63), (-(1 << 63) - 1, 0)):
        with pytest.raises(RecordError):
            pack_record(buffer, 0, step, time, 0.0, 0, 0)


# --- segment marks ---


def test_any_changed_bit_of_a_footer_or_its_mark_is_noticed() -> None:
    footer = b"metadata" + (8).to_bytes(4, "little") + b"PAR1"
    whole = encode_segment_mark(0xDEADBEEF, footer) + footer
    assert segment_footer_size(whole[-8:]) == len(footer)
    assert decode_segment_mark(whole[:16], whole[16:]) == 0xDEADBEEF
    for at in [*range(8), *range(12, len(whole))]:  # 8 to 12 are the checksum of the rows
        damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with pytest.raises(BadLine):
            decode_segment_mark(damaged[:16], damaged[16:])
    with pytest.raises(BadLine):
        segment_footer_size(b"PAR1")

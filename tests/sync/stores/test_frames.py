"""Frames: what was written is read; whatever else comes is one clear error, before memory is used for it."""

from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
import zlib
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack_sync.stores.frames import (
    DATA_BYTES_MAX,
    HEAD_BYTES_MAX,
    HEADER_BYTES,
    MAGIC,
    NOISE_BYTES_MAX,
    ConnectionLostError,
    FrameKind,
    encode_frame,
    read_frame,
    skip_noise,
)
from mltrack_sync.stores.transfer import TransferError

HEAD = {"unit": "runs/" + "a" * 32, "size": 7}
DATA = bytes(range(256)) * 3
FRAME = b"".join(encode_frame(FrameKind.DATA, 5, HEAD, DATA))
DAMAGED = "the connection is damaged"
CUT = "ended in the middle of a message"
BYTES_MAX = 256 << 10


class Counting(io.BytesIO):
    """Bytes of which it is known how many were asked for at once."""

    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked = max(self.asked, size if size is not None else -1)
        return super().read(size)


def header(head: int, data: int, *, stream: int = 1, kind: int = 3, check: int = 0) -> bytes:
    """A header with the right checksum of its own, whatever it says."""
    fields = struct.pack("<IIIB3xI", head, data, stream, kind, check)
    return fields + struct.pack("<I", zlib.crc32(fields))


def frame_of(text: bytes, data: bytes = b"", kind: int = 3) -> bytes:
    """A frame with right checksums around any head."""
    return header(len(text), len(data), kind=kind, check=zlib.crc32(data, zlib.crc32(text))) + text + data


def refused(data: bytes, match: str) -> Counting:
    """What was read of bytes that are refused so, with little memory and a hint."""
    file = Counting(data)
    tracemalloc.start()
    try:
        with pytest.raises(ConnectionLostError, match=match) as caught:
            read_frame(cast("BinaryIO", file))
        assert tracemalloc.get_traced_memory()[1] < BYTES_MAX
    finally:
        tracemalloc.stop()
    assert "run it again" in caught.value.hint
    return file


@given(
    kind=st.sampled_from(FrameKind),
    stream=st.integers(0, 2**32 - 1),
    head=st.dictionaries(st.text(max_size=9), st.integers() | st.text() | st.none() | st.lists(st.booleans())),
    data=st.binary(max_size=3000),
)
def test_every_frame_is_read_as_it_was_written(
    kind: FrameKind, stream: int, head: dict[str, object], data: bytes
) -> None:
    written = b"".join(encode_frame(kind, stream, head, data))
    file = cast("BinaryIO", io.BytesIO(written * 2))
    for _ in range(2):
        frame = read_frame(file)
        assert frame is not None
        assert (frame.kind, frame.stream, frame.head, frame.data) == (kind, stream, head, data)
        assert frame.size == len(written)
    assert read_frame(file) is None


@pytest.mark.parametrize("end", range(1, len(FRAME)))
def test_a_frame_that_is_cut_at_any_byte_is_said_to_be(end: int) -> None:
    refused(FRAME[:end], CUT)


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_a_flipped_bit_anywhere_in_the_header_is_damage_before_anything_more_is_read(at: int) -> None:
    for bit in range(8):
        damaged = bytearray(FRAME)
        damaged[at] ^= 1 << bit
        file = refused(bytes(damaged), DAMAGED)
        assert (file.asked, file.tell()) == (HEADER_BYTES, HEADER_BYTES)


def test_a_flipped_bit_in_the_head_or_the_data_is_damage() -> None:
    dice = random.Random(3)
    for at in dice.sample(range(HEADER_BYTES, len(FRAME)), 200):
        damaged = bytearray(FRAME)
        damaged[at] ^= 1 << dice.randrange(8)
        refused(bytes(damaged), DAMAGED)


@pytest.mark.parametrize(
    ("head", "data"),
    [(HEAD_BYTES_MAX + 1, 0), (0, DATA_BYTES_MAX + 1), (2**32 - 1, 0), (0, 2**32 - 1), (2**31, 2**31)],
)
def test_a_length_beyond_the_bound_is_refused_even_with_a_right_checksum(head: int, data: int) -> None:
    file = refused(header(head, data) + b"x" * 1000, DAMAGED)
    assert file.tell() == HEADER_BYTES


def test_a_length_of_what_never_comes_takes_no_memory() -> None:
    file = refused(header(HEAD_BYTES_MAX, DATA_BYTES_MAX) + b"{}", CUT)
    assert file.asked <= max(HEAD_BYTES_MAX, DATA_BYTES_MAX)


@pytest.mark.parametrize("kind", [0, 9, 10, 255])
def test_an_unknown_kind_of_frame_is_refused(kind: int) -> None:
    assert kind not in list(FrameKind)
    file = refused(frame_of(b"{}", b"data", kind=kind), DAMAGED)
    assert file.tell() == HEADER_BYTES


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"7",
        b"null",
        b'"text"',
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1} x',
        b"\xff\xfe",
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_head_that_is_not_an_object_is_damage_whatever_its_checksum_says(text: bytes) -> None:
    with pytest.raises(ConnectionLostError, match=DAMAGED):
        read_frame(cast("BinaryIO", io.BytesIO(frame_of(text))))


def test_what_is_too_large_for_a_frame_is_not_sent() -> None:
    with pytest.raises(TransferError, match="too large"):
        encode_frame(FrameKind.DATA, 1, {}, bytes(DATA_BYTES_MAX + 1))
    with pytest.raises(TransferError, match="too large"):
        encode_frame(FrameKind.DATA, 1, {"text": "x" * HEAD_BYTES_MAX})
    with pytest.raises(ValueError, match="JSON"):
        encode_frame(FrameKind.DATA, 1, {"number": float("nan")})
    assert len(json.dumps({"text": "x" * (HEAD_BYTES_MAX - 11)}, separators=(",", ":"))) == HEAD_BYTES_MAX
    encode_frame(FrameKind.DATA, 1, {"text": "x" * (HEAD_BYTES_MAX - 11)}, bytes(DATA_BYTES_MAX))


# --- what comes before the first frame ---


@pytest.mark.parametrize(
    "noise",
    [b"", b"Welcome!\n", MAGIC[:-2], MAGIC[:5] + b"\n", b"\x00" * 100, bytes(range(1, 256)), b"x" * NOISE_BYTES_MAX],
    ids=lambda noise: repr(noise[:9]),
)
def test_what_a_login_prints_is_skipped_up_to_the_magic(noise: bytes) -> None:
    file = io.BytesIO(noise + MAGIC + FRAME)
    found, said = skip_noise(cast("BinaryIO", file))
    assert found
    assert said == noise[-2000:].decode("utf-8", "replace").strip()
    assert file.read() == FRAME


@pytest.mark.parametrize("at", range(len(MAGIC)))
def test_a_magic_with_a_flipped_bit_at_any_byte_is_only_noise(at: int) -> None:
    damaged = bytearray(MAGIC)
    damaged[at] ^= 0x20
    assert skip_noise(cast("BinaryIO", io.BytesIO(bytes(damaged) + FRAME)))[0] is False


def test_noise_without_an_end_is_refused_and_its_beginning_shown() -> None:
    file = Counting(b"HTTP/1.1 400 Bad Request" + b"-" * (10 * NOISE_BYTES_MAX))
    with pytest.raises(ConnectionLostError, match=r"something else answered.*HTTP/1.1 400 Bad") as caught:
        skip_noise(cast("BinaryIO", file))
    assert "must print nothing" in caught.value.hint
    assert file.tell() <= NOISE_BYTES_MAX + len(MAGIC) + 1

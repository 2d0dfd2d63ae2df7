"""Lines against the schema: what mltrack writes fits, one wrong field doesn't, and what is not known is passed over."""

from __future__ import annotations

import os
import socket
import zlib
from pathlib import Path
from typing import Any

import pytest

from mltrack.disk import line_types, sync_line_types
from mltrack.disk.codec import BadLine, decode_line, encode_line
from mltrack.disk.fields import Records
from mltrack.disk.filesystem import NotRegularError, open_regular
from mltrack.disk.jsonlog import JsonLog, read_log
from mltrack.errors import UsageError

ENVELOPE: dict[str, Any] = {"seq": 0, "time": 5}
GOOD: list[tuple[Records, dict[str, Any]]] = [
    (line_types.EVENTS, {"type": "param", "key": "a", "value": "b"}),
    (line_types.EVENTS, {"type": "tag", "key": "a", "value": None}),
    (line_types.EVENTS, {"type": "metric", "number": 0, "key": "loss"}),
    (line_types.EVENTS, {"type": "artifact", "path": "a/b.txt", "size": 1, "sha256": "0" * 64}),
    (line_types.EVENTS, {"type": "artifact", "path": "a/b.txt", "deleted": True}),
    (line_types.EVENTS, {"type": "lost", "points": 4}),
    (line_types.EVENTS, {"type": "lost", "artifact": "a", "reason": "full"}),
    (line_types.EVENTS, {"type": "end", "status": "FINISHED", "end_time": 7}),
    (line_types.EVENTS, {"type": "series", "published": {"w": 9}}),
    (line_types.EVENTS, {"type": "of a later version", "anything": [1, {"a": 1e300}]}),
    (line_types.MODEL, {"type": "metric", "run_id": "", "key": "k", "value": "NaN", "step": 1, "ms": 2}),
    (line_types.FACTS, {"type": "tag", "trace_id": "t", "key": "a", "value": "b"}),
    (line_types.SERIES, {"type": "text", "key": "k", "step": 0, "text": "words"}),
]
BAD: list[tuple[Records, dict[str, Any], str]] = [
    (line_types.EVENTS, {"type": "param", "key": ["a"], "value": "b"}, "'key' is \\['a'\\]"),
    (line_types.EVENTS, {"type": "param", "key": "", "value": "b"}, "'key' is ''"),
    (line_types.EVENTS, {"type": "param", "key": "a"}, "has no 'value'"),
    (line_types.EVENTS, {"type": "param", "key": "a", "value": "b", "time": float("inf")}, "'time' is inf"),
    (line_types.EVENTS, {"type": "param", "key": "a", "value": "b", "seq": True}, "'seq' is True"),
    (line_types.EVENTS, {"type": ["tag"], "key": "a", "value": "b"}, "'type' is"),
    (line_types.EVENTS, {"type": "metric", "number": -5, "key": "a"}, "'number' is -5"),
    (line_types.EVENTS, {"type": "artifact", "path": "../a", "size": 1, "sha256": "0"}, "'path' is '../a'"),
    (line_types.EVENTS, {"type": "artifact", "path": "/a", "size": 1, "sha256": "0"}, "'path' is '/a'"),
    (line_types.EVENTS, {"type": "artifact", "path": "a\x00b", "size": 1, "sha256": "0"}, "'path' is"),
    (line_types.EVENTS, {"type": "artifact", "path": "a", "size": "big", "sha256": None}, "'size' is 'big'"),
    (line_types.EVENTS, {"type": "end", "status": {"a": 1}, "end_time": 5}, "'status' is"),
    (line_types.EVENTS, {"type": "end", "status": "FINISHED", "end_time": 10**40}, "'end_time' is"),
    (line_types.MODEL, {"type": "metric", "run_id": "", "key": "k", "value": 1, "step": 1e300, "ms": 1}, "'step' is"),
    (line_types.FACTS, {"type": "spans", "trace_id": "t", "at": [1], "heads": [], "start": 1}, "'at' is"),
    (sync_line_types.LEDGER, {"type": "rejected"}, "has no 'run'"),
    (sync_line_types.LEDGER, {"type": "ack", "run": "r", "at": {"w": [1, "2"]}}, "'at' is"),
]


class Text(str):
    """As Django's texts are: made a ``str``, it stays what it is."""

    def __str__(self) -> str:
        return self


@pytest.mark.parametrize(
    ("records", "line"),
    [
        (line_types.EVENTS, {"type": "param", "key": Text("a"), "value": Text("b")}),
        (line_types.EXPERIMENTS, {"type": "create", "experiment_id": "1", "name": Text("a"), "tags": {Text("b"): "c"}}),
    ],
)
def test_a_text_of_a_subclass_of_str_is_written_as_its_text(records: Records, line: dict[str, Any]) -> None:
    assert records.fault({**ENVELOPE, **line}) is None
    assert decode_line(encode_line({**ENVELOPE, **line})[:-1], records) == {**ENVELOPE, **line}


@pytest.mark.parametrize(("records", "line"), GOOD)
def test_what_is_written_is_valid_and_unknown_fields_are_skipped(records: Records, line: dict[str, Any]) -> None:
    assert records.fault({**ENVELOPE, **line, "of a later version": {"nested": []}}) is None


@pytest.mark.parametrize(("records", "line", "words"), BAD)
def test_an_invalid_field_is_named(records: Records, line: dict[str, Any], words: str) -> None:
    fault = records.fault({**ENVELOPE, **line})
    assert fault is not None
    with pytest.raises(BadLine, match=words):
        raise BadLine(fault)


def signed(text: str) -> bytes:
    """A line with a right checksum, whatever is in it."""
    body = text[1:].encode()
    return b'{"crc":"%08x",%b' % (zlib.crc32(body), body)


@pytest.mark.parametrize(
    "text",
    [
        '{"seq":1e999,"time":3,"type":"param","key":"a","value":"b"}',
        '{"seq":NaN,"time":3,"type":"param","key":"a","value":"b"}',
        '{"seq":' + "9" * 5000 + ',"time":3,"type":"x"}',
        '{"seq":1,"time":3,"type":"x","more":' + "[" * 5000 + "]" * 5000 + "}",
        '{"seq":1,"time":3,"type":"x","more":' + '{"a":' * 500 + "1" + "}" * 500 + "}",
        '{"seq":1,"time":3,"type":"x","more":[' + "[]," * 2_100_000 + "[]]}",
        '{"seq":1}{"seq":2}',
        '{"seq"',
    ],
    ids=["infinite", "nan", "5000 digits", "5000 lists", "500 objects", "2 million lists", "two objects", "half"],
)
def test_a_correct_checksum_does_not_make_a_line_valid(text: str) -> None:
    with pytest.raises(BadLine):
        decode_line(signed(text), line_types.EVENTS)


def test_brackets_in_texts_are_not_lists() -> None:
    line: dict[str, Any] = {"type": "text", "text": '\\"[[[{{{' * 300_000, "data": [["x"]] * 150}
    assert decode_line(encode_line(line)[:-1]) == line
    decode_line(encode_line({"type": "text", "data": [["\\"], ['"']] * 100})[:-1])


def test_what_a_reader_would_refuse_is_never_written(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "log.jsonl", records=None, create=True)
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    with pytest.raises(UsageError, match=r"a line of log\.jsonl can't be stored"):
        log.append([{"n": 1}, {"n": deep}])
    log.append([{"n": 2}])
    log.close()
    assert read_log(tmp_path / "log.jsonl").lines == [{"n": 2}]


def test_a_number_too_large_for_the_length_of_its_file_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [{"seq": seq, "time": 1, "type": "x"} for seq in (0, 1, 2**30, 2, 3)]
    path.write_bytes(b"".join(map(encode_line, lines)))
    read = read_log(path, records=line_types.EVENTS)
    assert [line["seq"] for line in read.lines] == [0, 1, 2, 3]
    assert "more than the lines that fit" in str(read.damage[0])


def test_a_file_without_line_breaks_is_not_read_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(encode_line({"n": 1}))
    os.truncate(path, 1 << 40)
    read = read_log(path)
    assert (read.lines, read.end) == ([{"n": 1}], 1 << 40)
    assert "no line break" in str(read.damage[0])


def test_only_regular_files_are_opened_and_opening_never_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name, what in (("pipe", "pipe"), ("folder", "folder"), ("zero", "device"), ("socket", "socket")):
            with pytest.raises(NotRegularError, match=what):
                open_regular(tmp_path / name)
            assert [what in str(error) for error in read_log(tmp_path / name).damage] == [True]
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    os.close(open_regular(tmp_path / "link"))
    with pytest.raises(NotRegularError, match="symbolic link"):
        open_regular(tmp_path / "link", follow=False)

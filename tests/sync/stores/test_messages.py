"""Messages between stores: what was encoded is decoded; whatever else comes is refused, field by field."""

from __future__ import annotations

import copy
import io
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import pytest

from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.selection import Selection
from mltrack_sync.stores.complete_runs import RUN_BYTES_MAX, RUN_FILES_MAX
from mltrack_sync.stores.failures import decode_failure, encode_failure
from mltrack_sync.stores.frames import ConnectionLostError, Frame, FrameKind, encode_frame
from mltrack_sync.stores.hello import PROTOCOL_MAX, Opening, VersionError, read_opening, request_store
from mltrack_sync.stores.messages import (
    decode_applied,
    decode_info,
    decode_names,
    decode_needs,
    decode_origin,
    decode_selection,
    decode_snapshot,
    decode_tokens,
    encode_applied,
    encode_info,
    encode_needs,
    encode_selection,
    encode_snapshot,
    encode_tokens,
)
from mltrack_sync.stores.piece_messages import PieceDecoder
from mltrack_sync.stores.run_messages import decode_outcomes, decode_runs, encode_outcomes, encode_runs
from mltrack_sync.stores.transfer import (
    Applied,
    CompleteRun,
    FileKind,
    FileState,
    Need,
    StoreInfo,
    TransferError,
    UnitSnapshot,
    UnitToken,
)

WRITER, STORE, RUN = "1" * 16, "b" * 32, "runs/" + "a" * 32
EVENTS = FileState(f"events/{WRITER}.jsonl", FileKind.LOG, 5, mark="0" * 8)
FILES = (
    EVENTS,
    FileState("artifacts/a.txt", FileKind.WHOLE, 3, sha256="c" * 64, at=5),
    FileState(f"points/{WRITER}.0.points", FileKind.POINTS, 64, mark="1" * 8, first_seq=2),
    FileState(EVENTS.path, FileKind.LOG, 9, mark="2" * 8),
)
SNAPSHOT = UnitSnapshot(RUN, "token", FILES, (), 7, (STORE, "host"))
COMPLETE = CompleteRun(SNAPSHOT, {EVENTS.path: b"123456789", FILES[1].path: b"abc", FILES[2].path: bytes(64)})
APPLIED = Applied(RUN, "token", 5, 2, {WRITER: 3}, {WRITER: 4}, ("a note",), ("a problem",))
INFO = StoreInfo(STORE, 1, "host", "1.0", writable=True, free_bytes=9)
SELECTION = Selection(("one",), ("two",), "three")


def no_more() -> Frame:
    raise TransferError("nothing more comes")


def runs_of(head: dict[str, Any]) -> list[CompleteRun | None]:
    return decode_runs(Frame(FrameKind.DATA, 1, head, b"".join(COMPLETE.contents.values())))


def piece_of(head: dict[str, Any]) -> object:
    return PieceDecoder(SNAPSHOT).decode(Frame(FrameKind.DATA, 1, head, b"abc"))


Decode = Callable[[dict[str, Any]], object]
MESSAGES: dict[str, tuple[Decode, dict[str, Any], object]] = {
    "info": (decode_info, encode_info(INFO), INFO),
    "selection": (decode_selection, encode_selection(SELECTION), SELECTION),
    "tokens": (
        lambda head: list(decode_tokens(head)),
        next(encode_tokens([UnitToken(RUN, "t"), UnitToken("workspace", "u")])),
        [UnitToken(RUN, "t"), UnitToken("workspace", "u")],
    ),
    "origin": (decode_origin, {"origin": STORE}, STORE),
    "names": (decode_names, {"units": [RUN, "sources"]}, [RUN, "sources"]),
    "snapshot": (lambda head: decode_snapshot(no_more, head), next(encode_snapshot(SNAPSHOT)), SNAPSHOT),
    "needs": (
        lambda head: decode_needs(SNAPSHOT, no_more, head),
        next(encode_needs(SNAPSHOT, [Need(EVENTS.path, 1), Need(FILES[2].path, 0)])),
        [Need(EVENTS.path, 1), Need(FILES[2].path, 0)],
    ),
    "applied": (decode_applied, encode_applied(APPLIED), APPLIED),
    "runs": (runs_of, next(encode_runs([None, COMPLETE]))[0], [None, COMPLETE]),
    "outcomes": (
        lambda head: decode_outcomes(head, [(RUN, "token")], "far"),
        next(encode_outcomes([APPLIED])),
        [APPLIED],
    ),
}
OPTIONAL = {("snapshot", "more"), ("needs", "more")}
WRONG: list[Any] = [None, True, -1, 1.5, 2**70, "", "../x", "x" * 200_000, [], {}, [[]], [None] * 2000, {"a": []}]


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a message where something stands."""
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    )
    for key, inner in items:
        yield (*path, key)
        yield from places_in(inner, (*path, key))


def put(head: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The message with something else in one place."""
    changed = json.loads(json.dumps(head))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_is_decoded_to_what_was_encoded(name: str) -> None:
    decode, head, meant = MESSAGES[name]
    assert decode(json.loads(json.dumps(head))) == meant


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_without_one_of_its_fields_is_refused(name: str) -> None:
    decode, head, _ = MESSAGES[name]
    for field in head:
        less = copy.deepcopy(head)
        del less[field]
        with pytest.raises(TransferError, match="not valid"):
            decode(less)
    with pytest.raises(TransferError):
        decode({})


@pytest.mark.parametrize("name", MESSAGES)
def test_a_wrong_value_anywhere_in_a_message_is_refused_or_means_something_valid(name: str) -> None:
    decode, head, meant = MESSAGES[name]
    refused = tried = 0
    for path in places_in(json.loads(json.dumps(head))):
        for value in WRONG:
            tried += 1
            try:
                found = decode(put(head, path, value))
            except MltrackError as error:
                refused += isinstance(error, TransferError)
                assert len(str(error)) < 1000, path
                continue
            assert type(found) is type(meant), path
    assert tried > 10
    assert refused > tried * 0.6


@pytest.mark.parametrize("name", ["tokens", "names", "snapshot", "needs", "runs", "outcomes"])
def test_a_list_with_more_than_a_message_may_have_is_refused(name: str) -> None:
    decode, head, _ = MESSAGES[name]
    field = next(key for key, value in head.items() if isinstance(value, list) and value and key != "origin")
    with pytest.raises(TransferError):
        decode({**json.loads(json.dumps(head)), field: json.loads(json.dumps(head[field])) * 2000})


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", ".", "..", "a/.", "x\0y", "n" * 256, "a/" * 3000 + "b"]
)
def test_a_path_that_leaves_its_unit_is_refused_wherever_it_stands(path: str) -> None:
    for name in ("snapshot", "runs"):
        decode, head, _ = MESSAGES[name]
        place = ("files", 0, 0) if name == "snapshot" else ("runs", 1, "files", 0, 0)
        with pytest.raises(TransferError):
            decode(put(head, place, path))
    with pytest.raises(TransferError):
        decode_names({"units": [f"runs/{path}"]})


@pytest.mark.parametrize(
    "head",
    [
        {"file": 4, "start": 0},
        {"file": -1, "start": 0},
        {"file": True, "start": 0},
        {"file": 0, "start": -1},
        {"file": 0, "start": 3},
        {"file": 0, "start": 1 << 61},
        {"file": 1, "start": 0, "last": False},
        {"file": 1, "start": 0, "last": True, "sha256": "x" * 64},
        {"file": 1, "start": 0, "last": True},
        {"file": 1, "start": 0, "last": 1, "sha256": ""},
    ],
    ids=str,
)
def test_a_piece_that_does_not_fit_its_file_is_refused(head: dict[str, Any]) -> None:
    with pytest.raises(TransferError, match="not valid"):
        piece_of(head)
    assert piece_of({"file": 1, "start": 0, "last": True, "sha256": "c" * 64}) is not None


# --- many runs in a message ---


@pytest.mark.parametrize("size", [0, 75, 77])
def test_runs_with_other_bytes_than_their_sizes_say_are_refused(size: int) -> None:
    head, data = next(encode_runs([COMPLETE]))
    assert len(data) == 76
    with pytest.raises(TransferError, match="sizes"):
        decode_runs(Frame(FrameKind.DATA, 1, json.loads(json.dumps(head)), bytes(size)))


def test_a_run_that_says_to_be_huge_is_refused_without_memory_for_it() -> None:
    head, data = next(encode_runs([COMPLETE]))
    tracemalloc.start()
    try:
        for size in (RUN_BYTES_MAX, 1 << 40, 1 << 60):
            with pytest.raises(TransferError):
                decode_runs(Frame(FrameKind.DATA, 1, put(head, ("runs", 0, "files", 1, 2), size), data))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    many = head["runs"][0]["files"][1:2] * (RUN_FILES_MAX + 1)
    with pytest.raises(TransferError):
        decode_runs(Frame(FrameKind.DATA, 1, put(head, ("runs", 0, "files"), many), data))


def test_runs_fill_several_messages_none_of_which_is_too_large() -> None:
    large = UnitSnapshot(
        RUN, "t", (FileState("artifacts/l", FileKind.WHOLE, RUN_BYTES_MAX, "d" * 64),), (), 7, (STORE, "h")
    )
    runs = [CompleteRun(large, {"artifacts/l": os.urandom(RUN_BYTES_MAX)}), None, *[COMPLETE] * 2500]
    frames = [(head, data) for head, data in encode_runs(runs)]
    assert len(frames) > 3
    found: list[CompleteRun | None] = []
    for head, data in frames:
        encoded = b"".join(encode_frame(FrameKind.DATA, 1, head, data))
        assert len(encoded) < 1 << 20
        found += decode_runs(Frame(FrameKind.DATA, 1, json.loads(json.dumps(head)), data))
    assert found == runs


def test_outcomes_of_other_runs_than_were_sent_are_refused() -> None:
    [head] = encode_outcomes([APPLIED, NotFoundError("gone", hint="look")])
    sent = [(RUN, "token"), ("runs/" + "b" * 32, "t")]
    first, second = decode_outcomes(head, sent, "far")
    assert first == APPLIED
    assert isinstance(second, NotFoundError)
    assert (str(second).splitlines()[0].startswith("far: gone"), second.hint) == (True, "look")
    for wrong in ([], sent[:1], [("runs/" + "b" * 32, "t"), sent[0]], [(RUN, "other"), sent[1]]):
        with pytest.raises(TransferError):
            decode_outcomes(head, wrong, "far")


def test_a_failure_that_is_not_one_is_refused() -> None:
    head = encode_failure(NotFoundError("gone", hint="look"))
    assert isinstance(decode_failure(head, "far"), NotFoundError)
    for field in head:
        for value in WRONG:
            try:
                error = decode_failure({**head, field: value}, "far")
            except TransferError:
                continue
            assert isinstance(error, MltrackError)
            assert len(str(error)) < 5000


# --- the hello ---


def answers(*frames: tuple[FrameKind, dict[str, Any]]) -> BinaryIO:
    """What the other side says."""
    return cast("BinaryIO", io.BytesIO(b"".join(b"".join(encode_frame(kind, 0, head)) for kind, head in frames)))


def ask(reader: BinaryIO) -> tuple[StoreInfo, int]:
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        return request_store(reader, null, Opening(write=True), "far")
    finally:
        os.close(null)


HELLO: dict[str, Any] = {"protocol": [1, 2], "format": 1, "version": "1.0"}


@pytest.mark.parametrize(("least", "most", "agreed"), [(1, 1, 1), (1, 2, 2), (1, 9, PROTOCOL_MAX), (2, 3, 3)])
def test_the_highest_version_that_both_sides_know_is_chosen(least: int, most: int, agreed: int) -> None:
    hello = {**HELLO, "protocol": [least, most]}
    info, protocol = ask(answers((FrameKind.HELLO, hello), (FrameKind.HELLO, encode_info(INFO))))
    assert (info, protocol) == (INFO, agreed)


@pytest.mark.parametrize(
    ("protocol", "words"), [([0, 0], "upgrade it there"), ([PROTOCOL_MAX + 1, 99], "upgrade it here")]
)
def test_versions_without_one_in_common_name_the_side_to_upgrade(protocol: list[int], words: str) -> None:
    with pytest.raises(VersionError) as caught:
        ask(answers((FrameKind.HELLO, {**HELLO, "protocol": protocol})))
    assert words in caught.value.hint


def test_a_store_of_a_later_format_is_refused() -> None:
    with pytest.raises(VersionError, match="format 9"):
        ask(answers((FrameKind.HELLO, HELLO), (FrameKind.HELLO, {**encode_info(INFO), "format": 9})))


def test_whatever_a_hello_says_wrongly_is_one_clear_error() -> None:
    for field in HELLO:
        for value in WRONG:
            with pytest.raises((TransferError, VersionError, ConnectionLostError)):
                ask(answers((FrameKind.HELLO, {**HELLO, field: value}), (FrameKind.DATA, {})))
    with pytest.raises(TransferError, match="does not begin with a hello"):
        ask(answers((FrameKind.DATA, HELLO)))
    with pytest.raises(ConnectionLostError, match="before the store was opened"):
        ask(answers())


@pytest.mark.parametrize("field", ["protocol", "write"])
def test_an_opening_that_is_not_one_is_refused(field: str) -> None:
    head = {"protocol": 2, "version": "1.0", "write": False, "create": False}
    assert read_opening(answers((FrameKind.HELLO, head))) == Opening(write=False, create=False, protocol=2)
    for value in WRONG:
        if (field, value) != ("write", True):
            with pytest.raises(TransferError):
                read_opening(answers((FrameKind.HELLO, {**head, field: value})))
    assert read_opening(answers()) is None

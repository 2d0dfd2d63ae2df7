"""Whatever a server says: an answer is bounded in size, time and depth, and a strange one is an error in words."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpcore
import httpx
import pytest

from mltrack.errors import RemoteError
from mltrack_sync.errors import NotMlflowError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.body import JSON_BYTES_MAX, Answer, json_object
from mltrack_sync.http.pool import OneConnection
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.sockets import FIRST_BYTE_S, REST_S, Patience
from mltrack_sync.http.transport import API, Call, Transport
from mltrack_sync.mlflow.provider import MlflowWorkspace
from tests.support.raw_server import answer, raw_server

GET = Call("GET", API + "runs/get", True)
MIB = 1 << 20


def packed(pieces: Iterator[bytes], kind: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, kind)
    return b"".join([packer.compress(piece) for piece in pieces]) + packer.flush()


def asked(handle: Callable[[socket.socket, bytes], None] | bytes, call: Call = GET) -> dict[str, object]:
    """What a server's answer comes to."""

    def say(connection: socket.socket, request: bytes) -> None:
        if isinstance(handle, bytes):
            connection.sendall(handle)
        else:
            handle(connection, request)

    with raw_server(say) as server:
        workspace = MlflowWorkspace(server.url, environ={}, home=Path("/nonexistent"))
        policy = RetryPolicy(attempts_max=2, sleep=lambda seconds: None)
        with contextlib.closing(Transport(workspace, policy=policy, connections_max=1)) as transport:
            return transport.send(call)


def endless(head: bytes, piece: bytes) -> Callable[[socket.socket, bytes], None]:
    def handle(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)

    return handle


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("kind", [zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS])
def test_compressed_answers_are_decompressed(kind: int) -> None:
    content = packed(iter([b'{"a": "', b"x" * MIB, b'"}']), kind)
    name = "gzip" if kind > 15 else "deflate"
    assert asked(answer(content, "200 OK", f"Content-Encoding: {name}")) == {"a": "x" * MIB}


def test_an_endless_answer_is_read_up_to_the_limit() -> None:
    with pytest.raises(NotMlflowError, match="more than 67,108,864 bytes"):
        asked(endless(OK + b"Content-Length: 8000000000000\r\n\r\n", b"x" * MIB))
    with pytest.raises(NotMlflowError, match="more than 67,108,864 bytes"):
        asked(endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + b"x" * MIB + b"\r\n"))


@pytest.mark.parametrize(("kind", "name"), [(zlib.MAX_WBITS | 16, "gzip"), (zlib.MAX_WBITS, "deflate")])
def test_a_decompression_bomb_is_decompressed_up_to_the_limit(kind: int, name: str) -> None:
    bomb = packed(itertools.repeat(bytes(MIB), 2 * JSON_BYTES_MAX // MIB), kind)
    assert len(bomb) < MIB
    with pytest.raises(NotMlflowError, match="more than 67,108,864 bytes"):
        asked(answer(bomb, "200 OK", f"Content-Encoding: {name}"))


def test_a_decompression_bomb_in_an_error_or_a_file_is_stopped_too() -> None:
    bomb = gzip.compress(bytes(2 * MIB))
    with pytest.raises(NotMlflowError, match="more than 1,048,576 bytes"):
        asked(answer(bomb, "400 Bad", "Content-Encoding: gzip"))
    got: list[int] = []
    call = Call("GET", "/file", True, begin=lambda: lambda piece: got.append(len(piece)))
    assert asked(answer(bomb, "200 OK", "Content-Encoding: gzip"), call) == {}
    assert sum(got) == 2 * MIB
    assert max(got) <= MIB // 4


@pytest.mark.parametrize("name", ["br", "zstd", "gzip, gzip", "x" * 5000])
def test_an_answer_in_an_unrequested_compression_is_refused(name: str) -> None:
    with pytest.raises(NotMlflowError, match="not asked for") as caught:
        asked(answer(b"x", "200 OK", f"Content-Encoding: {name}"))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"{}" * 1000, mtime=0)[:-9], b""], ids=["other", "cut", "empty"]
)
def test_an_answer_that_cannot_be_decompressed_is_an_error_in_words(content: bytes) -> None:
    with pytest.raises(RemoteError, match=r"decompressed|middle"):
        asked(answer(content, "200 OK", "Content-Encoding: gzip"))


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b"[" * 200_000,
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        b'{"a":' + b"[" * 150 + b"]" * 150 + b"}",
    ],
)
def test_an_answer_that_is_nested_too_deeply_is_refused(content: bytes) -> None:
    with pytest.raises(NotMlflowError, match="nested"):
        asked(answer(content))


def test_an_answer_of_too_many_values_is_refused() -> None:
    with pytest.raises(NotMlflowError, match="more than 4,000,000 values"):
        asked(answer(b'{"a":[' + b"[]," * 5_000_000 + b"[]]}"))


@pytest.mark.parametrize("content", [b"[" + b"9" * 5000 + b"]", b"\xff\xfe", b"", b"nul", b'"text"', b"7", b"null"])
def test_a_json_value_that_is_not_an_object_is_not_an_mlflow_answer(content: bytes) -> None:
    if not content:
        assert asked(answer(content)) == {}
    else:
        with pytest.raises(NotMlflowError, match="its reply is not JSON"):
            asked(answer(content))


@pytest.mark.parametrize(
    "head",
    [b"rubbish\r\n\r\n", b"\xff" * 200_000, b"HTTP/1.1 999999 x\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"\r\n\r\n", b"\0"],
)
def test_a_server_that_does_not_speak_http_is_reported_briefly(head: bytes) -> None:
    def handle(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)

    with pytest.raises(RemoteError) as caught:
        asked(handle)
    assert len(str(caught.value)) < 1500


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"X-More: " + b"x" * 1000 + b"\r\n", b"x" * 1000, b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_endless_headers_end_the_request(piece: bytes) -> None:
    with pytest.raises(RemoteUnavailableError, match="did not answer"):
        asked(endless(b"" if piece.startswith(b"HTTP") else OK, piece))


@pytest.mark.parametrize("text", ["\xb2", "-5", "1e9", "inf", "nan", "9" * 200, "soon", "Sun, 99 Foo 2001", "", "\x01"])
def test_an_invalid_retry_after_is_ignored(text: str) -> None:
    with pytest.raises(RemoteUnavailableError) as caught:
        asked(answer(b"{}", "429 Slow down", f"Retry-After: {text}"))
    assert caught.value.status == 429


def test_messages_of_a_server_are_kept_up_to_a_limit() -> None:
    words = b'{"error_code":"' + b"C" * 50_000 + b'","message":"' + b"m" * 50_000 + b'"}'
    with pytest.raises(RemoteRefusedError, match=r"\(50,000 characters\)") as caught:
        asked(answer(words, "400 " + "r" * 50_000))
    assert len(str(caught.value)) < 1500
    assert len(caught.value.code) <= 100
    with pytest.raises(RemoteError) as other:
        asked(answer(b"", "503 " + "r" * 50_000))
    assert len(str(other.value)) < 1500


@pytest.mark.parametrize("place", ["http://[", "x" * 60_000, "http://u:SECRET@h/?token=SECRET#SECRET", ""])
def test_a_redirect_is_not_followed_and_reported_briefly(place: str) -> None:
    with pytest.raises(NotMlflowError) as caught:
        asked(answer(b"", "307 Elsewhere", f"Location: {place}"))
    assert len(str(caught.value)) < 1500
    assert "SECRET" not in str(caught.value)


# --- time --------------------------------------------------------------------------------------------------------


def test_an_answer_at_a_byte_a_second_is_given_up() -> None:
    stop = threading.Event()

    def trickle(connection: socket.socket, request: bytes) -> None:
        connection.sendall(OK + b"Content-Length: 1000000\r\n\r\n")
        while not stop.wait(0.02):
            connection.sendall(b" ")

    with raw_server(trickle) as server, OneConnection(None, None) as connection:
        request = httpx.Request("GET", server.url, extensions={"patience": (60.0, 0.5)})
        response = connection.handle_request(request)
        with contextlib.closing(response), pytest.raises(httpx.ReadTimeout):
            response.read()
    stop.set()


def test_headers_at_a_byte_a_second_are_given_up() -> None:
    stop = threading.Event()

    def trickle(connection: socket.socket, request: bytes) -> None:
        for byte in OK + b"X: " + b"x" * 100_000:
            if stop.wait(0.02):
                return
            connection.sendall(bytes([byte]))

    with (
        raw_server(trickle) as server,
        OneConnection(None, None) as connection,
        pytest.raises(httpx.ReadTimeout),
    ):
        connection.handle_request(httpx.Request("GET", server.url, extensions={"patience": (60.0, 0.5)}))
    stop.set()


def test_the_time_limit_of_an_answer_grows_only_with_the_bytes_received() -> None:
    now = [0.0]
    patience = Patience(lambda: now[0])
    assert patience.left_for_read(None) == FIRST_BYTE_S
    assert patience.left_for_read(5) == 5
    patience.read(1, 100)
    assert patience.left_for_read(None) == pytest.approx(REST_S, abs=0.01)
    for _ in range(40):
        patience.read(1, 1)
    assert patience.left_for_read(None) == 0.001
    patience.head_received()
    patience.read(1 << 20, 1)
    assert patience.left_for_read(None) > 900
    patience.begin(7, 8)
    assert patience.left_for_read(None) == 7


def test_a_server_that_takes_a_request_at_a_byte_a_second_is_given_up() -> None:
    patience = Patience()
    before = patience.left_for_write(None)
    for _ in range(100):
        patience.written(1, 1)
    assert patience.left_for_write(None) < before / 2
    for _ in range(100):
        patience.written(1, 1)
    assert patience.left_for_write(None) == 0.001


def test_an_absurd_number_of_headers_is_an_error() -> None:
    patience = Patience()
    patience.read(1 << 20, 0)
    with pytest.raises(httpcore.RemoteProtocolError):
        patience.read(1, 0)


def test_a_remote_that_timed_out_is_not_asked_often() -> None:
    calls: list[int] = []

    def silent() -> None:
        calls.append(1)
        raise RemoteUnavailableError("x", in_doubt=True, timed_out=True)

    with pytest.raises(RemoteUnavailableError):
        RetryPolicy(sleep=lambda seconds: None).send(silent, repeatable=True)
    assert len(calls) == 2


def test_an_answer_that_is_not_a_file_is_limited_in_size() -> None:
    patience = Patience()
    patience.begin(120, 30, 240)
    patience.head_received()
    patience.read(1, 0)
    patience.read(1 << 26, 200)
    assert patience.left_for_read(None) == 40


@pytest.mark.parametrize(
    "level",
    [b'{"a":%s}', b'{"a": %s}', b'{"a":  %s}', b'{"a":\n%s}', b'{"a":\t%s}', b"[%s]", b'[{"a":%s}]', b"[ 1, %s ]"],
)
def test_depth_of_nesting_is_measured_however_it_is_written(level: bytes) -> None:
    content, deep = b"1", 120 if level.count(b"[") + level.count(b"{") == 1 else 60
    for _ in range(deep):
        content = level % content
    with pytest.raises(NotMlflowError, match="nested"):
        asked(answer(b'{"rows":' + content + b"}"))
    assert asked(answer(b'{"rows":' + level % (level % b"1") + b"}"))


def test_a_long_page_of_rows_is_not_deep() -> None:
    rows = b",".join([b'{"key":"m","value":1.5,"step":3}'] * 5000)
    assert asked(answer(b'{"metrics":[' + rows + b"]}"))
    assert asked(answer(b'{"metrics": [\n' + rows.replace(b",{", b",\n  {") + b"\n]\n}"))


@pytest.mark.parametrize("half", [b"\\ud800", b"\\uDC00", b"\xed\xa0\x80"])
def test_a_lone_surrogate_is_not_passed_on(half: bytes) -> None:
    content = b'{"uri": "mlflow-artifacts:/' + half + b'/x", "name": "\\ud83d\\ude00"}'
    fields = json_object(Answer(200, httpx.Headers(), "OK", content))
    assert fields is not None
    assert fields["name"] == "\U0001f600"
    assert fields["uri"].encode("utf-8").startswith(b"mlflow-artifacts:/?")

"""Proxies are found as MLflow's client finds them, in every form; what is secret in one is never shown."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from pathlib import Path

import httpx
import pytest

from mltrack.errors import RemoteError, UsageError
from mltrack_sync.http.pool import OneConnection, connections_to
from mltrack_sync.http.proxies import Proxy, proxy_for
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.mlflow.provider import MlflowWorkspace
from tests.support.raw_server import answer, raw_server

URL = "http://mlflow.example.com:5000"


def at(environ: dict[str, str], url: str = URL) -> str:
    found = proxy_for(url, environ)
    return "" if found is None else f"{found.scheme}://{found.host}:{found.port}"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"http_proxy": "http://p:1"}, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ({"http_proxy": "p:1"}, "http://p:1"),
        ({"http_proxy": "//p:1"}, "http://p:1"),
        ({"http_proxy": "p"}, "http://p:80"),
        ({"http_proxy": " http://p:1\n"}, "http://p:1"),
        ({"http_proxy": "HTTP://p:1/"}, "http://p:1"),
        ({"http_proxy": "https://p"}, "https://p:443"),
        ({"http_proxy": "http://[::1]:3"}, "http://::1:3"),
        ({"all_proxy": "http://p:1"}, "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ({"ALL_PROXY": "http://a:1", "http_proxy": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "http://p:1"}, ""),
        ({"http_proxy": "http://low:1", "HTTP_PROXY": "http://high:1"}, "http://low:1"),
        ({"http_proxy": "", "HTTP_PROXY": "http://high:1"}, ""),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, ""),
        ({"http_proxy": "socks5://p"}, "socks5://p:1080"),
        ({"http_proxy": "socks5h://p:1"}, "socks5h://p:1"),
        ({"ALL_PROXY": "socks://p:1/"}, "socks5://p:1"),
        ({}, ""),
    ],
)
def test_each_form_of_proxy_setting_is_understood(environ: dict[str, str], expected: str) -> None:
    assert at(environ) == expected


@pytest.mark.parametrize(
    ("no_proxy", "url", "directly"),
    [
        ("*", URL, True),
        ("mlflow.example.com", URL, True),
        ("example.com", URL, True),
        (".example.com", URL, True),
        ("*.example.com", URL, True),
        ("EXAMPLE.com", URL, True),
        ("ample.com", URL, False),
        ("other.org , example.com", URL, True),
        ("example.com:5000", URL, True),
        ("example.com:5001", URL, False),
        ("mlflow.example.com:80", "http://mlflow.example.com", True),
        ("127.0.0.0/8", "http://127.1.2.3:5000", True),
        ("127.0.0.0/8", "http://128.1.2.3:5000", False),
        ("10.0.0.5", "http://10.0.0.5:5000", True),
        ("10.0.0.5:5000", "http://10.0.0.5:5000", True),
        ("0.0.5", "http://10.0.0.5:5000", False),
        ("fd00::/8", "http://[fd00::1]:5000", True),
        ("::1", "http://[::1]:5000", True),
        ("[::1]:5000", "http://[::1]:5000", True),
        ("[::1]:5001", "http://[::1]:5000", False),
        ("999.0.0.0/8,no/where", "http://10.0.0.5:5000", False),
        ("", URL, False),
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_hosts_listed_in_no_proxy_are_contacted_directly(no_proxy: str, url: str, directly: bool, name: str) -> None:
    assert (proxy_for(url, {"http_proxy": "http://p:1", name: no_proxy}) is None) == directly


@pytest.mark.parametrize(
    "text",
    [
        "http://me:SECRET#1@p:1",
        "http://me:SECRET@",
        "http://me:SECRET@p:x",
        "http://me:SECRET/@p:1",
        "socks4://me:SECRET@p:1",
        "ftp://me:SECRET@p",
        "http://me:SECRET@p:99999",
        "http://me:SECRET@[::1",
        "socks5://me:SECRET" + "x" * 300 + "@p",
        "http://me:SECRET@p\x1b[2J:1",
    ],
)
def test_an_invalid_proxy_is_reported_by_its_variable_and_without_its_password(text: str) -> None:
    with pytest.raises(UsageError, match="HTTPS_PROXY") as caught:
        proxy_for("https://h", {"HTTPS_PROXY": text})
    assert "SECRET" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"


def test_the_password_of_a_proxy_is_sent_only_to_the_proxy() -> None:
    proxy = proxy_for(URL, {"http_proxy": "http://me:p%40ss@p:1"})
    assert proxy is not None
    assert proxy.login == (b"me", b"p@ss")
    assert "p@ss" not in repr(proxy)
    with raw_server(lambda connection, _: connection.sendall(answer())) as server:
        environ = {"http_proxy": f"http://me:p%40ss@127.0.0.1:{server.port}"}
        with connections_to("http://mlflow.invalid", _no_tls, 1, environ=environ) as connection:
            connection.handle_request(httpx.Request("GET", "http://mlflow.invalid/x")).close()
    assert server.seen[0].startswith(b"GET http://mlflow.invalid/x HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==" in server.seen[0]


def test_a_proxy_that_wants_a_login_is_not_taken_for_an_mlflow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = answer(b"who are you?", "407 Proxy Authentication Required")
    with raw_server(lambda connection, _: connection.sendall(refusal)) as server:
        monkeypatch.setenv("http_proxy", f"http://me:SECRET@127.0.0.1:{server.port}")
        workspace = MlflowWorkspace("http://mlflow.invalid", environ={}, home=Path("/nonexistent"))
        with (
            contextlib.closing(
                Transport(workspace, policy=RetryPolicy(attempts_max=1), connections_max=1)
            ) as transport,
            pytest.raises(RemoteError, match="wants user and password") as caught,
        ):
            transport.check_connection()
    assert "SECRET" not in f"{caught.value!r} {caught.value.hint}"


# --- SOCKS -------------------------------------------------------------------------------------------------------


class SocksServer:
    """Notes what is asked of it, and then is the server behind it, too. ``reply`` replaces its words."""

    def __init__(self, *, login: tuple[bytes, bytes] | None = None, reply: bytes | None = None, code: int = 0) -> None:
        self._login, self._reply, self._code = login, reply, code
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked: list[tuple[int, bytes, int]] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, IndexError), connection.makefile("rwb") as stream:
            stream.read(3)
            if self._reply is not None:
                connection.sendall(self._reply)
                return
            stream.write(b"\x05\x02" if self._login else b"\x05\x00")
            stream.flush()
            if self._login:
                stream.read(1)
                user = stream.read(stream.read(1)[0])
                good = (user, stream.read(stream.read(1)[0])) == self._login
                stream.write(b"\x01\x00" if good else b"\x01\x01")
                stream.flush()
            kind = stream.read(4)[3]
            name = stream.read({1: 4, 4: 16}.get(kind) or stream.read(1)[0])
            self.asked.append((kind, name, struct.unpack("!H", stream.read(2))[0]))
            for byte in b"\x05" + bytes([self._code]) + b"\x00\x01\x00\x00\x00\x00\x00\x00" + answer(b"by socks"):
                stream.write(bytes([byte]))  # torn as far as can be
                stream.flush()
            stream.read(1)


def _no_tls() -> ssl.SSLContext:
    raise AssertionError("a certificate is looked for though nothing is encrypted")


def through(proxy: SocksServer, url: str, scheme: str = "socks5h", login: tuple[bytes, bytes] | None = None) -> bytes:
    with OneConnection(None, Proxy(scheme, "127.0.0.1", proxy.port, login)) as connection:
        response = connection.handle_request(httpx.Request("GET", url))
        with contextlib.closing(response):
            return response.read()


def test_a_socks_proxy_gets_the_host_name_or_with_socks5_the_address() -> None:
    with contextlib.closing(SocksServer()) as proxy:
        assert through(proxy, "http://mlflow.invalid:81/") == b"by socks"
        assert through(proxy, "http://127.0.0.9/") == b"by socks"
        assert through(proxy, "http://[::1]/") == b"by socks"
        assert through(proxy, "http://127.0.0.7/", "socks5") == b"by socks"
        assert through(proxy, "http://mlflow.invalid/", "socks5") == b"by socks"
    assert proxy.asked == [
        (3, b"mlflow.invalid", 81),
        (1, bytes([127, 0, 0, 9]), 80),
        (4, bytes(15) + b"\x01", 80),
        (1, bytes([127, 0, 0, 7]), 80),
        (3, b"mlflow.invalid", 80),  # unknown here: the proxy may know it
    ]


def test_a_socks_proxy_takes_user_and_password() -> None:
    with contextlib.closing(SocksServer(login=(b"me", b"secret"))) as proxy:
        assert through(proxy, "http://h/", login=(b"me", b"secret")) == b"by socks"
        with pytest.raises(httpx.ProxyError, match="refuses user and password"):
            through(proxy, "http://h/", login=(b"me", b"wrong"))
        with pytest.raises(httpx.ProxyError, match="another kind of login"):
            through(proxy, "http://h/")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reply": b"HTTP/1.0 400 Bad Request\r\n\r\n"}, "does not speak SOCKS 5"),
        ({"reply": b"\x05"}, "closed the connection"),
        ({"code": 5}, "can't connect: connection refused"),
        ({"code": 200}, "can't connect: code 200"),
    ],
)
def test_a_socks_proxy_that_does_not_connect_is_reported(options: dict[str, object], words: str) -> None:
    with (
        contextlib.closing(SocksServer(**options)) as proxy,  # type: ignore[arg-type]
        pytest.raises(httpx.ProxyError, match=words),
    ):
        through(proxy, "http://h/")

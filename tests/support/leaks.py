"""What tests of secrets share: a search that knows nothing of how they are hidden, and a server that gives all back."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import http.server
import json
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

PART = 8
SECRET = "pL4nt3d/Tok+en=9zQ7"
ODD = "pL4nt&d ö\"se'c%40r\\et:x@y?z#9"
"""As passwords may be: with all that has to be encoded somewhere."""


# --- the search ---


def decoded(text: bytes) -> Iterator[bytes]:
    """A text as it is, and as anybody might read it."""
    yield text
    yield unquote_to_bytes(text.replace(b"+", b" "))
    yield unquote_to_bytes(text)
    as_text = text.decode("utf-8", "replace")
    for _ in range(3):  # escapes in escapes
        as_text = re.sub(
            r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\\\"'/]))",
            lambda m: chr(int(m[1] or m[2], 16)) if m[1] or m[2] else m[3],
            as_text,
        )
        yield as_text.encode("utf-8", "replace")
        yield as_text.encode("latin-1", "replace")
    yield re.sub(rb"&(quot|amp|lt|gt|#x27|#39);", lambda m: ENTITIES[m[1]], text)
    for found in re.findall(rb"[A-Za-z0-9+/_-]{10,}", text):
        plain = found.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            piece = plain[start:]
            yield base64.b64decode(piece[: len(piece) // 4 * 4])
    for found in re.findall(rb"(?:[0-9a-fA-F]{2}){8,}", text):
        yield binascii.unhexlify(found)


ENTITIES = {b"quot": b'"', b"amp": b"&", b"lt": b"<", b"gt": b">", b"#x27": b"'", b"#39": b"'"}


def pieces_of(secret: str) -> set[bytes]:
    raw = secret.encode()
    return {raw[at : at + PART] for at in range(len(raw) - PART + 1)} or {raw}


_CLEAN: set[tuple[bytes, str]] = set()
"""Texts (by their digests) that hold nothing of a secret: files of a store are searched again and again."""


def leak_in(text: bytes, secret: str) -> bytes:
    """The first thing in which a part of the secret is found; empty where it is nowhere."""
    searched = (hashlib.sha256(text).digest(), secret)
    if searched in _CLEAN:
        return b""
    pieces = pieces_of(secret)
    for form in _distinct(decoded(text)):
        for piece in pieces:
            at = form.find(piece)
            if at >= 0:
                return form[max(0, at - 60) : at + 60]
    _CLEAN.add(searched)
    return b""


def _distinct(forms: Iterator[bytes]) -> Iterator[bytes]:
    seen: set[bytes] = set()
    for form in forms:
        if form not in seen:
            seen.add(form)
            yield form


def search(folder: Path, planted: set[Path], secret: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path not in planted:
            found = leak_in(path.read_bytes(), secret)
            assert not found, f"{path}: {found!r}"


# --- a server that gives back all it gets ---


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with whatever came in, in every form a server may put it into its words."""

    protocol_version = "HTTP/1.1"
    mode = "401"
    secret = ""

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def echo(self) -> str:
        """What a careless server says."""
        sent = [value for name, value in self.headers.items() if "auth" in name.lower()] or [self.secret]
        words = []
        for value in [*sent, self.secret]:
            kind, _, rest = value.partition(" ")
            words += [value, repr(value), quote(value, safe=""), base64.b64encode(value.encode()).decode(), rest]
            if kind == "Basic":
                words.append(base64.b64decode(rest).decode("utf-8", "replace"))
        return f"you sent {json.dumps(words)}, and {self.secret!r} with {self.secret}"

    def answer(self) -> None:
        """By the mode."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        words, mode = self.echo(), Echo.mode
        if mode == "hang up":
            self.close_connection = True
            return
        if mode == "cut off":
            words = f"you sent {self.secret[:13]}"
        if mode == "moved":
            self.reply(302, b"", Location=f"http://u:{quote(self.secret, safe='')}@127.0.0.2/?token={self.secret}")
        elif mode == "not JSON":
            self.reply(200, words.encode())
        elif mode == "no MLflow":
            self.reply(200, json.dumps({"experiments": words, "experiment": words, "run": words}).encode())
        elif mode == "refuses the rest":
            self.refuse_the_rest(words)
        else:
            status = int(mode) if mode.isdigit() else 400
            fields = {"error_code": "INVALID_PARAMETER_VALUE", "message": words}
            self.reply(status, json.dumps(fields).encode())

    def refuse_the_rest(self, words: str) -> None:
        """A server that takes a run, and gives its secrets away: where its files go, and why it takes nothing more."""
        uri = f"ftp://me:{quote(self.secret, safe='')}@127.0.0.1/files"
        info = {"run_id": "a" * 32, "experiment_id": "1", "status": "RUNNING", "artifact_uri": uri, "start_time": 1}
        path = self.path.partition("?")[0].rpartition("/mlflow/")[2]
        experiment = {"experiment_id": "1", "name": "Default", "lifecycle_stage": "active", "creation_time": 1}
        good = {
            "experiments/search": {"experiments": [experiment]},
            "experiments/get-by-name": {"experiment": experiment},
            "experiments/get": {"experiment": experiment},
            "experiments/create": {"experiment_id": "1"},
            "experiments/set-experiment-tag": {},
            "runs/search": {},
            "runs/create": {"run": {"info": info, "data": {}}},
            "runs/get": {"run": {"info": info, "data": {}}},
        }
        if path in good:
            self.reply(200, json.dumps(good[path]).encode())
        else:
            fields = {"error_code": "INVALID_PARAMETER_VALUE", "message": words}
            self.reply(400, json.dumps(fields).encode())

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value.encode("ascii", "ignore").decode())
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer


MODES = ("401", "403", "400", "404", "cut off", "moved", "not JSON", "no MLflow", "refuses the rest")


@contextlib.contextmanager
def echo_server(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of such a server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if tls is not None else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

"""A blob store: single puts, blocks and block lists under SAS URLs, which never come with a bearer token."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from .exchange import Refused, Request, Response

ACCOUNT = "/emulated.blob.core.windows.net"
MIB = 1 << 20


@dataclass(slots=True)
class Blob:
    """Content once it was put or committed (None before), and blocks that wait for their list."""

    content: bytes | None = None
    blocks: dict[str, bytes] = field(default_factory=dict)
    committed: list[tuple[str, int]] = field(default_factory=list)
    etag: str = ""


class BlobStore:
    """Those of one workspace, by "container/path". A put of more than ``put_bytes_max`` must come in blocks."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.put_bytes_max = 64 * MIB
        self.block_bytes_max = 100 * MIB
        self.sas_life_s: float = 3600
        self.bearers_seen: list[str] = []
        self.signatures: dict[str, tuple[str, float]] = {}
        self._now = now
        self._blobs: dict[str, Blob] = {}
        self._lock = threading.Lock()

    def sas_url(self, base_url: str, name: str, permissions: str = "rcw") -> str:
        """A URL that lets its holder read and write one blob for a while."""
        signature, expires = secrets.token_urlsafe(32), self._now() + self.sas_life_s
        with self._lock:
            self.signatures[signature] = (name, expires)
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
        query = f"sv=2021-12-02&sr=b&se={quote(ends, safe='')}&sp={permissions}&sig={quote(signature, safe='')}"
        return f"{base_url}{ACCOUNT}/{quote(name)}?{query}"

    def content(self, name: str) -> bytes | None:
        """The bytes of a blob; None when it has none."""
        with self._lock:
            blob = self._blobs.get(name)
            return blob.content if blob else None

    def replace(self, name: str, content: bytes | None) -> None:
        """Change the bytes of a blob, which no client can; None takes them away."""
        with self._lock:
            self._blobs[name].content = content

    def answer(self, request: Request, kind: str) -> Response:
        """One call of the blob service."""
        name = unquote(request.path.removeprefix(ACCOUNT + "/"))
        self._authorize(request, name)
        with self._lock:
            match kind:
                case "blob/put":
                    return self._put(name, request)
                case "blob/block":
                    return self._put_block(name, request)
                case "blob/block-list":
                    return self._put_block_list(name, request)
                case "blob/blocks":
                    return self._list_blocks(name)
        return self._get(name, request)

    def _authorize(self, request: Request, name: str) -> None:
        if "authorization" in request.headers:
            self.bearers_seen.append(request.path)
            raise Refused(403, "AuthenticationFailed", "A shared access signature must come without Authorization.")
        owner, expires = self.signatures.get(request.query.get("sig", ""), ("", 0.0))
        if owner != name:
            raise Refused(403, "AuthenticationFailed", "Signature did not match.")
        if expires <= self._now():
            raise Refused(403, "AuthenticationFailed", "Signature not valid in the specified time frame.")

    def _put(self, name: str, request: Request) -> Response:
        if request.headers.get("x-ms-blob-type") != "BlockBlob":
            raise Refused(400, "MissingRequiredHeader", "The header x-ms-blob-type must be BlockBlob.")
        if len(request.body) > self.put_bytes_max:
            raise Refused(413, "RequestBodyTooLarge", "The request body is too large: use blocks.")
        self._check_md5(request)
        self._check_new(name, request)
        blob = self._blobs.setdefault(name, Blob())
        blob.content, blob.blocks, blob.committed = request.body, {}, []
        return self._created(blob)

    def _put_block(self, name: str, request: Request) -> Response:
        block = request.query.get("blockid", "")
        blob = self._blobs.setdefault(name, Blob())
        try:
            size = len(base64.b64decode(block, validate=True))
        except ValueError:
            size = 0
        if not 0 < size <= 64 or any(len(block) != len(other) for other in blob.blocks):
            raise Refused(
                400, "InvalidQueryParameterValue", "Block ids are base64, all of one length, of 64 bytes at most."
            )
        if not request.body or len(request.body) > self.block_bytes_max:
            raise Refused(413, "RequestBodyTooLarge", "The block is empty or too large.")
        self._check_md5(request)
        blob.blocks[block] = request.body
        return Response(201, headers={"x-ms-request-id": secrets.token_hex(8), "x-ms-version": "2021-12-02"})

    def _put_block_list(self, name: str, request: Request) -> Response:
        self._check_new(name, request)
        try:
            asked = [(str(item.text), item.tag) for item in ElementTree.fromstring(request.body)]
        except ElementTree.ParseError as error:
            raise Refused(400, "InvalidXmlDocument", "The block list is no XML.") from error
        blob = self._blobs.setdefault(name, Blob())
        if any(tag not in ("Latest", "Uncommitted") or block not in blob.blocks for block, tag in asked):
            raise Refused(400, "InvalidBlockList", "The specified block list is invalid.")
        blob.content = b"".join(blob.blocks[block] for block, _ in asked)
        blob.committed = [(block, len(blob.blocks[block])) for block, _ in asked]
        blob.blocks = {}
        return self._created(blob)

    def _list_blocks(self, name: str) -> Response:
        blob = self._blobs.get(name)
        if blob is None:
            raise Refused(404, "BlobNotFound", "The specified blob does not exist.")
        parts = [
            f"<{part}>{''.join(f'<Block><Name>{n}</Name><Size>{s}</Size></Block>' for n, s in blocks)}</{part}>"
            for part, blocks in (
                ("CommittedBlocks", blob.committed),
                ("UncommittedBlocks", [(block, len(data)) for block, data in blob.blocks.items()]),
            )
        ]
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{"".join(parts)}</BlockList>'
        return Response(200, body.encode(), {"Content-Type": "application/xml"})

    def _get(self, name: str, request: Request) -> Response:
        blob = self._blobs.get(name)
        if blob is None or blob.content is None:
            raise Refused(404, "BlobNotFound", "The specified blob does not exist.")
        content = blob.content
        headers = {
            "Content-Type": "application/octet-stream",
            "x-ms-blob-type": "BlockBlob",
            "ETag": blob.etag,
            "Last-Modified": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            "Accept-Ranges": "bytes",
        }
        if request.method == "HEAD":
            return Response(200, b"", {**headers, "Content-Length": str(len(content))})
        asked = re.fullmatch(
            r"bytes=(\d+)-(\d*)", request.headers.get("x-ms-range") or request.headers.get("range", "")
        )
        if asked is None:
            return Response(200, content, headers)
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if first > last:
            raise Refused(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return Response(206, content[first : last + 1], headers)

    def _check_new(self, name: str, request: Request) -> None:
        blob = self._blobs.get(name)
        if request.headers.get("if-none-match") == "*" and blob is not None and blob.content is not None:
            raise Refused(409, "BlobAlreadyExists", "The specified blob already exists.")

    @staticmethod
    def _check_md5(request: Request) -> None:
        sent = request.headers.get("content-md5")
        if sent and sent != base64.b64encode(hashlib.md5(request.body).digest()).decode():
            raise Refused(400, "Md5Mismatch", "The MD5 value specified in the request did not match the body.")

    @staticmethod
    def _created(blob: Blob) -> Response:
        blob.etag = f'"0x{secrets.token_hex(7).upper()}"'
        headers = {
            "ETag": blob.etag,
            "Last-Modified": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            "x-ms-request-id": secrets.token_hex(8),
            "x-ms-version": "2021-12-02",
            "x-ms-request-server-encrypted": "true",
        }
        return Response(201, b"", headers)

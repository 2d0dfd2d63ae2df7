"""A run's files to Azure: a name is created in run history, then its content is put to the blob store, for good.

The blob store is reached by a URL that is itself the secret: it is kept in memory while one file is sent, and gets
no bearer token. Names are created one at a time, so that a syncer that dies leaves at most one without content.
Blocks have a digest of their content in their names: those that an earlier syncer has put are not put again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from mltrack.disk.filesystem import reading
from mltrack_sync.azureml.limits import AZURE_LIMITS
from mltrack_sync.azureml.service import HISTORY
from mltrack_sync.errors import NotMlflowError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.shapes import mapping, rows, shaped, text
from mltrack_sync.http.transport import Call, error_words
from mltrack_sync.mlflow.files.content import CHUNK_BYTES, Digest, FileChanged, TooLong, check_content, read_checked
from mltrack_sync.progress import FileMeter, NoProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from mltrack.entities import Artifact
    from mltrack_sync.http.body import Answer
    from mltrack_sync.http.transport import Transport
    from mltrack_sync.mlflow.api.own_place import Attempts

__all__ = ["BLOCK_BYTES", "PUT_BYTES_MAX", "AzurePlace", "azure_digest", "send_to_azure"]

PUT_BYTES_MAX = 64 << 20
BLOCK_BYTES = 4 << 20
BLOCKS_MAX = 50_000
BLOCK_ATTEMPTS_MAX = 4
BLOB_BYTES_MAX = 1 << 50
PATHS_MAX = 1_000_000
SIGNATURES_MAX = 4
"""How many signed URLs are asked for at most while one file is sent."""

_RUN = re.compile(r"/experiments/([^/]+)/runs/([^/]+)/artifacts/?$")
_BLOCK_NAME = re.compile(r"<Name>([A-Za-z0-9+/=]+)</Name>")
_CONFLICT = re.compile(r"already exists|resource conflict", re.IGNORECASE)


class AzurePlace:
    """The artifacts of one run, as an OwnPlace."""

    def __init__(self, transport: Transport, uri: str) -> None:
        self._transport = transport
        self._uri = uri

    def send(self, artifact: Artifact, path: Path, *, meter: FileMeter, of: str, attempts: Attempts) -> None:
        """Send one file; see send_to_azure."""
        send_to_azure(self._transport, self._uri, artifact, path, meter=meter, of=of, attempts=attempts)

    def digest(self, path: str, bytes_max: int) -> tuple[int, str]:
        """Size and SHA-256 of a file; see azure_digest."""
        return azure_digest(self._transport, self._uri, path, bytes_max)

    def read(self, path: str, begin: Callable[[], Callable[[bytes], object]]) -> None:
        """Hand on a file; see OwnPlace."""
        if not _read(self._transport, RunHistory(self._transport, self._uri).locate(path), begin):
            raise _refused("NOT_FOUND", f"{path!r} has a name on the remote, but no content")


def send_to_azure(
    transport: Transport,
    uri: str,
    artifact: Artifact,
    path: Path,
    *,
    meter: FileMeter | None = None,
    of: str = "",
    attempts: Attempts | None = None,
    put_bytes_max: int = PUT_BYTES_MAX,
    block_bytes: int = BLOCK_BYTES,
) -> None:
    """Send one file as a whole, with the content that was recorded, or not at all.

    A file that is on the remote already counts as sent when its size and hash are the same. ``attempts`` limits how
    often a file of ``of`` (a run, a model) is sent when answers are lost.

    Raises:
        FileChanged: its content here is no longer what was recorded.
        RemoteRefusedError: the remote does not take it, or has it with another content.
        RemoteUnavailableError: it can't be sent now.
        OSError: it can't be read.
    """
    refusal = AZURE_LIMITS.refuse_artifact(artifact.path)
    if refusal is not None:
        raise _refused("PATH_TOO_LONG", refusal)
    check_content(artifact, path)
    history = RunHistory(transport, uri)
    url = history.make(artifact.path)
    is_new = url is not None
    if url is None:
        url = history.locate(artifact.path)
        stored = _content(transport, url, artifact.size)
        if stored is not None:
            _compare(artifact, stored)
            return
    meter = meter or FileMeter(NoProgress(), artifact.size)
    upload = Upload(transport, history, artifact, path, meter, block_bytes)

    def arrived() -> bool:
        return _content(transport, history.locate(artifact.path), artifact.size) == (artifact.size, artifact.sha256)

    if artifact.size > put_bytes_max:
        url = upload.put_blocks(url, stored=set() if is_new else _blocks(transport, url))
    finish = partial(upload.put_list if artifact.size > put_bytes_max else upload.put, url)
    if attempts is not None:
        attempts.send((of, artifact.path), artifact.sha256, finish, arrived)
    else:
        transport.policy.settle(lambda again: None if again and arrived() else finish())


def azure_digest(transport: Transport, uri: str, path: str, bytes_max: int = BLOB_BYTES_MAX) -> tuple[int, str]:
    """Size and SHA-256 of a file on the remote; of one larger than ``bytes_max`` no more than that is read.

    Raises:
        RemoteRefusedError, RemoteUnavailableError: the remote does not have it, or it can't be had now.
    """
    stored = _content(transport, RunHistory(transport, uri).locate(path), bytes_max)
    if stored is None:
        raise _refused("NOT_FOUND", f"{path!r} has a name on the remote, but no content")
    return stored


class RunHistory:
    """The artifacts of one run in Azure's run history."""

    def __init__(self, transport: Transport, uri: str) -> None:
        found = _RUN.search(uri.partition("?")[0])
        if found is None:
            raise _refused("INVALID_URI", f"{uri.partition('?')[0]} is not the URI of a run's artifacts")
        self._transport = transport
        self._path = f"/experimentids/{found[1]}/runs/{found[2]}/artifacts"

    def make(self, path: str) -> str | None:
        """Create the name; returns the signed URL for its content, or None when the name exists already."""
        body = json.dumps({"paths": [{"path": path}]}).encode("ascii")
        call = Call("POST", f"{self._path}/batch/metadata", True, body=body, body_bytes=len(body), service=HISTORY)
        answer = self._transport.send(call)
        with shaped(self._transport.url, "batch/metadata", answer):
            error = mapping(mapping(answer.get("errors")).get(path))
            place = mapping(answer.get("artifactContentInformation")).get(path)
        if error:
            code, words = error_words(error if "error" in error or "Error" in error else {"error": error})
            if _CONFLICT.search(words):
                return None
            raise _refused(code, words or "the remote gives no reason")
        return _uri_in(place, path)

    def paths(self) -> tuple[str, ...]:
        """All names, with or without content.

        Raises:
            NotMlflowError: the answer has another shape, or its pages do not end.
        """
        token, found, seen = "", list[str](), set[str]()
        while True:
            params = {"continuationToken": token} if token else {}
            answer = self._transport.send(Call("GET", self._path, True, params, service=HISTORY))
            with shaped(self._transport.url, "artifacts", answer):
                page = [text(row["path"]) for row in rows(answer, "value")]
                token = text(answer.get("continuationToken"))
            found += page
            if not token:
                return tuple(found)
            if token in seen or not page or len(found) > PATHS_MAX:
                raise NotMlflowError(f"{self._transport.url} lists artifacts with pages that don't end")
            seen.add(token)

    def locate(self, path: str) -> str:
        """A signed URL for a name that exists."""
        call = Call("GET", f"{self._path}/contentinfo", True, {"path": path}, service=HISTORY)
        return _uri_in(self._transport.send(call), path)


class Upload:
    """The content of one file on its way."""

    def __init__(
        self,
        transport: Transport,
        history: RunHistory,
        artifact: Artifact,
        path: Path,
        meter: FileMeter,
        block_bytes: int,
    ) -> None:
        self._transport = transport
        self._history = history
        self._artifact = artifact
        self._path = path
        self._meter = meter
        self._block_bytes = max(block_bytes, -(-artifact.size // BLOCKS_MAX))
        self._signatures = 1
        self._names: list[str] = []

    def put(self, url: str) -> None:
        """All of it in one request."""
        headers = {"x-ms-blob-type": "BlockBlob", "If-None-Match": "*", "Content-Type": "application/octet-stream"}
        size, sha256 = self._artifact.size, bytes.fromhex(self._artifact.sha256)
        self._finish(url, headers, lambda: self._meter.attempt(0, read_checked(self._path, 0, size, sha256)), size)

    def put_blocks(self, url: str, *, stored: Collection[str]) -> str:
        """Put all blocks but those ``stored`` already; they become visible once the list is put."""
        digest = hashlib.sha256()
        names = self._names
        skipped = 0
        with reading(self._path) as file:
            while block := file.read(self._block_bytes):
                digest.update(block)
                name = f"{len(names):08d}{hashlib.sha256(block).hexdigest()[:40]}"
                names.append(base64.b64encode(name.encode()).decode("ascii"))
                if names[-1] in stored:
                    skipped += len(block)
                    self._meter.skip(skipped)
                else:
                    url = self._put_block(url, names[-1], len(names), block)
        if digest.hexdigest() != self._artifact.sha256:
            raise FileChanged("changed while it was sent")
        return url

    def put_list(self, url: str) -> None:
        """Make the blocks the content."""
        items = "".join(f"<Latest>{escape(name)}</Latest>" for name in self._names)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{items}</BlockList>'.encode()
        headers = {"If-None-Match": "*", "Content-Type": "application/xml"}
        self._finish(url, headers, lambda: body, len(body), "&comp=blocklist")

    def _put_block(self, url: str, name: str, number: int, block: bytes) -> str:
        while True:
            target = f"{url}&comp=block&blockid={quote(name, safe='')}"
            response = self._settle_block(url, target, name, number, block)
            if response is None or response.status_code == 201:
                return url
            url = self._new_signed_url(response)

    def _settle_block(self, url: str, target: str, name: str, number: int, block: bytes) -> Answer | None:
        """The answer to a block that is put; None where an answer was lost, but the block was stored."""

        def attempt(again: bool) -> Answer | None:
            if again and name in _blocks(self._transport, url):
                return None
            return self._transport.send_signed(
                "PUT",
                target,
                {},
                lambda: self._meter.attempt(number, _pieces(block)),
                len(block),
                repeatable=False,
            )

        policy = self._transport.policy
        return replace(policy, attempts_max=min(BLOCK_ATTEMPTS_MAX, policy.attempts_max)).settle(attempt)

    def _finish(
        self,
        url: str,
        headers: dict[str, str],
        body: Callable[[], bytes | Iterator[bytes]],
        size: int,
        addition: str = "",
    ) -> None:
        while True:
            response = self._transport.send_signed("PUT", url + addition, headers, body, size, repeatable=False)
            if response.status_code == 201:
                return
            if response.status_code in (409, 412):  # an answer that was lost, or another syncer
                stored = _content(self._transport, self._history.locate(self._artifact.path), self._artifact.size)
                if stored is not None:
                    _compare(self._artifact, stored)
                    return
            url = self._new_signed_url(response)

    def _new_signed_url(self, response: Answer) -> str:
        """Another signed URL, when the last one expired; any other refusal is final."""
        code = response.headers.get("x-ms-error-code", "")
        if response.status_code in (401, 403) and self._signatures < SIGNATURES_MAX:
            self._signatures += 1
            return self._history.locate(self._artifact.path)
        words = f"the blob store answers {response.status_code} {code}: the file has a name, but no content"
        raise _refused(code or "BLOB_REFUSED", words)


def _pieces(block: bytes) -> Iterator[bytes]:
    for at in range(0, len(block), CHUNK_BYTES):
        yield block[at : at + CHUNK_BYTES]


def _blocks(transport: Transport, url: str) -> set[str]:
    """The names of the blocks that are stored and not yet part of any content; empty where it does not say."""
    response = transport.send_signed("GET", f"{url}&comp=blocklist&blocklisttype=uncommitted", {})
    return set(_BLOCK_NAME.findall(response.text)) if response.status_code == 200 else set()


def _content(transport: Transport, url: str, bytes_max: int) -> tuple[int, str] | None:
    """Size and SHA-256 of the stored content, of which at most ``bytes_max`` is read; None without content."""
    digest = Digest(bytes_max)
    try:
        has_content = _read(transport, url, digest.begin)
    except TooLong:
        return digest.found[0], ""
    return digest.found if has_content else None


def _read(transport: Transport, url: str, begin: Callable[[], Callable[[bytes], object]]) -> bool:
    """Hand on the stored content; False where there is none."""
    response = transport.send_signed("GET", url, {}, begin=begin)
    if response.status_code == 404:
        return False
    if response.status_code != 200:
        words = f"the blob store of {transport.url} answers {response.status_code} when asked what it has"
        raise RemoteUnavailableError(words, in_doubt=False, status=response.status_code)
    return True


def _compare(artifact: Artifact, stored: tuple[int, str]) -> None:
    if stored != (artifact.size, artifact.sha256):
        raise _refused("CONFLICT", f"exists already with another content ({stored[0]} bytes), and can't be changed")


def _uri_in(fields: Any, path: str) -> str:
    url = str(fields.get("contentUri") or "") if isinstance(fields, dict) else ""
    if not url.startswith("https://"):
        raise _refused("NO_CONTENT_URI", f"the remote gives no place for the content of {path!r}")
    return url


def _refused(code: str, words: str) -> RemoteRefusedError:
    return RemoteRefusedError(words, status=400, code=code, words=words)

"""Large files by MLflow's multipart upload: parts go straight to the object store, several at once, each by itself.

The server hands out an upload and a signed URL for each part; no credentials of ours go to those URLs, and they are
kept in memory only. The protocol gives no URLs anew for an upload that was begun. So a process goes on with its own
uploads from pass to pass; a new process goes on with those whose parts are all there, and where parts belong to the
file's name (Azure Blob Storage). Any other upload left behind is aborted, and its file sent anew.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import reading
from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.transport import NotReached
from mltrack_sync.ledger.uploads import Upload, UploadLog
from mltrack_sync.mlflow.files.content import CHUNK_BYTES, FileChanged, read_checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Executor, Future
    from pathlib import Path

    from mltrack.entities import Artifact
    from mltrack_sync.http.retry import RetryPolicy
    from mltrack_sync.mlflow.api.client import MlflowClient, SignedPart
    from mltrack_sync.progress import FileMeter

__all__ = ["Multipart", "PartSizes", "Signatures"]

MIB = 1 << 20
PARTS_MAX = 10_000
PART_BYTES_MIN = 5 * MIB
PARTS_AT_ONCE = 4
UPLOADS_MAX = 2
"""So many uploads are begun at most for one file in one pass; then it goes through the server."""
COMPLETE_ATTEMPTS_MAX = 3
CREATE_ATTEMPTS_MAX = 3
PART_ATTEMPTS_MAX = 4
"""A part can't be looked for: its URL is for putting it, and putting it twice is as once."""


@dataclass(frozen=True, slots=True)
class PartSizes:
    """From which size on a file goes in parts, and how large they are; ``file_bytes_min`` None means never."""

    file_bytes_min: int | None = 64 * MIB
    part_bytes: int = 16 * MIB

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> PartSizes:
        """As MLflow's own variables say, where they are set; its clients send in parts only when told to."""
        if environ.get("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "").lower() in ("false", "0"):
            return cls(file_bytes_min=None)
        least = _whole_number(environ.get("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"), 64 * MIB)
        part = _whole_number(environ.get("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"), 16 * MIB)
        return cls(least, max(part, PART_BYTES_MIN))

    def part_bytes_for(self, size: int) -> int:
        """The size of parts for a file of ``size`` bytes: no more parts than an object store takes."""
        return max(self.part_bytes, -(-size // PARTS_MAX))


class Signatures:
    """Signed URLs of the uploads that this process began, by upload; kept for as long as it lives, on no disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: dict[tuple[str, str, str], dict[int, SignedPart]] = {}

    def get(self, remote: str, upload: Upload) -> dict[int, SignedPart]:
        """Those of an upload; none when another process began it."""
        with self._lock:
            return self._parts.get((remote, upload.name, upload.upload_id), {})

    def put(self, remote: str, upload: Upload, parts: dict[int, SignedPart]) -> None:
        """Keep them."""
        with self._lock:
            self._parts[remote, upload.name, upload.upload_id] = parts

    def drop(self, remote: str, upload: Upload) -> None:
        """Forget them."""
        with self._lock:
            self._parts.pop((remote, upload.name, upload.upload_id), None)


OF_THIS_PROCESS = Signatures()


class Multipart:
    """Sends large files of one pass in parts. Safe to use from many threads."""

    def __init__(
        self,
        client: MlflowClient,
        log: UploadLog,
        *,
        policy: RetryPolicy,
        pool: Executor,
        check: Callable[[], None],
        sizes: PartSizes | None = None,
        signatures: Signatures = OF_THIS_PROCESS,
    ) -> None:
        """``pool`` runs ``send`` and helps with its parts; ``check`` raises PushStopped when the pass is to stop."""
        self._client = client
        self._log = log
        self._policy = policy
        self._pool = pool
        self._check = check
        self._sizes = sizes or PartSizes.from_environment()
        self._signatures = signatures
        self._asking = threading.Lock()
        self._offered: bool | None = None  # not known before the first answer
        self._reached = False  # whether any part got through: only then is waiting for the object store worth it

    def close(self) -> None:
        """Close the log of uploads."""
        self._log.close()

    def takes(self, size: int) -> bool:
        """Whether a file of that size is worth asking for."""
        least = self._sizes.file_bytes_min
        return least is not None and size >= max(least, 1) and self._offered is not False

    def send(
        self, run_id: str, name: str, artifact: Artifact, path: Path, meter: FileMeter, is_there: Callable[[], bool]
    ) -> bool:
        """Send one file, whole and with the content that was recorded, or not at all; False when it can't go this way.

        ``is_there`` compares what the server has with the artifact; it is asked when an answer was lost.

        Raises:
            FileChanged: it has another content.
            RemoteUnavailableError: not now; what is there already counts with the next pass.
            LedgerError, PushStopped: see mltrack_sync.errors.
            OSError: it can't be read.
        """
        upload = self._left_behind(run_id, name, artifact)
        part_bytes = upload.part_bytes if upload is not None else self._sizes.part_bytes_for(artifact.size)
        digests = part_digests(artifact, path, part_bytes)
        if upload is not None and not upload.missing():
            if self._complete(upload, is_there, attempts=1, look_first=True):
                return True
            self._give_up(upload)
            upload = None
        for _ in range(UPLOADS_MAX):
            upload = self._begin(
                upload or Upload(run_id, artifact.path, name, artifact.sha256, artifact.size, part_bytes, "")
            )
            if upload is None:
                return False
            try:
                self._send_parts(Work(upload, self._signatures.get(self._client.url, upload), path, digests, meter))
            except FileChanged:
                self._give_up(upload)
                raise
            except NotReached:  # only the server can reach the object store
                break
            except PartRefused:
                upload = self._renewable(upload)
                continue
            if self._complete(upload, is_there, attempts=COMPLETE_ATTEMPTS_MAX):
                return True
            break
        if upload is not None:
            self._give_up(upload)
        self._offered = False
        return False

    # --- the upload ---

    def _left_behind(self, run_id: str, name: str, artifact: Artifact) -> Upload | None:
        """What an earlier pass began and this one can go on with; any other upload of that file is given up."""
        upload = self._log.find(run_id, artifact.path)
        if upload is None:
            return None
        same = (upload.sha256, upload.size, upload.name) == (artifact.sha256, artifact.size, name)
        signed = bool(self._signatures.get(self._client.url, upload))
        if same and (signed or not upload.upload_id or not upload.missing()):
            return upload
        self._give_up(upload)
        return None

    def _begin(self, upload: Upload) -> Upload | None:
        """The upload with a signed URL for each part, asked for where needed; None when the server has none."""
        if self._signatures.get(self._client.url, upload):
            return upload
        with self._asking if self._offered is None else nullcontext():
            if self._offered is False:
                return None
            policy = replace(self._policy, attempts_max=min(CREATE_ATTEMPTS_MAX, self._policy.attempts_max))
            upload_id, signed = policy.settle(lambda again: self._create(upload))
            self._offered = len(signed) == upload.count
            if not self._offered:
                return None
        if upload_id or self._log.find(upload.run_id, upload.path) is not upload:
            upload = replace(upload, upload_id=upload_id, parts={})
            self._log.begin(upload)
        self._signatures.put(self._client.url, upload, signed)
        return upload

    def _create(self, upload: Upload) -> tuple[str, dict[int, SignedPart]]:
        """An upload; no parts when there is none to be had: plain PUT then finds out what is wrong, if anything."""
        try:
            return self._client.create_upload(upload.name, upload.count)
        except (RemoteRefusedError, RemoteAuthError, NotMlflowError):
            return "", {}
        except RemoteUnavailableError as error:
            if error.status != 500:
                raise
            return "", {}

    def _renewable(self, upload: Upload) -> Upload | None:
        """After a URL was refused (it expired, or the upload is gone): what can be kept of the upload."""
        self._signatures.drop(self._client.url, upload)
        if not upload.upload_id:
            return upload
        self._give_up(upload)
        return None

    def _give_up(self, upload: Upload) -> None:
        """Let the object store free what it has of it; whether it does is its own affair."""
        self._signatures.drop(self._client.url, upload)
        with suppress(RemoteRefusedError, RemoteUnavailableError, RemoteAuthError, NotMlflowError):
            self._client.abort_upload(upload.name, upload.upload_id)
        self._log.end(upload)

    def _complete(
        self, upload: Upload, is_there: Callable[[], bool], *, attempts: int, look_first: bool = False
    ) -> bool:
        """Have the parts made one file; False when the server can't do it, now or ever, and the file is not there.

        ``look_first``: an earlier pass may have done it.

        The server answers 500 to anything the object store refuses, also to an upload that is gone.
        """
        signed = self._signatures.get(self._client.url, upload)
        parts = [
            {"part_number": n, "etag": etag, **({"url": signed[n].url} if n in signed else {})}
            for n, etag in sorted(upload.parts.items())
        ]

        def attempt(again: bool) -> None:
            self._check()
            if not ((again or look_first) and is_there()):
                self._client.complete_upload(upload.name, upload.upload_id, parts)

        try:
            replace(self._policy, attempts_max=attempts).settle(attempt)
        except (RemoteRefusedError, RemoteUnavailableError) as error:
            if isinstance(error, RemoteUnavailableError) and error.status != 500:
                raise
            if not is_there():
                return False
        self._signatures.drop(self._client.url, upload)
        self._log.end(upload)
        return True

    # --- its parts ---

    def _send_parts(self, work: Work) -> None:
        """Those missing, with the help of idle threads; none waits for a helper that has not begun."""
        work.meter.skip(sum(work.upload.bytes_of(n) for n in work.upload.parts))
        if not self._reached:
            self._send_next(work, at_once=True)
        helpers: list[Future[None]] = []
        with suppress(RuntimeError):  # the pass is ending, the pool takes nothing more
            for _ in range(min(PARTS_AT_ONCE - 1, len(work.todo) - 1)):
                helpers.append(self._pool.submit(self._drain, work))
        try:
            self._drain(work)
        finally:
            begun = [helper for helper in helpers if not helper.cancel()]
            errors = [error for error in [helper.exception() for helper in begun] if error is not None]
        if errors:
            raise errors[0]

    def _drain(self, work: Work) -> None:
        try:
            while self._send_next(work):
                pass
        except BaseException:
            work.todo.clear()
            raise

    def _send_next(self, work: Work, *, at_once: bool = False) -> bool:
        """Send a part, if one is left. A part that is on its way when another fails comes to its end."""
        self._check()
        try:
            number = work.todo.popleft()
        except IndexError:
            return False
        signed = work.signed[number]
        size = work.upload.bytes_of(number)
        response = self._client.transport.send_signed(
            "PUT",
            signed.url,
            signed.headers,
            lambda: work.meter.attempt(number, work.part(number)),
            size,
            at_once=at_once,
            attempts_max=PART_ATTEMPTS_MAX,
        )
        if response.status_code not in (200, 201):
            raise PartRefused(response.status_code)
        self._reached = True
        self._log.acknowledge(work.upload, number, response.headers.get("ETag", ""))
        return True


class PartRefused(Exception):
    """The object store does not take a part at its signed URL."""


class Work:
    """The parts of one upload that are still to be sent."""

    def __init__(
        self, upload: Upload, signed: dict[int, SignedPart], path: Path, digests: list[bytes], meter: FileMeter
    ) -> None:
        self.upload = upload
        self.signed = signed
        self.todo = deque(upload.missing())
        self.meter = meter
        self._path = path
        self._digests = digests

    def part(self, number: int) -> Iterator[bytes]:
        """The bytes of a part, the last of them only if all are what was checked."""
        start = (number - 1) * self.upload.part_bytes
        return read_checked(self._path, start, self.upload.bytes_of(number), self._digests[number - 1])


def part_digests(artifact: Artifact, path: Path, part_bytes: int) -> list[bytes]:
    """SHA-256 of each part of the file, read whole and found to be what the run recorded.

    Raises:
        FileChanged: it is not.
        OSError: it can't be read.
    """
    size = path.stat().st_size
    if size != artifact.size:
        raise FileChanged(f"has {size} bytes, {artifact.size} were recorded")
    whole, digests = hashlib.sha256(), []
    with reading(path) as file:
        for start in range(0, size, part_bytes):
            part, left = hashlib.sha256(), min(part_bytes, size - start)
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                part.update(chunk)
                whole.update(chunk)
                left -= len(chunk)
            digests.append(part.digest())
    digest = whole.hexdigest()
    if digest != artifact.sha256:
        raise FileChanged(f"has SHA-256 {digest[:12]}..., {artifact.sha256[:12]}... was recorded")
    return digests


def _whole_number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.strip().isdigit() else default

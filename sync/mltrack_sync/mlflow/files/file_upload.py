"""One large file's way up in parts: the only place that touches its lines in the upload log and its signed URLs.

What is acknowledged is in the log before the next step relies on it, so that a later cycle goes on from there: a
process with its own uploads; another process with those whose parts are all there, and where parts belong to the
file's name (Azure Blob Storage). Any other upload left behind is aborted, and its file sent from the start.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.transport import NotReached
from mltrack_sync.ledger.uploads import Upload
from mltrack_sync.mlflow.files.content import FileChanged, part_digests
from mltrack_sync.mlflow.files.part_sender import MissingParts, PartRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mltrack.entities import Artifact
    from mltrack_sync.http.retry import RetryPolicy
    from mltrack_sync.ledger.uploads import UploadLog
    from mltrack_sync.mlflow.api.client import MlflowClient, SignedPart
    from mltrack_sync.mlflow.files.multipart_offer import MultipartOffer
    from mltrack_sync.mlflow.files.part_sender import PartSender
    from mltrack_sync.mlflow.files.signatures import Signatures
    from mltrack_sync.progress import FileMeter

__all__ = ["FileUpload", "LargeFile", "UploadContext"]

UPLOADS_MAX = 2
"""So many uploads are begun at most for one file in one cycle; then it goes through the server."""
COMPLETE_ATTEMPTS_MAX = 3


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A file that may go in parts.

    ``name`` is where it goes among the server's artifacts; ``run_id`` and the artifact's path are its key in the upload
    log. ``is_there`` compares what the server has with the artifact; it is asked when an answer was lost.
    """

    run_id: str
    name: str
    artifact: Artifact
    path: Path
    meter: FileMeter
    is_there: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class UploadContext:
    """What the uploads of one sync cycle share; ``check`` raises PushStopped when the cycle is to stop."""

    client: MlflowClient
    log: UploadLog
    signatures: Signatures
    offer: MultipartOffer
    parts: PartSender
    policy: RetryPolicy
    check: Callable[[], None]


class FileUpload:
    """The upload of one file. Used once, by one thread; only its parts go by several."""

    def __init__(self, file: LargeFile, context: UploadContext, part_bytes: int) -> None:
        """``part_bytes`` is the size of its parts, unless an upload that was begun before has other ones."""
        self._file = file
        self._context = context
        self._part_bytes = part_bytes
        self._digests: list[bytes] = []
        self._upload: Upload | None = None  # as it stands in the log

    def send(self) -> bool:
        """Have the file there, whole and with the content that was recorded; False when it can't go this way.

        Raises:
            FileChanged: it has another content.
            RemoteUnavailableError: not now; what is there already counts with the next cycle.
            LedgerError, PushStopped: see mltrack_sync.errors.
            OSError: it can't be read.
        """
        self._resume()
        self._digests = part_digests(self._file.artifact, self._file.path, self._part_bytes)
        if self._complete_earlier():
            return True
        for _ in range(UPLOADS_MAX):
            if not self._begin():
                self._give_up()
                return False
            try:
                self._send_parts()
            except PartRefused:
                self._renew()
                continue
            except NotReached:  # only the server can reach the object store
                break
            except FileChanged:
                self._give_up()
                raise
            if self._complete(attempts=COMPLETE_ATTEMPTS_MAX):
                return True
            break
        self._give_up()
        self._context.offer.withdraw()
        return False

    # --- what is known of it ---

    def _resume(self) -> None:
        """Go on with what an earlier cycle began, if that can be; otherwise it is given up."""
        file, artifact = self._file, self._file.artifact
        self._upload = upload = self._context.log.find(file.run_id, artifact.path)
        if upload is None:
            return
        same = (upload.sha256, upload.size, upload.name) == (artifact.sha256, artifact.size, file.name)
        if same and (self._signed() or not upload.upload_id or not upload.missing()):
            self._part_bytes = upload.part_bytes
        else:
            self._give_up()

    def _signed(self) -> Mapping[int, SignedPart]:
        """Where its parts go, if this process began it."""
        return self._context.signatures.get(self._context.client.url, self._known())

    def _known(self) -> Upload:
        assert self._upload is not None
        return self._upload

    def _renew(self) -> None:
        """A URL was refused (it expired, or the upload is gone): keep parts that belong to the file's name."""
        upload = self._known()
        if upload.upload_id:
            self._give_up()
        else:
            self._context.signatures.drop(self._context.client.url, upload)

    def _give_up(self) -> None:
        """Let the object store free what it has of it; whether it does is its own affair."""
        if self._upload is None:
            return
        with suppress(RemoteRefusedError, RemoteUnavailableError, RemoteAuthError, NotMlflowError):
            self._context.client.abort_upload(self._upload.name, self._upload.upload_id)
        self._end()

    def _end(self) -> None:
        """The file is there, or the upload was given up: nothing is known of it any more."""
        upload = self._known()
        self._context.signatures.drop(self._context.client.url, upload)
        self._context.log.end(upload)
        self._upload = None

    # --- its requests ---

    def _begin(self) -> bool:
        """Have a signed URL for each part, asked for where needed; False when the server has none."""
        if self._upload is not None and self._signed():
            return True
        wanted = self._upload or self._new_upload()
        created = self._context.offer.create(wanted.name, wanted.count)
        if created is None:
            return False
        if created.upload_id or self._upload is None:
            wanted = replace(wanted, upload_id=created.upload_id, parts={})
            self._context.log.begin(wanted)
        self._upload = wanted
        self._context.signatures.put(self._context.client.url, wanted, created.signed)
        return True

    def _new_upload(self) -> Upload:
        file, artifact = self._file, self._file.artifact
        return Upload(file.run_id, artifact.path, file.name, artifact.sha256, artifact.size, self._part_bytes, "")

    def _send_parts(self) -> None:
        """Those that are not there."""
        file, upload = self._file, self._known()

        def acknowledge(number: int, etag: str) -> None:
            self._context.log.acknowledge(upload, number, etag)

        missing = MissingParts(upload, self._signed(), file.path, self._digests, file.meter, acknowledge)
        self._context.parts.send(missing)

    def _complete_earlier(self) -> bool:
        """Have the parts of an earlier cycle made one file, if all were there; that cycle may have done it."""
        if self._upload is None or self._upload.missing():
            return False
        if self._complete(attempts=1, look_first=True):
            return True
        self._give_up()
        return False

    def _complete(self, *, attempts: int, look_first: bool = False) -> bool:
        """Have the parts made one file; False when the server can't do it, now or ever, and the file is not there.

        The server answers 500 to anything the object store refuses, also to an upload that is gone.
        """
        upload, parts = self._known(), self._acknowledged()

        def attempt(again: bool) -> None:
            self._context.check()
            if not ((again or look_first) and self._file.is_there()):
                self._context.client.complete_upload(upload.name, upload.upload_id, parts)

        try:
            replace(self._context.policy, attempts_max=attempts).settle(attempt)
        except (RemoteRefusedError, RemoteUnavailableError) as error:
            if isinstance(error, RemoteUnavailableError) and error.status != 500:
                raise
            if not self._file.is_there():
                return False
        self._end()
        return True

    def _acknowledged(self) -> list[dict[str, object]]:
        """Its parts, as the server is asked to put them together."""
        signed = self._signed()
        return [
            {"part_number": number, "etag": etag, **({"url": signed[number].url} if number in signed else {})}
            for number, etag in sorted(self._known().parts.items())
        ]

"""The upload of one large file in parts: the only code that changes its lines in the upload log and its signed URLs.

What is acknowledged is in the log before the next step relies on it, so that a later cycle continues: a process its own
uploads; another process those of which all parts were sent, or whose parts belong to the file's name (Azure Blob
Storage). Any other upload that was left is aborted, and its file sent from the start.
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
"""How many uploads are begun at most for one file in one cycle; after that it is sent through the server."""
COMPLETE_ATTEMPTS_MAX = 3


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A file that may be sent in parts.

    ``name`` is its path in the server's artifact proxy; ``run_id`` and the artifact's path are its key in the upload
    log. ``has_arrived`` compares what the server has with the artifact; it is asked when an answer was lost.
    """

    run_id: str
    name: str
    artifact: Artifact
    path: Path
    meter: FileMeter
    has_arrived: Callable[[], bool]


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
        """Send the file as a whole, with the content that was recorded; False when it can't be sent in parts.

        Raises:
            FileChanged: its content is no longer what was recorded.
            RemoteUnavailableError: it can't be sent now; the next cycle continues.
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
        """The file was sent, or the upload was given up: forget it."""
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
        """Send the parts that are missing."""
        file, upload = self._file, self._known()

        def acknowledge(number: int, etag: str) -> None:
            self._context.log.acknowledge(upload, number, etag)

        missing = MissingParts(upload, self._signed(), file.path, self._digests, file.meter, acknowledge)
        self._context.parts.send(missing)

    def _complete_earlier(self) -> bool:
        """Complete the upload of an earlier cycle, if all parts were sent; that cycle may have completed it."""
        if self._upload is None or self._upload.missing():
            return False
        if self._complete(attempts=1, look_first=True):
            return True
        self._give_up()
        return False

    def _complete(self, *, attempts: int, look_first: bool = False) -> bool:
        """Complete the upload; False when the server can't, and does not have the file.

        The server answers 500 to anything that the object store refuses, such as an upload that no longer exists.
        """
        upload, parts = self._known(), self._acknowledged()

        def attempt(again: bool) -> None:
            self._context.check()
            if not ((again or look_first) and self._file.has_arrived()):
                self._context.client.complete_upload(upload.name, upload.upload_id, parts)

        try:
            replace(self._context.policy, attempts_max=attempts).settle(attempt)
        except (RemoteRefusedError, RemoteUnavailableError) as error:
            if isinstance(error, RemoteUnavailableError) and error.status != 500:
                raise
            if not self._file.has_arrived():
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

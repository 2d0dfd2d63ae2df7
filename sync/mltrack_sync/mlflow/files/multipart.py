"""Large files by MLflow's multipart upload: parts go straight to the object store, several at once.

The server hands out an upload and a signed URL for each part; no credentials of ours go to those URLs, and they are
kept in memory only. The protocol gives no further URLs for an upload that was begun: see FileUpload for what a later
cycle, or another process, can go on with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack_sync.mlflow.files.file_upload import FileUpload, LargeFile, UploadContext
from mltrack_sync.mlflow.files.multipart_offer import MultipartOffer
from mltrack_sync.mlflow.files.part_sender import PartSender
from mltrack_sync.mlflow.files.part_sizes import PartSizes
from mltrack_sync.mlflow.files.signatures import OF_THIS_PROCESS, Signatures

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from mltrack_sync.http.retry import RetryPolicy
    from mltrack_sync.ledger.uploads import UploadLog
    from mltrack_sync.mlflow.api.client import MlflowClient

__all__ = ["Multipart"]


class Multipart:
    """Sends large files of one sync cycle in parts. Safe to use from many threads."""

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
        """Take what the uploads share; no request is made yet.

        Args:
            client: The remote.
            log: The uploads that have begun.
            policy: What is retried, and how often.
            pool: Runs ``send``, and helps with the parts of a file.
            check: Raises PushStopped when the cycle is to stop.
            sizes: Which files go in parts; as the environment says by default.
            signatures: Where signed URLs are kept from cycle to cycle.
        """
        self._log = log
        self._sizes = sizes or PartSizes.from_environment()
        self._offer = MultipartOffer(client, policy)
        parts = PartSender(client.transport, pool, check)
        self._context = UploadContext(client, log, signatures, self._offer, parts, policy, check)

    def close(self) -> None:
        """Close the log of uploads."""
        self._log.close()

    def send(self, file: LargeFile) -> bool:
        """Send one file as a whole, with the content that was recorded, or not at all.

        False when it can't be sent in parts: it is too small, or the remote does not offer that.

        Raises:
            FileChanged, RemoteUnavailableError, LedgerError, PushStopped, OSError: as FileUpload.send.
        """
        size = file.artifact.size
        if self._offer.is_withdrawn or not self._sizes.take(size):
            return False
        return FileUpload(file, self._context, self._sizes.part_bytes_for(size)).send()

"""Whether a remote takes files in parts: the first file asks, and the others wait for its answer."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteRefusedError, RemoteUnavailableError

if TYPE_CHECKING:
    from mltrack_sync.http.retry import RetryPolicy
    from mltrack_sync.mlflow.api.client import MlflowClient, SignedPart

__all__ = ["CreatedUpload", "MultipartOffer"]

CREATE_ATTEMPTS_MAX = 3


class CreatedUpload(NamedTuple):
    """An upload that the server began: its id, which may be empty, and where each part goes, from 1."""

    upload_id: str
    signed: dict[int, SignedPart]


class MultipartOffer:
    """What one sync cycle knows of the remote's multipart uploads. Safe to use from many threads."""

    def __init__(self, client: MlflowClient, policy: RetryPolicy) -> None:
        self._client = client
        self._policy = replace(policy, attempts_max=min(CREATE_ATTEMPTS_MAX, policy.attempts_max))
        self._asking = threading.Lock()
        self._stands: bool | None = None  # not known before the first answer

    @property
    def is_withdrawn(self) -> bool:
        """Whether it is known that files can't be sent in parts."""
        return self._stands is False

    def withdraw(self) -> None:
        """Note that a file could not be sent in parts: the others of this cycle need not try."""
        self._stands = False

    def create(self, name: str, parts: int) -> CreatedUpload | None:
        """Begin an upload with a signed URL for each part; None when the server has none.

        Raises:
            RemoteUnavailableError: the server can't answer now.
        """
        with self._asking if self._stands is None else nullcontext():
            if self._stands is False:
                return None
            created = self._policy.settle(lambda again: self._create_once(name, parts))
            self._stands = len(created.signed) == parts
            return created if self._stands else None

    def _create_once(self, name: str, parts: int) -> CreatedUpload:
        """An upload, without parts if the server offers none; then a plain PUT finds out what is wrong, if anything."""
        try:
            return CreatedUpload(*self._client.create_upload(name, parts))
        except (RemoteRefusedError, RemoteAuthError, NotMlflowError):
            return CreatedUpload("", {})
        except RemoteUnavailableError as error:
            if error.status != 500:
                raise
            return CreatedUpload("", {})

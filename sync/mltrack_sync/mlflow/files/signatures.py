"""The signed URLs of uploads in parts: secrets, so they are kept in memory only, for as long as the process lives."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mltrack_sync.ledger.uploads import Upload
    from mltrack_sync.mlflow.api.client import SignedPart

__all__ = ["OF_THIS_PROCESS", "Signatures"]


class Signatures:
    """Signed URLs of the uploads that this process began, by upload. Safe to use from many threads."""

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

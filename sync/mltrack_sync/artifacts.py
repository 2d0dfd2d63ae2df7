"""A run's files go to where the remote run keeps its artifacts: by the server's proxy, or MLflow's repositories."""

from __future__ import annotations

import hashlib
import posixpath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mltrack.entities import Artifact
    from mltrack_sync.client import MlflowClient

__all__ = ["FileChanged", "send_artifact"]

CHUNK_BYTES = 1 << 20
PROXY_SCHEME = "mlflow-artifacts"


class FileChanged(Exception):
    """The file does not have the content that the run recorded, now or any more; the message says in what."""


def send_artifact(client: MlflowClient, uri: str, artifact: Artifact, path: Path) -> None:
    """Send one file, whole and with the content that was recorded, or not at all.

    Raises:
        FileChanged: it has another content.
        RemoteRefusedError, RemoteUnavailableError: the remote does not take it, or not now.
        OSError: it can't be read.
    """
    check_content(artifact, path)
    target = urlsplit(uri)
    if target.scheme == PROXY_SCHEME and not target.netloc:
        name = posixpath.join(target.path.lstrip("/"), artifact.path)
        client.put_artifact(name, lambda: _chunks(path, artifact.size), artifact.size)
    else:
        _send_by_mlflow(uri, artifact, path)
    check_content(artifact, path)  # it may have changed while it was read; then what arrived is not it


def check_content(artifact: Artifact, path: Path) -> None:
    """See that the file is what the run recorded.

    Raises:
        FileChanged: it is not.
        OSError: it can't be read.
    """
    size = path.stat().st_size
    if size != artifact.size:
        raise FileChanged(f"has {size} bytes, {artifact.size} were recorded")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != artifact.sha256:
        raise FileChanged(f"has SHA-256 {digest[:12]}..., {artifact.sha256[:12]}... was recorded")


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    """The first ``size`` bytes; a file that became shorter breaks the request off."""
    with open(path, "rb") as file:
        while size > 0:
            chunk = file.read(min(CHUNK_BYTES, size))
            if not chunk:
                raise FileChanged("became shorter while it was sent")
            size -= len(chunk)
            yield chunk


def _send_by_mlflow(uri: str, artifact: Artifact, path: Path) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        repository: Any = get_artifact_repository(uri)
        repository.log_artifact(str(path), posixpath.dirname(artifact.path) or None)
    except MlflowException as failure:
        error: Any = failure
        words = str(error)
        if error.get_http_status_code() >= 500:
            raise RemoteUnavailableError(f"{uri}: {words}", in_doubt=False) from error
        raise RemoteRefusedError(f"{uri}: {words}", status=400, code=error.error_code, words=words) from error
    except ImportError as error:
        words = f"{uri} needs a package that is not installed: {error}"
        raise RemoteRefusedError(words, status=400, code="MISSING_PACKAGE", words=words) from error

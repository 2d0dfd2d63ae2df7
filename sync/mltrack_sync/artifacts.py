"""A run's files go to where the remote run keeps its artifacts: by the server's proxy, or MLflow's repositories."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mltrack.entities import Artifact
    from mltrack_sync.client import MlflowClient

__all__ = ["FileChanged", "artifact_digest", "artifact_sizes", "send_artifact"]

CHUNK_BYTES = 1 << 20
PROXY_SCHEME = "mlflow-artifacts"
AZURE_SCHEME = "azureml"


class FileChanged(Exception):
    """The file does not have the content that the run recorded, now or any more; the message says in what."""


def send_artifact(client: MlflowClient, uri: str, artifact: Artifact, path: Path) -> None:
    """Send one file, whole and with the content that was recorded, or not at all.

    Raises:
        FileChanged: it has another content.
        RemoteRefusedError, RemoteUnavailableError: the remote does not take it, or not now.
        OSError: it can't be read.
    """
    if urlsplit(uri).scheme == AZURE_SCHEME:
        from mltrack_sync.azure.artifacts import send_to_azure

        send_to_azure(client.transport, uri, artifact, path)
        return
    check_content(artifact, path)
    target = urlsplit(uri)
    if target.scheme == PROXY_SCHEME and not target.netloc:
        name = posixpath.join(target.path.lstrip("/"), artifact.path)
        client.put_artifact(name, lambda: _chunks(path, artifact), artifact.size)
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


def artifact_digest(client: MlflowClient, uri: str, artifact: Artifact) -> tuple[int, str]:
    """Size and SHA-256 of a file as it is over there: all of it is read, none of it kept.

    Raises:
        RemoteRefusedError, RemoteUnavailableError: it is not there, or not to be had now.
    """
    target = urlsplit(uri)
    if target.scheme == AZURE_SCHEME:
        from mltrack_sync.azure.artifacts import azure_digest

        return azure_digest(client.transport, uri, artifact.path)
    if target.scheme != PROXY_SCHEME or target.netloc:
        return _digest_by_mlflow(uri, artifact)
    size, digest = 0, hashlib.sha256()

    def begin() -> Callable[[bytes], None]:
        nonlocal size, digest
        size, digest = 0, hashlib.sha256()
        return take

    def take(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        digest.update(piece)

    client.get_artifact(posixpath.join(target.path.lstrip("/"), artifact.path), begin)
    return size, digest.hexdigest()


def artifact_sizes(client: MlflowClient, remote_id: str, artifacts: Sequence[Artifact]) -> dict[str, int]:
    """Sizes of these files, as the remote lists them; those it does not list are left out."""
    folders = {posixpath.dirname(artifact.path) for artifact in artifacts}
    found: dict[str, int] = {}
    for folder in sorted(folders):
        found |= client.list_artifacts(remote_id, folder)
    return {path: size for path, size in found.items() if size >= 0}


def _chunks(path: Path, artifact: Artifact) -> Iterator[bytes]:
    """The file's bytes; the last of them only if all are as recorded: a file that changed breaks the request off."""
    left, digest = artifact.size, hashlib.sha256()
    with open(path, "rb") as file:
        while left > 0:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise FileChanged("became shorter while it was sent")
            left -= len(chunk)
            digest.update(chunk)
            if not left and digest.hexdigest() != artifact.sha256:
                raise FileChanged("changed while it was sent")
            yield chunk


def _send_by_mlflow(uri: str, artifact: Artifact, path: Path) -> None:
    with _mlflow_errors(uri):
        _repository(uri).log_artifact(str(path), posixpath.dirname(artifact.path) or None)


def _digest_by_mlflow(uri: str, artifact: Artifact) -> tuple[int, str]:
    with _mlflow_errors(uri), tempfile.TemporaryDirectory(prefix="mltrack-verify-") as folder:
        try:
            path = Path(_repository(uri).download_artifacts(artifact.path, folder))
            with open(path, "rb") as file:
                return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            words = f"{artifact.path!r} can't be had: {error}"
            raise RemoteRefusedError(words, status=404, code="NOT_FOUND", words=words) from error


def _repository(uri: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(uri)


@contextlib.contextmanager
def _mlflow_errors(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as failure:
        error: Any = failure
        words = str(error)
        if error.get_http_status_code() >= 500:
            raise RemoteUnavailableError(f"{uri}: {words}", in_doubt=False) from error
        raise RemoteRefusedError(f"{uri}: {words}", status=400, code=error.error_code, words=words) from error
    except ImportError as error:
        words = f"{uri} needs a package that is not installed: {error}"
        raise RemoteRefusedError(words, status=400, code="MISSING_PACKAGE", words=words) from error

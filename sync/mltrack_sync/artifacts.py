"""A run's files go to where the remote run keeps its artifacts: by the server's proxy, or MLflow's repositories."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.file_content import Digest, check_content, read_checked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mltrack.entities import Artifact
    from mltrack_sync.client import MlflowClient
    from mltrack_sync.multipart import Multipart
    from mltrack_sync.progress import FileMeter

__all__ = ["Outgoing", "artifact_digest", "artifact_sizes", "send_artifact"]

PROXY_SCHEME = "mlflow-artifacts"
AZURE_SCHEME = "azureml"

_IMPORTING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One file of a run on its way: to a remote run whose artifacts are at ``uri``. Or of a logged model."""

    run_id: str
    remote_id: str
    uri: str
    artifact: Artifact
    path: Path
    meter: FileMeter
    of_model: bool = False


def send_artifact(client: MlflowClient, multipart: Multipart, file: Outgoing) -> None:
    """Send one file, whole and with the content that was recorded, or not at all.

    Raises:
        FileChanged: it has another content.
        RemoteRefusedError, RemoteUnavailableError: the remote does not take it, or not now.
        LedgerError, PushStopped: see mltrack_sync.errors.
        OSError: it can't be read.
    """
    artifact, path, target = file.artifact, file.path, urlsplit(file.uri)
    if target.scheme == AZURE_SCHEME:
        from mltrack_sync.azure.artifacts import send_to_azure

        send_to_azure(client.transport, file.uri, artifact, path, meter=file.meter)
        return
    if target.scheme == PROXY_SCHEME and not target.netloc:
        name = posixpath.join(target.path.lstrip("/"), artifact.path)
        if multipart.takes(artifact.size) and multipart.send(
            file.run_id, name, artifact, path, file.meter, lambda: _is_there(client, file)
        ):
            return
        check_content(artifact, path)
        whole = bytes.fromhex(artifact.sha256)
        client.put_artifact(
            name, lambda: file.meter.attempt(0, read_checked(path, 0, artifact.size, whole)), artifact.size
        )
    else:
        check_content(artifact, path)
        _send_by_mlflow(file.uri, artifact, path)
        check_content(artifact, path)  # it may have changed while it was read; then what arrived is not it


def _is_there(client: MlflowClient, file: Outgoing) -> bool:
    """Whether the remote has the file with its content; what has another size is not read."""
    there = (file.artifact.size, file.artifact.sha256)
    if file.of_model:  # they are listed in another way; the file is large, so this is rare
        with contextlib.suppress(RemoteRefusedError):
            return artifact_digest(client, file.uri, file.artifact) == there
        return False
    sizes = artifact_sizes(client, file.remote_id, [file.artifact])
    return sizes.get(file.artifact.path) == there[0] and artifact_digest(client, file.uri, file.artifact) == there


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
    digest = Digest()
    client.get_artifact(posixpath.join(target.path.lstrip("/"), artifact.path), digest.begin)
    return digest.found


def artifact_sizes(client: MlflowClient, remote_id: str, artifacts: Sequence[Artifact]) -> dict[str, int]:
    """Sizes of these files, as the remote lists them; those it does not list are left out."""
    folders = {posixpath.dirname(artifact.path) for artifact in artifacts}
    found: dict[str, int] = {}
    for folder in sorted(folders):
        found |= client.list_artifacts(remote_id, folder)
    return {path: size for path, size in found.items() if size >= 0}


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
    return _mlflow()[0](uri)


def _mlflow() -> tuple[Any, Any]:
    """What makes its repositories, and its error. Two threads that import MLflow at once find halves of its modules."""
    with _IMPORTING:
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository, MlflowException


@contextlib.contextmanager
def _mlflow_errors(uri: str) -> Iterator[None]:
    _, mlflow_error = _mlflow()
    try:
        yield
    except mlflow_error as error:
        words = str(error)
        if error.get_http_status_code() >= 500:
            raise RemoteUnavailableError(f"{uri}: {words}", in_doubt=False) from error
        raise RemoteRefusedError(f"{uri}: {words}", status=400, code=error.error_code, words=words) from error
    except ImportError as error:
        words = f"{uri} needs a package that is not installed: {error}"
        raise RemoteRefusedError(words, status=400, code="MISSING_PACKAGE", words=words) from error

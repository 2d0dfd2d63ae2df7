"""A run's files go to where the remote run keeps its artifacts: by the server's proxy, or MLflow's repositories."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import tempfile
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import reading
from mltrack.errors import MissingPackageError, MltrackError
from mltrack.extras import need
from mltrack.text.redaction import hide_in
from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.responses import capped, shown_url
from mltrack_sync.mlflow.files.content import Digest, TooLong, check_content, read_checked
from mltrack_sync.mlflow.files.file_upload import LargeFile
from mltrack_sync.mlflow.files.places import InCloud, InFolder, OnWeb, Place, Proxied, place_of
from mltrack_sync.mlflow.files.shared_folder import digest_in_folder, put_in_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mltrack.entities import Artifact
    from mltrack_sync.mlflow.api.client import MlflowClient
    from mltrack_sync.mlflow.files.attempts import UploadAttempts
    from mltrack_sync.mlflow.files.multipart import Multipart
    from mltrack_sync.progress import FileMeter

__all__ = [
    "Outgoing",
    "Uploads",
    "artifact_digest",
    "artifact_sizes",
    "mlflow_errors",
    "refused_by",
    "repository",
    "send_artifact",
]

NOT_FOR_OTHERS = {
    "ArtifactsAround",
    "HttpArtifactRepository",
    "LocalArtifactRepository",
    "ModelsArtifactRepository",
    "RunsArtifactRepository",
    "StoreArtifacts",
}
"""MLflow's repositories, and ours, that write to this machine, or send the remote's credentials wherever a URI says."""

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


@dataclass(frozen=True, slots=True)
class Uploads:
    """How files are sent in one sync cycle: the large ones in ``parts``, the others ``whole``."""

    parts: Multipart
    whole: UploadAttempts


def send_artifact(client: MlflowClient, uploads: Uploads, file: Outgoing) -> None:
    """Send one file as a whole, with the content that was recorded, or not at all.

    Raises:
        FileChanged: its content is no longer what was recorded.
        RemoteRefusedError, RemoteUnavailableError: the remote does not take it, or can't now.
        LedgerError, PushStopped: see mltrack_sync.errors.
        OSError: it can't be read.
    """
    artifact, path = file.artifact, file.path
    own = client.own_place(file.uri)
    if own is not None:
        own.send(artifact, path, meter=file.meter, of=file.run_id, attempts=uploads.whole)
        return
    place = place_of(client.transport, file.uri)
    if isinstance(place, Proxied):
        name = place.name(artifact.path)
        large = LargeFile(file.run_id, name, artifact, path, file.meter, lambda: _has_arrived(client, file, place))
        if uploads.parts.send(large):
            return
    check_content(artifact, path)
    if isinstance(place, InFolder):
        put_in_folder(place, artifact, path, file.meter)
    elif isinstance(place, InCloud):
        _send_by_mlflow(file.uri, artifact, path)
        check_content(artifact, path)  # it may have changed while it was read
    else:
        send = partial(_put, client, place, file)
        uploads.whole.send(
            (file.run_id, artifact.path), artifact.sha256, send, lambda: _has_arrived(client, file, place)
        )


def _put(client: MlflowClient, place: Proxied | OnWeb, file: Outgoing) -> None:
    """All of it in one request."""
    artifact, whole = file.artifact, bytes.fromhex(file.artifact.sha256)

    def body() -> Iterator[bytes]:
        return file.meter.attempt(0, read_checked(file.path, 0, artifact.size, whole))

    if isinstance(place, Proxied):
        client.put_artifact(place.name(artifact.path), body, artifact.size)
        return
    url, headers = place.file_url(artifact.path), {"Content-Type": "application/octet-stream"}
    answer = client.transport.send_signed("PUT", url, headers, body, artifact.size, repeatable=False)
    if answer.status_code not in (200, 201, 204):
        raise refused_by(place, answer.status_code)


def refused_by(place: OnWeb, status: int) -> RemoteRefusedError:
    """That another server refuses a file, with this status."""
    words = f"{shown_url(place.url)}, where the server says that artifacts go, answers {status}"
    if status in (401, 403):
        words += "; credentials go to the remote itself only"
    code = "NOT_FOUND" if status == 404 else "PERMISSION_DENIED"
    return RemoteRefusedError(words, status=status, code=code, words=words)


def _has_arrived(client: MlflowClient, file: Outgoing, place: Place) -> bool:
    """Whether the remote has the file with its content; one of another size is not read."""
    wanted = (file.artifact.size, file.artifact.sha256)
    try:
        if not file.of_model and isinstance(place, Proxied):  # models and traces are listed by other calls
            sizes = artifact_sizes(client, file.remote_id, [file.artifact])
            if sizes.get(file.artifact.path) != wanted[0]:
                return False
        return _digest(client, place, file.artifact, repeatable=False) == wanted
    except RemoteRefusedError:
        return False
    except RemoteUnavailableError as error:
        if error.status == 500:  # a server's answer for a missing file
            return False
        raise


def artifact_digest(client: MlflowClient, uri: str, artifact: Artifact) -> tuple[int, str]:
    """Size and SHA-256 of a file on the remote: all of it is read, and none of it kept.

    Of a file that is larger than the artifact, no more than the artifact's size is read; then both are of that part, or
    without a hash.

    Raises:
        RemoteRefusedError, RemoteUnavailableError: the remote does not have it, or it can't be had now.
    """
    own = client.own_place(uri)
    if own is not None:
        return own.digest(artifact.path, artifact.size)
    return _digest(client, place_of(client.transport, uri), artifact, repeatable=True)


def _digest(client: MlflowClient, place: Place, artifact: Artifact, *, repeatable: bool) -> tuple[int, str]:
    match place:
        case InCloud(uri):
            return _digest_by_mlflow(uri, artifact)
        case InFolder():
            return digest_in_folder(place, artifact.path, artifact.size)
    digest = Digest(artifact.size)
    try:
        if isinstance(place, Proxied):
            client.get_artifact(place.name(artifact.path), digest.begin, repeatable=repeatable)
        else:
            url = place.file_url(artifact.path)
            answer = client.transport.send_signed("GET", url, {}, begin=digest.begin, repeatable=repeatable)
            if answer.status_code != 200:
                raise refused_by(place, answer.status_code)
    except TooLong:
        return digest.found[0], ""
    return digest.found


def artifact_sizes(client: MlflowClient, remote_id: str, artifacts: Sequence[Artifact]) -> dict[str, int]:
    """Sizes of these files, as the remote lists them; those it does not list are left out."""
    folders = {posixpath.dirname(artifact.path) for artifact in artifacts}
    found: dict[str, int] = {}
    for folder in sorted(folders):
        found |= client.list_artifacts(remote_id, folder)
    return {path: size for path, size in found.items() if size >= 0}


def _send_by_mlflow(uri: str, artifact: Artifact, path: Path) -> None:
    with mlflow_errors(uri):
        repository(uri).log_artifact(str(path), posixpath.dirname(artifact.path) or None)


def _digest_by_mlflow(uri: str, artifact: Artifact) -> tuple[int, str]:
    with mlflow_errors(uri), tempfile.TemporaryDirectory(prefix="mltrack-verify-") as folder:
        try:
            path = Path(repository(uri).download_artifacts(artifact.path, folder))
            with reading(path) as file:
                return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            words = f"{artifact.path!r} can't be had: {error}"
            raise RemoteRefusedError(words, status=404, code="NOT_FOUND", words=words) from error


def repository(uri: str) -> Any:
    """MLflow's repository for an object store; one that it would find on this machine, or elsewhere, is refused.

    Raises:
        RemoteRefusedError: there is none for this address.
    """
    make, mlflow_error = _mlflow()
    try:
        found = make(uri)
    except mlflow_error as error:  # an invalid address, an unknown scheme
        words = f"the server says that artifacts go to {shown_url(uri)}: {capped(str(error))}"
        raise RemoteRefusedError(words, status=400, code="INVALID_URI", words=words) from error
    names = {kind.__name__ for kind in type(found).__mro__}
    if names & NOT_FOR_OTHERS:
        words = f"the server says that artifacts go to {shown_url(uri)}, which is not an object store"
        raise RemoteRefusedError(words, status=400, code="INVALID_URI", words=words)
    return found


def _mlflow() -> tuple[Any, Any]:
    """Its factory of repositories, and its error. Two threads must not import MLflow at the same time.

    Raises:
        RemoteRefusedError: it is not installed.
    """
    with _IMPORTING:
        try:
            need("mlflow", "an object store")
        except MissingPackageError as error:
            words = f"{error}: {error.hint}"
            raise RemoteRefusedError(words, status=400, code="MISSING_PACKAGE", words=words) from error
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository, MlflowException


@contextlib.contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """For the body, which has MLflow, and the libraries of object stores, do something there: their errors as ours.

    Raises:
        RemoteRefusedError, RemoteUnavailableError: the store refuses it, or can't do it now.
    """
    _, mlflow_error = _mlflow()
    uri = shown_url(uri)
    try:
        yield
    except (MltrackError, MemoryError):
        raise
    except mlflow_error as error:
        words = capped(str(error))
        if error.get_http_status_code() >= 500:
            raise RemoteUnavailableError(f"{uri}: {words}", in_doubt=False) from error
        raise RemoteRefusedError(f"{uri}: {words}", status=400, code=error.error_code, words=words) from error
    except ImportError as error:
        words = f"{uri} needs a package that is not installed: {error}"
        raise RemoteRefusedError(words, status=400, code="MISSING_PACKAGE", words=words) from error
    except Exception as error:  # each store's library has its own errors, which MLflow passes on
        hide_in(error)
        words = f"{uri}: {capped(str(error)) or type(error).__name__}"
        raise RemoteUnavailableError(words, hint="run mltrack sync again later", in_doubt=True) from error

"""Files of the remote, wherever it keeps artifacts, handed on piece by piece."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import reading
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.mlflow.files.content import CHUNK_BYTES
from mltrack_sync.mlflow.files.places import InCloud, InFolder, Proxied, place_of
from mltrack_sync.mlflow.files.shared_folder import read_in_folder
from mltrack_sync.mlflow.files.upload import mlflow_errors, refused_by, repository

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack_sync.mlflow.api.client import MlflowClient

__all__ = ["read_artifact"]


def read_artifact(client: MlflowClient, uri: str, path: str, begin: Callable[[], Callable[[bytes], object]]) -> None:
    """Hand on a file of the run, or logged model, whose artifacts are at ``uri``.

    Args:
        client: What speaks to the remote.
        uri: Where it says that the artifacts are; they are read only where they may be (see places.py).
        path: The file in it.
        begin: Gives, for each attempt, what takes the pieces.

    Raises:
        RemoteRefusedError, RemoteUnavailableError: the remote does not have it, or it can't be had now.
    """
    own = client.own_place(uri)
    if own is not None:
        own.read(path, begin)
        return
    match place := place_of(client.transport, uri):
        case InCloud():
            _read_by_mlflow(uri, path, begin)
        case InFolder():
            read_in_folder(place, path, begin())
        case Proxied():
            client.get_artifact(place.name(path), begin)
        case _:
            answer = client.transport.send_signed("GET", place.file_url(path), {}, begin=begin)
            if answer.status_code != 200:
                raise refused_by(place, answer.status_code)


def _read_by_mlflow(uri: str, path: str, begin: Callable[[], Callable[[bytes], object]]) -> None:
    with tempfile.TemporaryDirectory(prefix="mltrack-pull-") as folder:
        with mlflow_errors(uri):
            try:
                found = Path(repository(uri).download_artifacts(path, folder))
            except OSError as error:
                words = f"{path!r} can't be had: {error}"
                raise RemoteRefusedError(words, status=404, code="NOT_FOUND", words=words) from error
        take = begin()
        with reading(found) as file:
            while chunk := file.read(CHUNK_BYTES):
                take(chunk)

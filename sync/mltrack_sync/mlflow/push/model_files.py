"""Sending the files of one logged model: to a logged model on the remote, or to a run's artifacts.

Its file ``MLmodel`` names the model, its run and its location: these are mapped to those on the remote. All other files
are sent unchanged.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import read_small
from mltrack_sync.errors import FileNotTakenError, RemoteRefusedError
from mltrack_sync.mlflow.files.content import FileChanged, check_content
from mltrack_sync.mlflow.files.upload import Outgoing, send_artifact
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.mlmodel import MLMODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from mltrack.entities import Artifact, LoggedModel
    from mltrack_sync.mlflow.push.session import Session
    from mltrack_sync.progress import FileMeter

__all__ = ["LoggedFiles", "Target", "as_it_goes"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where files of a model go: into the folder ``place`` below ``uri``, of the run or model ``remote_id``.

    ``kind`` names them in refusals, ``note_sent`` notes one that arrived in the ledger, and ``mlmodel`` gives the
    content that ``MLmodel`` is to have.
    ``local_id`` is the local run or model that they belong to, ``of_model`` whether ``remote_id`` is a logged model's.
    """

    local_id: str
    remote_id: str
    uri: str
    kind: str
    note_sent: Callable[[str, str], None]
    mlmodel: Callable[[bytes], bytes]
    place: str = ""
    of_model: bool = False


class LoggedFiles:
    """Sends files of a model, a few at a time, from its construction on."""

    def __init__(self, session: Session, model: LoggedModel, target: Target, files: Iterable[Artifact]) -> None:
        self._session = session
        self._model = model
        self._target = target
        self._folder = session.store.logged_models.folder(model.model_id).artifacts
        self._sent: list[tuple[Artifact, Future[str]]] = []
        for artifact in files:
            meter = session.meter(artifact.size)
            self._sent.append((artifact, session.files.submit(self._send, artifact, meter)))

    def end(self) -> list[str]:
        """Wait for them. What the remote refuses is rejected; returns what will be retried.

        Raises:
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        troubles: list[str] = []
        ledger = self._session.ledger
        for artifact, future in self._sent:
            key = self._key(artifact)
            try:
                trouble = future.result()
            except RemoteRefusedError as error:
                ledger.rejected(self._session.rejection("", Refusal(self._target.kind, key, error.words)))
                continue
            known = ledger.rejection("", self._target.kind, key)
            if trouble:
                troubles.append(f"file {artifact.path!r} {trouble}")
            elif known is not None:
                ledger.cleared(known)
        return troubles

    def _key(self, artifact: Artifact) -> str:
        return f"{self._model.model_id}/{artifact.path}"

    def _send(self, artifact: Artifact, meter: FileMeter) -> str:
        """Send a file, in a thread of its own; returns the reason of a failure that may be temporary."""
        self._session.check()
        sent = False
        target = self._target
        try:
            with as_it_goes(artifact, self._folder / artifact.path, target.mlmodel) as (content, path):
                named = replace(content, path=posixpath.join(target.place, artifact.path))
                file = Outgoing(
                    target.local_id, target.remote_id, target.uri, named, path, meter, of_model=target.of_model
                )
                send_artifact(self._session.client, self._session.uploads, file)
            sent = True
        except (FileChanged, FileNotTakenError) as error:
            return str(error)
        except OSError as error:
            return f"can't be read: {error.strerror}"
        finally:
            meter.close(sent=sent)
        target.note_sent(artifact.path, artifact.sha256)
        self._session.count(artifacts=1, artifact_bytes=artifact.size)
        return ""


@contextlib.contextmanager
def as_it_goes(artifact: Artifact, path: Path, mlmodel: Callable[[bytes], bytes]) -> Iterator[tuple[Artifact, Path]]:
    """The file, and where to read it; a mapped ``MLmodel`` is in a temporary folder.

    Raises:
        FileChanged: the content of ``MLmodel`` is no longer what was recorded.
        OSError: it can't be read.
    """
    if artifact.path != MLMODEL:
        yield artifact, path
        return
    check_content(artifact, path)
    content = mlmodel(read_small(path))
    with tempfile.TemporaryDirectory(prefix="mltrack-") as folder:
        mapped = Path(folder) / MLMODEL
        mapped.write_bytes(content)
        yield replace(artifact, size=len(content), sha256=hashlib.sha256(content).hexdigest()), mapped

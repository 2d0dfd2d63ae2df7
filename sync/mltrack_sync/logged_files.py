"""The files of one logged model on their way.

Its file ``MLmodel`` names the model, its run and the place of its files: it arrives with what these are over there. All
others arrive as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack_sync.artifacts import Outgoing, send_artifact
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.file_content import FileChanged, check_content
from mltrack_sync.logged_entry import file_line
from mltrack_sync.plan import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from mltrack.entities import Artifact, LoggedModel
    from mltrack_sync.logged_entry import LoggedEntry
    from mltrack_sync.progress import FileMeter
    from mltrack_sync.session import Session

__all__ = ["LoggedFiles"]

FILE = "logged model file"
MLMODEL = "MLmodel"


class LoggedFiles:
    """Sends what the remote lacks of a model's files, a few at a time, from when it is made."""

    def __init__(self, session: Session, model: LoggedModel, entry: LoggedEntry) -> None:
        self._session = session
        self._model = model
        self._entry = entry
        self._folder = session.store.logged_models.folder(model.model_id).artifacts
        self._sent: list[tuple[Artifact, Future[str]]] = []
        for artifact in model.artifacts:
            aside = ("", FILE, self._key(artifact)) in session.ledger.state.rejected and not session.retry_rejected
            if entry.artifacts.get(artifact.path) != artifact.sha256 and not aside:
                meter = session.meter(artifact.size)
                self._sent.append((artifact, session.files.submit(self._send, artifact, meter)))

    def end(self) -> list[str]:
        """Wait for them. What the remote refuses is set aside; returned is what will be tried again.

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
                ledger.rejected(self._session.rejection("", Refusal(FILE, key, error.words)))
                continue
            aside = ledger.state.rejected.get(("", FILE, key))
            if trouble:
                troubles.append(f"file {artifact.path!r} {trouble}")
            elif aside is not None:
                ledger.cleared(aside)
        return troubles

    def _key(self, artifact: Artifact) -> str:
        return f"{self._model.model_id}/{artifact.path}"

    def _send(self, artifact: Artifact, meter: FileMeter) -> str:
        """Have a file there, in a thread of its own; returns what is in the way, if that may pass."""
        self._session.check()
        sent = False
        entry, model_id = self._entry, self._model.model_id
        try:
            with self._as_it_goes(artifact) as (named, path):
                file = Outgoing(model_id, entry.remote_id, entry.uri, named, path, meter, of_model=True)
                send_artifact(self._session.client, self._session.multipart, file)
            sent = True
        except FileChanged as error:
            return str(error)
        except OSError as error:
            return f"can't be read: {error.strerror}"
        finally:
            meter.close(sent=sent)
        self._session.ledger.note(file_line(model_id, artifact.path, artifact.sha256))
        self._session.count(artifacts=1, artifact_bytes=artifact.size)
        return ""

    @contextlib.contextmanager
    def _as_it_goes(self, artifact: Artifact) -> Iterator[tuple[Artifact, Path]]:
        """The file, and where to read it; ``MLmodel`` with other names in it, in a folder that is gone afterwards."""
        path = self._folder / artifact.path
        if artifact.path != MLMODEL:
            yield artifact, path
            return
        check_content(artifact, path)
        content = self._renamed(path.read_bytes())
        with tempfile.TemporaryDirectory(prefix="mltrack-") as folder:
            there = Path(folder) / MLMODEL
            there.write_bytes(content)
            yield replace(artifact, size=len(content), sha256=hashlib.sha256(content).hexdigest()), there

    def _renamed(self, content: bytes) -> bytes:
        """With the ids and the place that hold over there."""
        model_id, run_id = self._model.model_id.encode(), self._model.source_run_id or ""
        place = rb"mltrack:[^\s'\"]*/models/" + model_id + rb"/artifacts"
        content = re.sub(place, lambda _: self._entry.uri.encode(), content)
        content = content.replace(model_id, self._entry.remote_id.encode())
        run = self._session.ledger.state.runs.get(run_id)
        return (
            content.replace(run_id.encode(), run.remote_id.encode()) if run is not None and run.remote_id else content
        )

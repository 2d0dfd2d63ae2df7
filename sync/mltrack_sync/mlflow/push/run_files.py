"""Sending the files of one run to its artifacts on the remote, while its points are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.errors import InvalidPathError, NotFoundError
from mltrack_sync.errors import FileNotTakenError, RemoteRefusedError
from mltrack_sync.mlflow.files.content import FileChanged
from mltrack_sync.mlflow.files.upload import Outgoing, artifact_digest, send_artifact
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.kinds import ARTIFACT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from mltrack.entities import Artifact
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.mlflow.push.session import Session
    from mltrack_sync.progress import FileMeter

__all__ = ["RunFiles"]


class RunFiles:
    """Sends files of a run that the remote has, a few at a time. Used once."""

    def __init__(
        self, session: Session, run: StoredRun, reject: Callable[[Refusal], None], trouble: Callable[[str], None]
    ) -> None:
        """``reject`` is called with what the remote refuses, ``trouble`` with a message on what will be retried."""
        self._session = session
        self._ledger = session.ledger
        self._run = run
        self._entry = session.ledger.run(run.run_id)
        self._reject = reject
        self._trouble = trouble
        self._sent: list[tuple[Artifact, Future[str]]] = []

    def begin(self, files: Iterable[Artifact]) -> None:
        """Start sending these files; each is in the ledger as soon as it was sent."""
        for artifact in files:
            meter = self._session.meter(artifact.size)
            self._sent.append((artifact, self._session.files.submit(self._send, artifact, meter)))

    def end(self) -> None:
        """Wait for them; what could not be sent is rejected, or a problem.

        Raises:
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        for artifact, future in self._sent:
            try:
                trouble = future.result()
            except (RemoteRefusedError, NotFoundError, InvalidPathError) as error:
                words = error.words if isinstance(error, RemoteRefusedError) else str(error)
                self._reject(Refusal(ARTIFACT, artifact.path, words))
                continue
            known = self._ledger.rejection(self._run.run_id, ARTIFACT, artifact.path)
            if trouble:
                self._trouble(f"artifact {artifact.path!r} {trouble}")
            elif known is not None:
                self._ledger.cleared(known)

    def _send(self, artifact: Artifact, meter: FileMeter) -> str:
        """Send a file, in a thread of its own; returns the reason of a failure that may be temporary."""
        self._session.check()
        sent = False
        try:
            trouble = self._send_file(artifact, meter)
            sent = not trouble
            return trouble
        finally:
            meter.close(sent=sent)

    def _send_file(self, artifact: Artifact, meter: FileMeter) -> str:
        try:
            path = self._run.artifact_path(artifact.path)
        except NotFoundError:
            if artifact.remote and self._is_on_remote(artifact):
                return ""
            raise
        entry, uploads = self._entry, self._session.uploads
        file = Outgoing(self._run.run_id, entry.remote_id, entry.artifact_uri, artifact, path, meter)
        try:
            try:
                send_artifact(self._session.client, uploads, file)
            except FileChanged:  # it may have been restored by now
                send_artifact(self._session.client, uploads, file)
        except (FileChanged, FileNotTakenError) as error:
            return str(error)
        except OSError as error:
            return f"can't be read: {error.strerror}"
        self._ledger.artifact(self._run.run_id, artifact.path, artifact.sha256)
        self._session.count(artifacts=1, artifact_bytes=artifact.size)
        return ""

    def _is_on_remote(self, artifact: Artifact) -> bool:
        """Whether the remote has a file that was removed here; then the ledger notes it."""
        try:
            found = artifact_digest(self._session.client, self._entry.artifact_uri, artifact) == (
                artifact.size,
                artifact.sha256,
            )
        except RemoteRefusedError:
            return False
        if found:
            self._ledger.artifact(self._run.run_id, artifact.path, artifact.sha256)
        return found

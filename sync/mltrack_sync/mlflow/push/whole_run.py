"""The complete run on its way to a remote that gets a sample of its points: its files, and then their manifest."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import reading
from mltrack.entities import Artifact
from mltrack_sync.errors import FileNotTakenError, RemoteRefusedError
from mltrack_sync.mlflow.files.content import CHUNK_BYTES, FileChanged
from mltrack_sync.mlflow.files.upload import Outgoing, send_artifact
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.kinds import ARTIFACT

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.mlflow.plan.whole_run import Part, PendingCopy
    from mltrack_sync.mlflow.push.session import Session
    from mltrack_sync.progress import FileMeter

__all__ = ["WholeRunFiles"]


class WholeRunFiles:
    """Sends the files of a run that is on the remote, a few at a time. Used once."""

    def __init__(
        self,
        session: Session,
        run: StoredRun,
        copy: PendingCopy,
        reject: Callable[[Refusal], None],
        trouble: Callable[[str], None],
    ) -> None:
        """Take what is needed; nothing is sent yet.

        Args:
            session: The push.
            run: The run.
            copy: What is to be sent.
            reject: Called with what the remote refuses.
            trouble: Called with words for what will be tried again.
        """
        self._session = session
        self._run = run
        self._copy = copy
        self._entry = session.ledger.run(run.run_id)
        self._reject = reject
        self._trouble = trouble
        self._sent: list[tuple[str, Future[str]]] = []

    def begin(self) -> None:
        """Let the parts go; each is in the ledger as soon as it is on the remote."""
        for part in self._copy.parts:
            meter = self._session.meter(part.end - part.start)
            self._sent.append((part.name, self._session.files.submit(self._send_part, part, meter)))

    def end(self) -> None:
        """Wait for them, then send the manifest, if all that it names is on the remote.

        Raises:
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        for name, future in self._sent:
            self._settle(name, future)
        if not self._copy.is_complete(self._entry.artifacts):
            return
        data = self._copy.manifest(self._run.run_id, self._entry.artifacts)
        name = f"manifest.{self._copy.number}.json"
        with tempfile.TemporaryDirectory(prefix="mltrack-sync-") as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            meter = self._session.meter(len(data))
            self._settle(name, self._session.files.submit(self._send, name, path, meter))

    def _settle(self, name: str, future: Future[str]) -> None:
        """Wait for one; what could not be sent is rejected, or a problem."""
        path = f"{self._copy.folder}/{name}"
        try:
            trouble = future.result()
        except RemoteRefusedError as error:
            self._reject(Refusal(ARTIFACT, path, error.words))
            return
        known = self._session.ledger.rejection(self._run.run_id, ARTIFACT, path)
        if trouble:
            self._trouble(f"artifact {path!r} {trouble}")
        elif known is not None:
            self._session.ledger.cleared(known)

    def _send_part(self, part: Part, meter: FileMeter) -> str:
        """Have a part on the remote; returns what is in the way, if that may pass."""
        path = self._run.folder.path / part.path
        try:
            if part.start == 0 and path.stat().st_size == part.end:
                return self._send(part.name, path, meter)
            with tempfile.TemporaryDirectory(prefix="mltrack-sync-") as folder:
                piece = Path(folder) / "part"
                _copy_range(path, part.start, part.end, piece)
                return self._send(part.name, piece, meter)
        except OSError as error:  # sealed a moment ago, perhaps
            meter.close(sent=False)
            return f"can't be read: {error.strerror}"

    def _send(self, name: str, path: Path, meter: FileMeter) -> str:
        self._session.check()
        sent = False
        with reading(path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        artifact = Artifact(f"{self._copy.folder}/{name}", path.stat().st_size, sha256, 0)
        file_out = Outgoing(self._run.run_id, self._entry.remote_id, self._entry.artifact_uri, artifact, path, meter)
        try:
            send_artifact(self._session.client, self._session.uploads, file_out)
            sent = True
        except (FileChanged, FileNotTakenError) as error:
            return str(error)
        finally:
            meter.close(sent=sent)
        self._session.ledger.artifact(self._run.run_id, artifact.path, sha256)
        self._session.count(artifacts=1, artifact_bytes=artifact.size)
        return ""


def _copy_range(source: Path, start: int, end: int, target: Path) -> None:
    with reading(source) as file, target.open("wb") as out:
        file.seek(start)
        left = end - start
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            out.write(chunk)
            left -= len(chunk)

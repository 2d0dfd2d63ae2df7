"""The complete run next to a sampled history, compared with the files here: by size, or read back and hashed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import reading
from mltrack.entities import Artifact
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.mlflow.files.content import CHUNK_BYTES
from mltrack_sync.mlflow.files.upload import artifact_digest
from mltrack_sync.mlflow.plan.whole_run import find_whole_run, folder_of, manifest_number, manifest_of, parts_of
from mltrack_sync.mlflow.verify.findings import NOTHING

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.mlflow.api.client import MlflowClient, RemoteRun
    from mltrack_sync.mlflow.plan.whole_run import Part
    from mltrack_sync.mlflow.verify.findings import Findings

__all__ = ["WholeRunVerify"]

SUBFOLDERS = ("", "events", "points", "segments", "series")


class WholeRunVerify:
    """Compares the files of one run with the parts on a remote, and with the manifest that names them. Used once."""

    def __init__(self, findings: Findings, client: MlflowClient, run: StoredRun, remote: RemoteRun) -> None:
        """What differs, and the counts, go to ``findings``."""
        self._findings = findings
        self._client = client
        self._run = run
        self._remote = remote
        self._folder = folder_of(run)

    def compare(self, *, quick: bool) -> None:
        """All of it; ``quick`` compares names and sizes only, which is all but what only a manifest's content shows.

        Of a run that is being recorded, what it has grown by need not be on the remote yet.

        Raises:
            RemoteError, OSError: see mltrack_sync.errors.
        """
        listed = self._listed()
        number = max(map(manifest_number, listed), default=0)
        if not number:
            self._findings.differs("complete run", "is here", NOTHING)
            return
        local = find_whole_run(self._run.folder)
        digests: dict[str, str] = {}
        waiting = False
        for state in local.sizes().values():
            for part in parts_of(state, listed):
                if part.name not in listed and local.live:
                    waiting = True
                elif part.name not in listed:
                    self._differs(part.name, _bytes(part.end - part.start), NOTHING)
                elif quick and self._client.lists_sizes:
                    self._part(part.name, _bytes(part.end - part.start), _bytes(listed[part.name]))
                elif quick:
                    self._part(part.name, "listed", "listed")
                else:
                    digests[part.name] = self._compare_part(part)
        if not (quick or waiting):
            manifest = manifest_of(self._run.run_id, local, digests)
            name = f"manifest.{number}.json"
            self._compare_content(name, len(manifest), hashlib.sha256(manifest).hexdigest())

    def _listed(self) -> dict[str, int]:
        """The sizes of the files of the complete run on the remote, by their names below its folder."""
        found: dict[str, int] = {}
        for name in SUBFOLDERS:
            folder = f"{self._folder}/{name}".rstrip("/")
            sizes = self._client.list_artifacts(self._remote.run_id, folder)
            found |= {path.removeprefix(f"{self._folder}/"): size for path, size in sizes.items() if size >= 0}
        return found

    def _compare_part(self, part: Part) -> str:
        """One part, read back; its SHA-256 here."""
        sha256 = _digest(self._run.folder.path / part.path, part.start, part.end - part.start)
        self._compare_content(part.name, part.end - part.start, sha256)
        return sha256

    def _compare_content(self, name: str, size: int, sha256: str) -> None:
        artifact = Artifact(f"{self._folder}/{name}", size, sha256, 0)
        try:
            found, digest = artifact_digest(self._client, self._remote.artifact_uri, artifact)
        except RemoteRefusedError as error:
            self._differs(name, _bytes(size), NOTHING if error.status == 404 else error.words)
            return
        self._findings.counts["artifact_bytes"] += found
        if found != size:
            self._differs(name, _bytes(size), _bytes(found))
        else:
            self._part(name, f"SHA-256 {sha256}", f"SHA-256 {digest}")

    def _part(self, name: str, local: str, remote: str) -> None:
        if local == remote:
            self._findings.counts["artifacts"] += 1
        else:
            self._differs(name, local, remote)

    def _differs(self, name: str, local: str, remote: str) -> None:
        path = f"{self._folder}/{name}"
        self._findings.differs(f"artifact {path!r}", local, remote, kind="artifact", key=path)


def _digest(path: Path, start: int, size: int) -> str:
    """The SHA-256 of a part of a file here."""
    digest, left = hashlib.sha256(), size
    with reading(path) as file:
        file.seek(start)
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _bytes(size: int) -> str:
    return f"{size:,} bytes"

"""A run whose complete files are on the server, next to a sampled history (see plan/whole_run.py): it is rebuilt.

Its files are copied into the store as from another store, so it is the same run with the same positions, and what the
store has already is not downloaded. The points on the server are a choice of these and are not read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.disk.layout import is_run_id
from mltrack.environment import RUN_ID_TAG
from mltrack.errors import NotFoundError
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.shapes import Fields, integer, mapping, text
from mltrack_sync.mlflow.files.download import read_artifact
from mltrack_sync.mlflow.plan.whole_run import FOLDER, manifest_number
from mltrack_sync.stores.transfer import (
    PIECE_BYTES_MAX,
    FileKind,
    FileState,
    Piece,
    TransferError,
    UnitSnapshot,
    entries_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mltrack_sync.mlflow.api.client import RemoteRun
    from mltrack_sync.mlflow.pull.session import PullSession
    from mltrack_sync.stores.transfer import Need

__all__ = ["WholeRunFiles", "bring_whole_run", "find_whole_run"]

MANIFEST_BYTES_MAX = 64 << 20
PARTS_MAX = 1_000_000

_FOLDER = re.compile(rf"{FOLDER}(?:-([0-9]{{1,6}}))?")


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    start: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WholeRunFiles:
    """The files of a complete run on a server: how they look, and of which parts each is made."""

    folder: str
    snapshot: UnitSnapshot
    parts: Mapping[str, tuple[_Part, ...]]

    @property
    def writers(self) -> set[str]:
        """The writers whose files these are."""
        return {state.path.rpartition("/")[2].partition(".")[0] for state in self.snapshot.files}


def find_whole_run(session: PullSession, remote: RemoteRun, run_id: str) -> WholeRunFiles | None:
    """The complete files of a run that mltrack pushed; None where there are none.

    Raises:
        RemoteError: see mltrack_sync.errors.
        TransferError: the manifest is not one.
    """
    if not is_run_id(remote.tags.get(RUN_ID_TAG, "")):
        return None
    tops = session.client.list_artifacts(remote.run_id, "")
    folders = {int(match[1] or 0): name for name in tops if tops[name] < 0 and (match := _FOLDER.fullmatch(name))}
    for _, folder in sorted(folders.items(), reverse=True):
        names = (path.removeprefix(f"{folder}/") for path in session.client.list_artifacts(remote.run_id, folder))
        last = max(map(manifest_number, names), default=0)
        if last:
            data = _read_manifest(session, remote, f"{folder}/manifest.{last}.json")
            found = _parse(data, folder, run_id, session)
            if found is not None:
                return found
    return None


def bring_whole_run(session: PullSession, remote: RemoteRun, found: WholeRunFiles) -> bool:
    """Copy what the store lacks of the run's files; whether anything came. Artifacts are listed as absent.

    Raises:
        RemoteError: see mltrack_sync.errors.
        TransferError: the store has another run of that name, or a file is not what the manifest says.
        StoreError, OSError: it can't be stored.
    """
    needs = session.target.needs(found.snapshot)
    if not needs:
        return False
    run_id = found.snapshot.unit.partition("/")[2]
    before = _points_of(session, run_id)
    session.options.progress.files(
        total=sum(state.size - need.start for state, need in entries_of(found.snapshot, needs))
    )
    with tempfile.TemporaryDirectory(prefix="mltrack-pull-") as folder:
        session.target.apply(found.snapshot, _Pieces(session, remote, found, Path(folder)).all(needs))
    session.count(runs=1, created=int(before is None), points=(_points_of(session, run_id) or 0) - (before or 0))
    return True


def _points_of(session: PullSession, run_id: str) -> int | None:
    """How many points the store has of a run; None where it does not have the run."""
    try:
        return session.store.run(run_id).head().points
    except NotFoundError:
        return None


@dataclass(slots=True)
class _Pieces:
    """Downloads the parts that are needed, each once, checked by its SHA-256."""

    session: PullSession
    remote: RemoteRun
    found: WholeRunFiles
    folder: Path
    _have: dict[str, Path] = field(default_factory=dict)

    def all(self, needs: Iterable[Need]) -> Iterator[Piece]:
        for state, need in entries_of(self.found.snapshot, needs):
            if state.size == 0:
                yield Piece(state.path, state.kind, 0, b"", last=True, sha256=state.sha256)
            at = need.start
            for part in self.found.parts[state.path]:
                while at < state.size and part.start <= at < part.start + part.size:
                    end = min(state.size, part.start + part.size, at + PIECE_BYTES_MAX)
                    data = self._range(part, at - part.start, end - at)
                    last = end == state.size
                    yield Piece(state.path, state.kind, at, data, last=last, sha256=state.sha256 if last else "")
                    at = end
            if at < state.size:
                raise TransferError(f"the manifest of run {self.remote.run_id} has no byte {at:,} of {state.path}")

    def _range(self, part: _Part, start: int, size: int) -> bytes:
        self.session.check()
        if part.name not in self._have:
            for path in self._have.values():
                path.unlink()
            self._have = {part.name: self._download(part)}
        with self._have[part.name].open("rb") as file:
            file.seek(start)
            return file.read(size)

    def _download(self, part: _Part) -> Path:
        path = self.folder / "part"
        digest, name = hashlib.sha256(), f"{self.found.folder}/{part.name}"
        with path.open("wb") as out:

            def begin() -> Callable[[bytes], None]:
                nonlocal digest
                out.seek(0)
                out.truncate()
                digest = hashlib.sha256()
                return take

            def take(piece: bytes) -> None:
                digest.update(piece)
                out.write(piece)
                self.session.options.progress.files(sent=len(piece))

            _read(self.session, self.remote, name, part.size, begin)
        if digest.hexdigest() != part.sha256:
            raise TransferError(f"{name} of run {self.remote.run_id} is not what its manifest says: it is damaged")
        return path


def _read(
    session: PullSession, remote: RemoteRun, name: str, bytes_max: int, begin: Callable[[], Callable[[bytes], object]]
) -> None:
    """Hand on a file of the run, of which no more than ``bytes_max`` bytes may come."""

    def begin_bounded() -> Callable[[bytes], None]:
        take, left = begin(), bytes_max

        def bounded(piece: bytes) -> None:
            nonlocal left
            session.check()
            left -= len(piece)
            if left < 0:
                raise TransferError(f"{name} of run {remote.run_id} has more than {bytes_max:,} bytes")
            take(piece)

        return bounded

    try:
        read_artifact(session.client, remote.artifact_uri, name, begin_bounded)
    except RemoteRefusedError as error:
        raise TransferError(f"{name} of run {remote.run_id} can't be had: {error.words}") from error


def _read_manifest(session: PullSession, remote: RemoteRun, name: str) -> bytes:
    pieces: list[bytes] = []

    def begin() -> Callable[[bytes], None]:
        pieces.clear()
        return pieces.append

    _read(session, remote, name, MANIFEST_BYTES_MAX, begin)
    return b"".join(pieces)


def _parse(data: bytes, folder: str, run_id: str, session: PullSession) -> WholeRunFiles | None:
    """The manifest; None where it is another program's, or another run's."""
    with contextlib.suppress(ValueError, RecursionError):
        fields = json.loads(data)
        if isinstance(fields, dict) and fields.get("format") == 1 and fields.get("run") == run_id:
            try:
                return _checked(fields, data, folder, run_id, session)
            except (KeyError, TypeError, ValueError) as error:
                raise TransferError(f"the manifest of run {run_id} is damaged: {error}") from error
    return None


def _checked(fields: Fields, data: bytes, folder: str, run_id: str, session: PullSession) -> WholeRunFiles:
    parts: dict[str, tuple[_Part, ...]] = {}
    for path, listed in mapping(fields["parts"]).items():
        parts[path] = tuple(
            _Part(text(each["name"]), integer(each["start"]), integer(each["size"]), text(each["sha256"]))
            for each in listed
        )
    if sum(map(len, parts.values())) > PARTS_MAX:
        raise ValueError(f"it has more than {PARTS_MAX:,} parts")
    states = tuple(_state(each, parts) for each in fields["files"])
    unit, token = f"runs/{run_id}", hashlib.sha256(data).hexdigest()
    origin = hashlib.sha256(f"server\0{session.origin.space}".encode()).hexdigest()[:32]
    snapshot = UnitSnapshot(
        unit,
        token,
        states,
        live=tuple(map(text, fields["live"])),
        taken_at=session.options.clock(),
        origin=(origin, session.origin.space),
    )
    return WholeRunFiles(folder, snapshot, parts)


def _state(each: Any, parts: Mapping[str, tuple[_Part, ...]]) -> FileState:
    path, kind, size = text(each["path"]), FileKind(text(each["kind"])), integer(each["size"])
    made_of = parts[path]
    sha256 = made_of[0].sha256 if kind is FileKind.WHOLE and len(made_of) == 1 else ""
    return FileState(path, kind, size, sha256=sha256, mark=text(each["mark"]), first_seq=integer(each["first_seq"]))

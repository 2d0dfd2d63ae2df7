"""Stores in memory to copy from and into, and a far side in this process that serves one over two pipes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, cast

from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.selection import Selection
from mltrack_sync.stores.complete_runs import read_each
from mltrack_sync.stores.hello import Opening
from mltrack_sync.stores.serving import Ends, serve
from mltrack_sync.stores.session import Session
from mltrack_sync.stores.transfer import (
    PIECE_BYTES_MAX,
    Applied,
    CompleteRun,
    FileKind,
    FileState,
    Need,
    Piece,
    StoreInfo,
    TransferError,
    UnitSnapshot,
    UnitToken,
    Update,
)

Files = dict[str, bytes]


class MemoryStore:
    """Units of WHOLE files, as a source and as a target."""

    def __init__(self, store_id: str, units: dict[str, Files] | None = None) -> None:
        self.store_id = store_id
        self.contents: dict[str, Files] = units or {}
        self.held: dict[str, str] = {}
        self.lock = threading.Lock()
        self.fail: MltrackError | OSError | None = None

    def info(self) -> StoreInfo:
        return StoreInfo(self.store_id, 1, "elsewhere", "1.0", free_bytes=5)

    # --- a source ---

    def units(self, selection: Selection) -> Iterable[UnitToken]:
        if selection.runs == ("none",):
            raise NotFoundError("no run 'none'", hint="see: mltrack ls")
        return [UnitToken(unit, self.token(unit)) for unit in self.contents]

    def token(self, unit: str) -> str:
        return hashlib.sha256(repr(sorted(self.contents[unit].items())).encode()).hexdigest()

    def snapshot(self, unit: str, *, artifact_bytes_max: int | None = None) -> UnitSnapshot:
        if unit not in self.contents:
            raise NotFoundError(f"no unit {unit!r}", hint="it was deleted")
        files = tuple(
            FileState(path, FileKind.WHOLE, len(data), hashlib.sha256(data).hexdigest())
            for path, data in self.contents[unit].items()
            if artifact_bytes_max is None or len(data) <= artifact_bytes_max
        )
        return UnitSnapshot(unit, self.token(unit), files, ("w",), 7, (self.store_id, "host"))

    def pieces(self, snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[Piece]:
        for need in needs:
            data = self.contents[snapshot.unit][need.path]
            sha256 = hashlib.sha256(data).hexdigest()
            for at in range(need.start, max(len(data), need.start + 1), PIECE_BYTES_MAX):
                if self.fail is not None:
                    raise self.fail
                piece = data[at : at + PIECE_BYTES_MAX]
                last = at + len(piece) >= len(data)
                yield Piece(need.path, FileKind.WHOLE, at, piece, last, sha256 if last else "")

    # --- a target ---

    def tokens(self, origin: str) -> dict[str, str]:
        return dict(self.held)

    def needs(self, snapshot: UnitSnapshot) -> list[Need]:
        files = self.contents.get(snapshot.unit, {})
        found = []
        for state in snapshot.files:
            data = files.get(state.path, b"")
            if len(data) > state.size:
                raise TransferError(f"{snapshot.unit}: {state.path} holds something else")
            if state.path not in files or len(data) < state.size:
                found.append(Need(state.path, len(data)))
        return found

    def discard(self, snapshot: UnitSnapshot, paths: Sequence[str]) -> None:
        for path in paths:
            del self.contents[snapshot.unit][path]
        self.held.pop(snapshot.unit, None)

    def apply(self, snapshot: UnitSnapshot, pieces: Iterable[Piece]) -> Applied:
        count = 0
        for piece in pieces:
            if self.fail is not None:
                raise self.fail
            with self.lock:
                files = self.contents.setdefault(snapshot.unit, {})
                before = files.get(piece.path, b"")
                assert len(before) == piece.start
                files[piece.path] = before + piece.data
            count += len(piece.data)
            if piece.last and hashlib.sha256(files[piece.path]).hexdigest() != piece.sha256:
                raise TransferError(f"{snapshot.unit}: {piece.path} is not what it should be")
        self.held[snapshot.unit] = snapshot.token
        return Applied(snapshot.unit, snapshot.token, count, len(snapshot.files), {"w": 3}, {"w": 4}, ("noted",))

    # --- many at a time ---

    def complete_runs(
        self, units: Sequence[str], *, artifact_bytes_max: int | None = None
    ) -> Iterator[CompleteRun | None]:
        return read_each(self, units, artifact_bytes_max=artifact_bytes_max)

    def lacking_runs(self, units: Sequence[str]) -> set[str]:
        return {unit for unit in units if unit.startswith("runs/") and unit not in self.contents}

    def updates_together(self) -> int:
        return 0

    def apply_together(self, updates: Sequence[Update]) -> list[Applied | MltrackError]:
        return [self.apply(update.snapshot, update.pieces) for update in updates]

    def add_runs(self, runs: Iterable[CompleteRun]) -> list[Applied | MltrackError]:
        found: list[Applied | MltrackError] = []
        for run in runs:
            if self.fail is not None:
                raise self.fail
            unit = run.snapshot.unit
            if unit in self.contents:
                found.append(TransferError(f"{unit} is there"))
                continue
            self.contents[unit] = dict(run.contents)
            self.held[unit] = run.snapshot.token
            found.append(Applied(unit, run.snapshot.token, run.size, len(run.contents), {"w": 3}, {"w": 4}))
        return found


class PipeWire:
    """A far side that is served by a thread. ``damage`` may change what comes from it; None cuts the connection."""

    hello_timeout_s: float | None = 60.0

    def __init__(
        self, store: MemoryStore | Ends, noise: bytes = b"", damage: Callable[[bytes], bytes | None] | None = None
    ):
        here, far_out = os.pipe()
        far_in, self.write_fd = os.pipe()
        self._lock = threading.Lock()
        self._open = True
        self._far = threading.Thread(target=self._serve, args=(store, far_in, far_out, noise), daemon=True)
        self._far.start()
        self.reader = cast("BinaryIO", os.fdopen(here, "rb"))
        if damage is not None:
            self.reader = cast("BinaryIO", DamagedReader(self.reader, damage))

    def _serve(self, store: MemoryStore | Ends, far_in: int, far_out: int, noise: bytes) -> None:
        def open_ends(opening: Opening) -> Ends:
            return store if isinstance(store, Ends) else Ends(store, store, opening.write)

        with contextlib.suppress(OSError):
            os.write(far_out, noise)
        with os.fdopen(far_in, "rb") as reader:
            serve(cast("BinaryIO", reader), far_out, open_ends)
        os.close(far_out)

    def greeted(self) -> None:
        pass

    def explain(self, noise: str) -> MltrackError:
        return RemoteUnavailableError(f"nobody there: {noise}", in_doubt=False)

    def close(self) -> None:
        pass

    def close_write(self) -> None:
        with self._lock:
            if self._open:
                self._open = False
                os.close(self.write_fd)


class DamagedReader:
    """Reads from another, and lets what was read be changed."""

    def __init__(self, inner: BinaryIO, damage: Callable[[bytes], bytes | None]) -> None:
        self._inner = inner
        self._damage = damage

    def read(self, count: int) -> bytes:
        return self._damage(self._inner.read(count)) or b""

    def close(self) -> None:
        self._inner.close()


@contextlib.contextmanager
def far(
    store: MemoryStore | Ends,
    *,
    write: bool = False,
    noise: bytes = b"",
    damage: Callable[[bytes], bytes | None] | None = None,
) -> Iterator[Session]:
    """A session with a store that is served by a thread of this process."""
    session = Session(lambda: PipeWire(store, noise, damage), Opening(write), "elsewhere", sleep=lambda seconds: None)
    try:
        yield session
    finally:
        session.close()

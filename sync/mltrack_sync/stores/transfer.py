"""What moves between two stores, whatever lies between them: a folder, ssh, one file, or a server that keeps the files.

A store is copied **unit** by unit. A source says how a unit looks (its *snapshot*), a target says what it lacks of that
(its *needs*), the source yields exactly these bytes as *pieces* in the order in which they may be written, and the
target applies them. The order is the format's own (docs/format.md, "What is true at every moment"), so the target is a
valid store after every piece, and what a broken copy left behind is continued at its byte.

Units, by their names:

- ``runs/<run_id>``, ``models/<model_id>``, ``traces/<experiment_id>``, ``sources``, ``artifacts/<experiment_id>``:
  files by paths below the unit.
- ``workspace``: experiments and registered models. Both sides append to the same files, so these are merged fact by
  fact (``FACTS``); so are the facts of ``models/<model_id>``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mltrack.errors import MltrackError
from mltrack.text.printable import printable
from mltrack_sync.errors import RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mltrack_sync.selection import Selection

__all__ = [
    "PIECE_BYTES_MAX",
    "Applied",
    "CompleteRun",
    "FileKind",
    "FileState",
    "InterruptedCopyError",
    "Need",
    "Piece",
    "Source",
    "SourceChangedError",
    "StoreInfo",
    "Target",
    "TransferError",
    "UnitSnapshot",
    "UnitToken",
    "Update",
    "entries_of",
    "is_held",
    "is_thin",
    "thin_token",
]

PIECE_BYTES_MAX = 1 << 20
"""The most bytes of one piece."""


class TransferError(MltrackError):
    """The other side sent what it must not, or a unit can't be copied as it is; the message names the unit."""


class InterruptedCopyError(RemoteUnavailableError):
    """The connection was cut while a unit was being copied: what arrived is valid, and its needs have to be asked for
    again."""


class SourceChangedError(TransferError):
    """A file was replaced, or sealed, since the snapshot was taken: take another one."""

    def __init__(self, message: str, *, path: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class FileKind(enum.StrEnum):
    """How a file changes, and therefore how it is copied."""

    LOG = "log"
    """Lines of one writer, appended only; copied from the byte where the target's copy ends, by whole lines."""
    POINTS = "points"
    """A header and records of one writer, appended only; copied by whole records up to the last logged one."""
    WHOLE = "whole"
    """Never changed, or replaced as a whole (segments, artifacts, source packs): copied under a temporary name, checked
    by its SHA-256, then published."""
    FACTS = "facts"
    """A log that several processes of several stores append to: merged line by line."""


@dataclass(frozen=True, slots=True)
class FileState:
    """One file of a unit as it was when the snapshot was taken.

    Attributes:
        path: Below the unit, with "/"; checked by whoever gets it from outside.
        kind: How it is copied.
        size: Bytes that count: up to the last whole line or logged record; of WHOLE all.
        sha256: Of WHOLE where the store's facts name it (artifacts, source packs); "" where it is found by reading.
        mark: Of LOG and POINTS the CRC-32, as 8 hex digits, of the last 4,096 bytes before ``size`` (fewer where there
            are fewer): a target whose file is as long and has another mark holds something else.
        first_seq: Of POINTS the number of the first record, so that a target that sealed them knows that it has them.
        at: Of an artifact when the event that names it was written, in ns: a later one of that name replaces it.
    """

    path: str
    kind: FileKind
    size: int
    sha256: str = ""
    mark: str = ""
    first_seq: int = 0
    at: int = 0


@dataclass(frozen=True, slots=True)
class UnitSnapshot:
    """A unit at one moment: everything that its facts name is among its files.

    Attributes:
        unit: Its name.
        token: Changes whenever anything of the unit may have changed.
        files: In the order in which they are to be written. A log may be in it several times, each time with a greater
            size: a part of it must be written before other files, and a part after them.
        live: Of a run, the writers that a process records into now: their copies show as running elsewhere.
        taken_at: ns since the epoch, by the clock of the source's machine.
        origin: The source's store id and its machine's name, for what is shown of a copy.
    """

    unit: str
    token: str
    files: tuple[FileState, ...]
    live: tuple[str, ...] = ()
    taken_at: int = 0
    origin: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class UnitToken:
    """A unit that exists, and its token."""

    unit: str
    token: str


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of a file that a target lacks: from ``start`` to the size in the snapshot.

    Needs are in the snapshot's order. Where a file is several times in it, the first such entry after that of the need
    before, and with a size greater than ``start`` (or an empty file), is meant.
    """

    path: str
    start: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file of a unit. ``last`` marks the file's last piece; ``sha256`` then says what a WHOLE file holds."""

    path: str
    kind: FileKind
    start: int
    data: bytes
    last: bool = False
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of applying one unit.

    ``token`` is the snapshot's where everything in it is in the target now, else "". ``events`` and ``points`` are by
    writer the number after the last one that was copied. ``notes`` are said to the user: conflicts and how they were
    resolved, files that were skipped or differ.
    """

    unit: str
    token: str
    bytes: int = 0
    files: int = 0
    events: dict[str, int] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """Which store, of which format, where, and what program speaks for it."""

    store_id: str
    format: int
    host: str
    version: str
    writable: bool = True
    free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CompleteRun:
    """A run's snapshot, and what is in each of its files, by path.

    ``read_here`` says that this process has just read it from a store's folder, under names that the format gives: it
    is not checked again. What comes from elsewhere has it False.
    """

    snapshot: UnitSnapshot
    contents: Mapping[str, bytes]
    read_here: bool = False

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(map(len, self.contents.values()))


@dataclass(frozen=True, slots=True)
class Update:
    """What a target lacks of a run that it has: all the pieces, of events only, and few bytes."""

    snapshot: UnitSnapshot
    pieces: Sequence[Piece]


def entries_of(snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[tuple[FileState, Need]]:
    """Each need with the file of the snapshot that it means.

    Raises:
        TransferError: it means none.
    """
    files = iter(snapshot.files)
    for need in needs:
        for state in files:
            if state.path == need.path and need.start >= 0 and (need.start < state.size or state.size == 0):
                yield state, need
                break
        else:
            raise TransferError(f"{snapshot.unit} has no {printable(need.path)!r} from byte {need.start:,} on")


_THIN = "<"


def thin_token(token: str, artifact_bytes_max: int) -> str:
    """The token of a snapshot that leaves out larger artifacts than that."""
    return f"{token}{_THIN}{artifact_bytes_max}"


def whole_token(token: str) -> str:
    """The token of the unit whose snapshot has this one, whatever the snapshot leaves out."""
    return token.partition(_THIN)[0]


def is_thin(token: str) -> bool:
    """Whether the token is one of a snapshot that leaves out larger artifacts."""
    return _THIN in token


def is_held(held: str, token: str, artifact_bytes_max: int | None) -> bool:
    """Whether a copy with the token ``held`` has all that is to be copied of a unit that has ``token`` now."""
    whole, _, bound = held.partition(_THIN)
    if whole != token:
        return False
    return not bound or (artifact_bytes_max is not None and bound.isdecimal() and int(bound) >= artifact_bytes_max)


class Source(Protocol):
    """A store that is copied from."""

    def info(self) -> StoreInfo:
        """Which store it is."""

    def units(self, selection: Selection) -> Iterable[UnitToken]:
        """The units that a selection takes with it, runs last; tokens are cheap and not taken from memory.

        Raises:
            NotFoundError, FilterError: the selection is not valid.
        """

    def snapshot(self, unit: str, *, artifact_bytes_max: int | None = None) -> UnitSnapshot:
        """How a unit looks now. Larger artifacts than ``artifact_bytes_max`` are not among its files (0: none at all).

        Raises:
            NotFoundError: no unit has that name (any more).
        """

    def pieces(self, snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[Piece]:
        """The bytes that are needed, in the snapshot's order.

        Raises:
            SourceChangedError: a file was replaced or sealed since; another snapshot shows how it is now.
            TransferError: a file changed in a way that it must not.
        """

    def complete_runs(
        self, units: Sequence[str], *, artifact_bytes_max: int | None = None
    ) -> Iterator[CompleteRun | None]:
        """Runs with all that is in them, in the order of their names; None where one is not small, or can't be read.

        Args:
            units: Their names.
            artifact_bytes_max: As for ``snapshot``.

        Raises:
            InterruptedCopyError: the connection was cut.
        """


class Target(Protocol):
    """A store that is copied into."""

    def info(self) -> StoreInfo:
        """Which store it is."""

    def tokens(self, origin: str) -> dict[str, str]:
        """The tokens of snapshots that it holds whole, by unit, of what came from the store with the id ``origin``."""

    def needs(self, snapshot: UnitSnapshot) -> list[Need]:
        """What it lacks of a unit, in the snapshot's order.

        Raises:
            TransferError: it holds something else under the same names.
        """

    def apply(self, snapshot: UnitSnapshot, pieces: Iterable[Piece]) -> Applied:
        """Write the pieces; it is a valid store after each, and everything is on the disk when this returns.

        Raises:
            TransferError: a piece is not one of the snapshot, or a file's content is not what its SHA-256 says.
            StoreError, OSError: it can't be written.
        """

    def discard(self, snapshot: UnitSnapshot, paths: Sequence[str]) -> None:
        """Remove files of the snapshot whose content is another one here, so that they are lacking.

        Raises:
            TransferError: one is being written, or has more here than in the snapshot; nothing was removed.
            RemoteUnavailableError: the other side's mltrack is too old for this.
            StoreError, OSError: it can't be written.
        """

    def lacking_runs(self, units: Sequence[str]) -> set[str]:
        """Which of these runs it has nothing of, and takes by ``add_runs``."""

    def add_runs(self, runs: Iterable[CompleteRun]) -> list[Applied | MltrackError]:
        """Take runs that it has nothing of: each appears whole. What came of each, in their order.

        A run that was refused, or that has come to be meanwhile, is to be copied by itself. Everything that was taken
        is on the disk when this returns; where it raises, some of the runs may be there.

        Raises:
            InterruptedCopyError: the connection was cut.
            StoreError, OSError: it can't be written.
        """

    def updates_together(self) -> int:
        """How many small updates of runs it takes together; 0 where each is to be copied by itself."""

    def apply_together(self, updates: Sequence[Update]) -> list[Applied | MltrackError]:
        """Apply small updates of runs, each of another one. What came of each, in their order.

        One that was refused is to be copied by itself. Everything that was applied is on the disk when this returns;
        where it raises, some may be, and the others are continued by a later copy.

        Raises:
            StoreError, OSError: it can't be written.
        """

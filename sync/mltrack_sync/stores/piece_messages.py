"""The messages of pieces: each names a file by its place in a snapshot, and has the next bytes of that file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack_sync.stores.fields import Fields, bad
from mltrack_sync.stores.messages import HEX64, SIZE_MAX
from mltrack_sync.stores.transfer import Piece, TransferError, UnitSnapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack_sync.stores.frames import Frame

__all__ = ["PieceDecoder", "PieceEncoder"]


class PieceEncoder:
    """Encodes the pieces of one unit: each names its file by its place in the snapshot."""

    def __init__(self, snapshot: UnitSnapshot) -> None:
        self._snapshot = snapshot
        self._place = 0

    def encode(self, piece: Piece) -> tuple[dict[str, Any], bytes]:
        """A piece as a message.

        Raises:
            TransferError: it is not one of the snapshot, in its order.
        """
        files, end = self._snapshot.files, piece.start + len(piece.data)
        while self._place < len(files):
            state = files[self._place]
            if state.path == piece.path and piece.start <= state.size and end <= state.size:
                break
            self._place += 1
        else:
            raise TransferError(f"{self._snapshot.unit}: a piece of {piece.path!a} is not one of it")
        head: dict[str, Any] = {"file": self._place, "start": piece.start}
        if piece.last:
            head["last"], head["sha256"] = True, piece.sha256
            self._place += 1
        return head, piece.data


class PieceDecoder:
    """Decodes the pieces of one unit, and checks each against the snapshot and against what came before it."""

    def __init__(self, snapshot: UnitSnapshot, starts: Sequence[int] | None = None) -> None:
        """Decode the pieces of a snapshot; where ``starts`` are given, each of its files from that byte on."""
        self._files = snapshot.files
        self._starts = starts
        self._place = -1
        self._next = 0
        self._ended = True

    def decode(self, frame: Frame) -> Piece:
        """The piece in a message.

        Raises:
            TransferError: it is not the next one of this unit.
        """
        fields = Fields(frame.head)
        place = fields.number("file", 0, len(self._files) - 1)
        start = fields.number("start", 0, SIZE_MAX)
        state = self._files[place]
        if place != self._place:
            self._begin(place, start)
        end = start + len(frame.data)
        last = fields.flag("last", default=False)
        sha256 = fields.text("sha256", 64) if last else ""
        fits = start == self._next and end <= state.size and last == (end == state.size)
        if not fits or self._ended or not HEX64.fullmatch(sha256):
            raise bad(f"a piece of {state.path!r:.80}")
        self._next, self._ended = end, last
        return Piece(state.path, state.kind, start, frame.data, last, sha256)

    def _begin(self, place: int, start: int) -> None:
        wanted = start if self._starts is None else self._starts[place]
        if place < self._place or not self._ended or wanted != start:
            raise bad(f"a piece of {self._files[place].path!r:.80}")
        self._place, self._next, self._ended = place, start, False

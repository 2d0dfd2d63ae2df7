"""A store elsewhere as a Source and a Target: each call is a request, and many go at a time over one connection.

What the other side sends is checked when it is decoded, and again by whoever applies it. A cut connection is made again
(see Session): reading goes on at the byte where it stood; a unit that was being written is raised as
ConnectionLostError, because its pieces can't be had twice, and has to be asked for again.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING

from mltrack.errors import MltrackError
from mltrack_sync.stores.failures import decode_failure
from mltrack_sync.stores.frames import ConnectionLostError, FrameKind
from mltrack_sync.stores.messages import (
    UNITS_AT_ONCE_MAX,
    decode_applied,
    decode_names,
    decode_needs,
    decode_snapshot,
    encode_needs,
    encode_paths,
    encode_selection,
    encode_snapshot,
    only_needed,
)
from mltrack_sync.stores.piece_messages import PieceDecoder, PieceEncoder
from mltrack_sync.stores.requests import (
    ask_info,
    ask_tokens,
    asked_ahead,
    asking,
    closing,
    last_message,
    next_message,
    request_groups,
)
from mltrack_sync.stores.run_messages import decode_outcomes, decode_runs, encode_runs
from mltrack_sync.stores.transfer import Need, TransferError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from mltrack_sync.selection import Selection
    from mltrack_sync.stores.channel import Channel
    from mltrack_sync.stores.frames import Frame
    from mltrack_sync.stores.session import Session
    from mltrack_sync.stores.streams import Stream
    from mltrack_sync.stores.transfer import Applied, CompleteRun, Piece, StoreInfo, UnitSnapshot, UnitToken, Update

__all__ = ["RemoteSource", "RemoteTarget"]


class RemoteSource:
    """A store elsewhere that is copied from."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def info(self) -> StoreInfo:
        """Which store it is."""
        return self._session.call(lambda channel: ask_info(channel, self._session.where))

    def units(self, selection: Selection) -> Iterator[UnitToken]:
        """The units that a selection takes with it, runs last."""
        request = {"op": "units", **encode_selection(selection)}
        yield from self._session.call(lambda channel: ask_tokens(channel, request, self._session.where))

    def snapshot(self, unit: str, *, artifact_bytes_max: int | None = None) -> UnitSnapshot:
        """How a unit looks now.

        Raises:
            NotFoundError: no unit has that name (any more).
        """
        found = self._snapshots([unit], artifact_bytes_max)[0]
        if isinstance(found, MltrackError):
            raise found
        return found

    def snapshots(
        self, units: Iterable[str], *, artifact_bytes_max: int | None = None
    ) -> Iterator[UnitSnapshot | MltrackError]:
        """How many units look, in their order; several requests go ahead of what is taken."""
        return asked_ahead(lambda group: self._snapshots(group, artifact_bytes_max), request_groups(units))

    def _snapshots(self, units: Sequence[str], artifact_bytes_max: int | None) -> list[UnitSnapshot | MltrackError]:
        request: dict[str, Any] = {"op": "snapshots", "units": units}
        if artifact_bytes_max is not None:
            request["artifact_bytes_max"] = artifact_bytes_max
        where = self._session.where

        def ask(channel: Channel) -> list[UnitSnapshot | MltrackError]:
            found: list[UnitSnapshot | MltrackError] = []
            with asking(channel, request) as stream:
                stream.end()
                for unit in units:
                    frame = next_message(stream, where)
                    if "error" in frame.head:
                        found.append(decode_failure(frame.head, where))
                        continue
                    snapshot = decode_snapshot(lambda: next_message(stream, where), frame.head)
                    if snapshot.unit != unit:
                        raise TransferError(f"{where} sent {snapshot.unit!r} where {unit!r} was asked for")
                    found.append(snapshot)
                last_message(stream, where)
            return found

        return self._session.call(ask)

    def pieces(self, snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[Piece]:
        """The bytes that are needed, in the snapshot's order; after a cut it goes on where it was.

        Raises:
            TransferError: a file changed in a way that it must not, or something else was sent.
            ConnectionLostError: the connection was cut again and again, and nothing came in between.
        """
        left = deque(needs)
        while left:
            try:
                for piece in self._pieces(only_needed(snapshot, left), left):
                    yield piece
                    if piece.last:
                        left.popleft()
                    else:
                        left[0] = Need(piece.path, piece.start + len(piece.data))
                if left:
                    raise TransferError(f"{self._session.where} sent less of {snapshot.unit} than was asked for")
            except ConnectionLostError:  # something has come, else it would have been tried again below
                continue

    def _pieces(self, snapshot: UnitSnapshot, needs: Sequence[Need]) -> Iterator[Piece]:
        where = self._session.where
        decoder = PieceDecoder(snapshot, [need.start for need in needs])

        def ask(channel: Channel) -> tuple[Stream, Frame]:
            stream = channel.open({"op": "pieces"})
            for message in itertools.chain(encode_snapshot(snapshot), encode_needs(snapshot, needs)):
                stream.send(message)
            stream.end()
            return stream, stream.receive()

        stream, frame = self._session.call(ask)
        with closing(stream):
            while frame.kind is FrameKind.DATA:
                yield decoder.decode(frame)
                frame = stream.receive()
            if frame.kind is FrameKind.ERROR:
                raise decode_failure(frame.head, where)

    def complete_runs(
        self, units: Sequence[str], *, artifact_bytes_max: int | None = None
    ) -> Iterator[CompleteRun | None]:
        """Small runs with all that is in them; they are asked for at once, before the first is taken.

        Raises:
            ConnectionLostError: the connection was cut; ask for them by themselves.
            TransferError: something else was sent.
        """
        if not self._session.moves_many():
            return iter([None] * len(units))
        request: dict[str, Any] = {"op": "runs", "units": units}
        if artifact_bytes_max is not None:
            request["artifact_bytes_max"] = artifact_bytes_max
        runs = self._incoming_runs(self._session.call(lambda channel: channel.open(request)), units)
        next(runs)  # now it ends the stream however it is left
        return runs

    def _incoming_runs(self, stream: Stream, units: Sequence[str]) -> Iterator[CompleteRun | None]:
        where = self._session.where
        with closing(stream):
            stream.end()
            yield None
            wanted = iter(units)
            while (frame := stream.receive()).kind is FrameKind.DATA:
                for run in decode_runs(frame):
                    if next(wanted, None) is None or (run is not None and run.snapshot.unit not in units):
                        raise TransferError(f"{where} sent a run that was not asked for")
                    yield run
            if frame.kind is FrameKind.ERROR:
                raise decode_failure(frame.head, where)
            if next(wanted, None) is not None:
                raise TransferError(f"{where} sent fewer runs than were asked for")


class RemoteTarget:
    """A store elsewhere that is copied into."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sending = threading.Lock()

    def info(self) -> StoreInfo:
        """Which store it is."""
        return self._session.call(lambda channel: ask_info(channel, self._session.where))

    def tokens(self, origin: str) -> dict[str, str]:
        """The tokens of snapshots that it holds whole, by unit, of what came from the store with the id ``origin``."""
        request = {"op": "tokens", "origin": origin}
        found = self._session.call(lambda channel: ask_tokens(channel, request, self._session.where))
        return {one.unit: one.token for one in found}

    def needs(self, snapshot: UnitSnapshot) -> list[Need]:
        """What it lacks of a unit, in the snapshot's order.

        Raises:
            TransferError: it holds something else under the same names.
        """
        where = self._session.where

        def ask(channel: Channel) -> list[Need]:
            with asking(channel, {"op": "needs"}) as stream:
                for message in encode_snapshot(snapshot):
                    stream.send(message)
                stream.end()
                frame = next_message(stream, where)
                if "error" in frame.head:
                    raise decode_failure(frame.head, where)
                found = decode_needs(snapshot, lambda: next_message(stream, where), frame.head)
                last_message(stream, where)
            return found

        return self._session.call(ask)

    def apply(self, snapshot: UnitSnapshot, pieces: Iterable[Piece]) -> Applied:
        """Write the pieces; everything is on the other side's disk when this returns.

        Raises:
            ConnectionLostError: the connection was cut; ask for its needs again.
            TransferError: a piece is not one of the snapshot, or a file's content is not what its SHA-256 says.
            StoreError: it can't be written.
        """
        where = self._session.where
        encoder = PieceEncoder(snapshot)
        with asking(self._session.call(lambda channel: channel), {"op": "apply"}) as stream:
            for message in encode_snapshot(snapshot):
                stream.send(message)
            for piece in pieces:
                if stream.peek() is not None:  # it has failed on the other side
                    break
                stream.send(*encoder.encode(piece))
            stream.end()
            applied = decode_applied(last_message(stream, where).head)
        if applied.unit != snapshot.unit or applied.token not in ("", snapshot.token):
            raise TransferError(f"{where} answered about {applied.unit!r} instead of {snapshot.unit!r}")
        return applied

    def discard(self, snapshot: UnitSnapshot, paths: Sequence[str]) -> None:
        """Remove files whose content is another one; see ``Target.discard``."""
        self._session.require_discard()
        where = self._session.where

        def ask(channel: Channel) -> None:
            with asking(channel, {"op": "discard"}) as stream:
                for message in encode_snapshot(snapshot):
                    stream.send(message)
                for group in encode_paths(paths):
                    stream.send(group)
                stream.end()
                last_message(stream, where)

        self._session.call(ask)

    def lacking_runs(self, units: Sequence[str]) -> set[str]:
        """Which of these runs it has nothing of, and takes by ``add_runs``."""
        if not self._session.moves_many():
            return set()
        where = self._session.where
        groups = [units[at : at + UNITS_AT_ONCE_MAX] for at in range(0, len(units), UNITS_AT_ONCE_MAX)]

        def ask(channel: Channel) -> set[str]:
            found: set[str] = set()
            with asking(channel, {"op": "lacking"}) as stream:
                for group in groups:
                    stream.send({"units": group})
                stream.end()
                for _ in groups:
                    found.update(decode_names(next_message(stream, where).head))
                last_message(stream, where)
            return found

        return self._session.call(ask)

    def add_runs(self, runs: Iterable[CompleteRun]) -> list[Applied | MltrackError]:
        """Send runs that it has nothing of; those that were taken are on the other side's disk when this returns.

        Raises:
            ConnectionLostError: the connection was cut; some of them may have been taken.
            StoreError: they can't be written.
        """
        where = self._session.where
        sent: list[tuple[str, str]] = []
        outcomes: list[Applied | MltrackError] = []
        with asking(self._session.call(lambda channel: channel), {"op": "add"}) as stream:
            with self._sending:  # threads that read and send small files at a time only wait for each other
                for head, data in encode_runs(_noted(runs, sent)):
                    if stream.peek() is not None:  # it has failed on the other side
                        break
                    stream.send(head, data)
                stream.end()
            while len(outcomes) < len(sent):
                outcomes += decode_outcomes(next_message(stream, where).head, sent[len(outcomes) :], where)
            last_message(stream, where)
        return outcomes

    def updates_together(self) -> int:
        """None: each update is a request of its own, many of which are on their way at a time."""
        return 0

    def apply_together(self, updates: Sequence[Update]) -> list[Applied | MltrackError]:
        """Apply one after the other; see ``Target.apply_together``."""
        return [self.apply(update.snapshot, update.pieces) for update in updates]


def _noted(runs: Iterable[CompleteRun], sent: list[tuple[str, str]]) -> Iterator[CompleteRun]:
    """The same runs; their names and tokens are added to ``sent``."""
    for run in runs:
        sent.append((run.snapshot.unit, run.snapshot.token))
        yield run

"""The side that has the store: it answers what the other side asks over one connection, and opens nothing else."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.errors import StoreError
from mltrack_sync.stores.channel import Channel
from mltrack_sync.stores.failures import FAILURES, encode_failure
from mltrack_sync.stores.fields import Fields, bad
from mltrack_sync.stores.frames import ConnectionLostError, Frame, FrameKind
from mltrack_sync.stores.hello import (
    DISCARD_PROTOCOL,
    MANY_RUNS_PROTOCOL,
    PROTOCOL_MAX,
    Opening,
    answer,
    greet,
    read_opening,
)
from mltrack_sync.stores.messages import (
    UNITS_AT_ONCE_MAX,
    decode_names,
    decode_needs,
    decode_origin,
    decode_paths,
    decode_selection,
    decode_snapshot,
    encode_applied,
    encode_info,
    encode_needs,
    encode_snapshot,
    encode_tokens,
)
from mltrack_sync.stores.piece_messages import PieceDecoder, PieceEncoder
from mltrack_sync.stores.run_messages import decode_runs, encode_outcomes, encode_runs
from mltrack_sync.stores.streams import Cancelled, Stream
from mltrack_sync.stores.transfer import TransferError, UnitToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

    from mltrack_sync.stores.transfer import CompleteRun, Piece, Source, Target, UnitSnapshot

__all__ = ["Ends", "serve"]

_SINCE = {
    "lacking": MANY_RUNS_PROTOCOL,
    "runs": MANY_RUNS_PROTOCOL,
    "add": MANY_RUNS_PROTOCOL,
    "discard": DISCARD_PROTOCOL,
}
"""Requests that not every version of the protocol has."""

FINISH_S = 30.0
"""So long what is being written may still take after the other side is gone."""


@dataclass(frozen=True, slots=True)
class Ends:
    """A store that was opened: to be copied from and compared; and into, where that is wanted and allowed."""

    source: Source
    target: Target
    write: bool = False


def serve(
    reader: BinaryIO, write_fd: int, open_ends: Callable[[Opening], Ends], protocol_max: int = PROTOCOL_MAX
) -> bool:
    """Answer one client until it leaves; whether it left in good order.

    Args:
        reader: What the client sends.
        write_fd: Where answers go.
        open_ends: Opens the store as the client wishes; what it raises is sent to the client.
        protocol_max: The highest version of the protocol that is spoken; what came later is not answered.
    """
    try:
        greet(write_fd, protocol_max)
        opening = read_opening(reader, protocol_max)
        if opening is None:
            return False
        try:
            ends = open_ends(opening)
            info = ends.target.info()
        except FAILURES as error:
            answer(write_fd, error)
            return False
        answer(write_fd, info)
    except (ConnectionLostError, TransferError, OSError):
        return False
    return _Server(ends, opening.protocol).run(reader, write_fd)


class _Server:
    """Answers requests, each in a thread of its own; the channel bounds how many there are at a time."""

    def __init__(self, ends: Ends, protocol: int) -> None:
        self._ends = ends
        self._protocol = protocol
        self._threads: set[threading.Thread] = set()
        self._operations: dict[str, Callable[[Stream, dict[str, Any]], None]] = {
            "info": self._info,
            "units": self._units,
            "tokens": self._tokens,
            "snapshots": self._snapshots,
            "needs": self._needs,
            "pieces": self._pieces,
            "apply": self._apply,
            "lacking": self._lacking,
            "runs": self._runs,
            "add": self._add,
            "discard": self._discard,
        }

    def run(self, reader: BinaryIO, write_fd: int) -> bool:
        channel = Channel(reader, write_fd, on_request=self._begin)
        channel.start()
        channel.wait()
        deadline = time.monotonic() + FINISH_S
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        return channel.ended_well

    def _begin(self, stream: Stream, frame: Frame) -> None:
        self._threads = {thread for thread in self._threads if thread.is_alive()}
        thread = threading.Thread(target=self._answer, args=(stream, frame), name="mltrack-serve", daemon=True)
        thread.start()
        self._threads.add(thread)  # only now: when the connection is lost, another thread joins them at any moment

    def _answer(self, stream: Stream, frame: Frame) -> None:
        try:
            try:
                self._operation(frame.head)(stream, frame.head)
            except Cancelled:
                stream.end()
            except ConnectionLostError:
                raise
            except FAILURES as error:
                stream.fail(encode_failure(error))
            finally:
                if not stream.send_ended:  # an error of this program, which is printed as any other
                    stream.fail(encode_failure(StoreError("mltrack failed there")))
            stream.finish()
        except (ConnectionLostError, TransferError):
            pass  # the client is gone

    def _operation(self, head: dict[str, Any]) -> Callable[[Stream, dict[str, Any]], None]:
        name = Fields(head).text("op", 40)
        if name not in self._operations or _SINCE.get(name, 0) > self._protocol:
            raise bad(f"a request {name!r}")
        return self._operations[name]

    # --- requests ---

    def _info(self, stream: Stream, head: dict[str, Any]) -> None:
        stream.end(encode_info(self._ends.target.info()))

    def _units(self, stream: Stream, head: dict[str, Any]) -> None:
        for message in encode_tokens(self._ends.source.units(decode_selection(head))):
            stream.send(message)
        stream.end()

    def _tokens(self, stream: Stream, head: dict[str, Any]) -> None:
        held = self._ends.target.tokens(decode_origin(head))
        for message in encode_tokens(UnitToken(unit, token) for unit, token in held.items()):
            stream.send(message)
        stream.end()

    def _snapshots(self, stream: Stream, head: dict[str, Any]) -> None:
        most = Fields(head).number("artifact_bytes_max", 0, 1 << 60) if "artifact_bytes_max" in head else None
        for unit in decode_names(head):
            try:
                snapshot = self._ends.source.snapshot(unit, artifact_bytes_max=most)
            except FAILURES as error:
                stream.send(encode_failure(error))
                continue
            for message in encode_snapshot(snapshot):
                stream.send(message)
        stream.end()

    def _needs(self, stream: Stream, head: dict[str, Any]) -> None:
        while (frame := stream.receive()).kind is FrameKind.DATA:
            snapshot = decode_snapshot(stream.receive_data, frame.head)
            try:
                needs = self._ends.target.needs(snapshot)
            except ConnectionLostError:
                raise
            except FAILURES as error:
                stream.send(encode_failure(error))
                continue
            for message in encode_needs(snapshot, needs):
                stream.send(message)
        stream.end()

    def _pieces(self, stream: Stream, head: dict[str, Any]) -> None:
        snapshot = decode_snapshot(stream.receive_data)
        needs = decode_needs(snapshot, stream.receive_data)
        encoder = PieceEncoder(snapshot)
        for piece in self._ends.source.pieces(snapshot, needs):
            stream.send(*encoder.encode(piece))
        stream.end()

    def _apply(self, stream: Stream, head: dict[str, Any]) -> None:
        if not self._ends.write:
            raise StoreError("the store was opened for reading only")
        snapshot = decode_snapshot(stream.receive_data)
        applied = self._ends.target.apply(snapshot, _incoming(stream, snapshot))
        stream.end(encode_applied(applied))

    def _discard(self, stream: Stream, head: dict[str, Any]) -> None:
        if not self._ends.write:
            raise StoreError("the store was opened for reading only")
        snapshot = decode_snapshot(stream.receive_data)
        paths: list[str] = []
        while (frame := stream.receive()).kind is FrameKind.DATA:
            paths += decode_paths(frame.head)
        if frame.kind is FrameKind.ERROR:
            raise TransferError(f"{snapshot.unit}: the other side could not read on")
        self._ends.target.discard(snapshot, paths)
        stream.end()

    def _lacking(self, stream: Stream, head: dict[str, Any]) -> None:
        while (frame := stream.receive()).kind is FrameKind.DATA:
            lacking = self._ends.target.lacking_runs(decode_names(frame.head))
            stream.send({"units": sorted(lacking)})
        stream.end()

    def _runs(self, stream: Stream, head: dict[str, Any]) -> None:
        most = Fields(head).number("artifact_bytes_max", 0, 1 << 60) if "artifact_bytes_max" in head else None
        runs = self._ends.source.complete_runs(decode_names(head), artifact_bytes_max=most)
        for message, data in encode_runs(runs):
            stream.send(message, data)
        stream.end()

    def _add(self, stream: Stream, head: dict[str, Any]) -> None:
        if not self._ends.write:
            raise StoreError("the store was opened for reading only")
        for message in encode_outcomes(self._ends.target.add_runs(_incoming_runs(stream))):
            stream.send(message)
        stream.end()


def _incoming_runs(stream: Stream) -> Iterator[CompleteRun]:
    count = 0
    while (frame := stream.receive()).kind is FrameKind.DATA:
        for run in decode_runs(frame):
            count += 1
            if run is None or count > UNITS_AT_ONCE_MAX:
                raise bad("runs")
            yield run
    if frame.kind is FrameKind.ERROR:
        raise TransferError("the other side could not read on")


def _incoming(stream: Stream, snapshot: UnitSnapshot) -> Iterator[Piece]:
    pieces = PieceDecoder(snapshot)
    while (frame := stream.receive()).kind is FrameKind.DATA:
        yield pieces.decode(frame)
    if frame.kind is FrameKind.ERROR:
        raise TransferError(f"{snapshot.unit}: the other side could not read on")

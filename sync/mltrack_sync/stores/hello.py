"""The first messages of a connection between two stores: who speaks, in which version, and which store is opened.

The side that has the store speaks first: the magic, which ends whatever a login prints, then the versions of the
protocol that it speaks. The client chooses the highest that both know, and says whether it will write. The answer says
which store it is, or why it can't be opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack.disk.codec import FORMAT_VERSION
from mltrack.errors import MltrackError, RemoteError
from mltrack_sync.stores.failures import decode_failure, encode_failure
from mltrack_sync.stores.fields import Fields
from mltrack_sync.stores.frames import MAGIC, ConnectionLostError, FrameKind, encode_frame, read_frame, write_all
from mltrack_sync.stores.messages import decode_info, encode_info
from mltrack_sync.stores.transfer import StoreInfo, TransferError

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = [
    "DISCARD_PROTOCOL",
    "MANY_RUNS_PROTOCOL",
    "PROTOCOL_MAX",
    "PROTOCOL_MIN",
    "Opening",
    "VersionError",
    "answer",
    "greet",
    "read_opening",
    "request_store",
]

PROTOCOL_MIN = 1
PROTOCOL_MAX = 3
MANY_RUNS_PROTOCOL = 2
"""From this version on, small runs are moved many at a time (run_messages.py)."""

DISCARD_PROTOCOL = 3
"""From this version on, files of another content can be removed, to be copied again."""

NUMBER_MAX = 1 << 16


class VersionError(RemoteError):
    """The two sides have no version in common: one of them has to be upgraded."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client wants: to read or to write, whether the store may be created; and the version that it chose."""

    write: bool
    create: bool = False
    protocol: int = PROTOCOL_MAX


def own_version() -> str:
    """The version of this mltrack."""
    import mltrack

    return mltrack.__version__


# --- the side that has the store -----------------------------------------------------------------------------------


def greet(write_fd: int, protocol_max: int = PROTOCOL_MAX) -> None:
    """Say hello, before anything is read; ``protocol_max`` is the highest version that is spoken.

    Raises:
        OSError: the other side is gone.
    """
    head = {"protocol": [PROTOCOL_MIN, protocol_max], "format": FORMAT_VERSION, "version": own_version()}
    write_all(write_fd, [MAGIC, *encode_frame(FrameKind.HELLO, 0, head)])


def read_opening(reader: BinaryIO, protocol_max: int = PROTOCOL_MAX) -> Opening | None:
    """What the client wants; None where it left because of our version.

    Raises:
        ConnectionLostError, TransferError: it says something else.
    """
    frame = read_frame(reader)
    if frame is None:
        return None
    fields = Fields(frame.head)
    protocol = fields.number("protocol", PROTOCOL_MIN, protocol_max)
    return Opening(fields.flag("write"), fields.flag("create"), protocol)


def answer(write_fd: int, opened: StoreInfo | MltrackError | OSError) -> None:
    """Say which store was opened, or why none was.

    Raises:
        OSError: the other side is gone.
    """
    if isinstance(opened, StoreInfo):
        write_all(write_fd, encode_frame(FrameKind.HELLO, 0, encode_info(opened)))
    else:
        write_all(write_fd, encode_frame(FrameKind.ERROR, 0, encode_failure(opened)))


# --- the client ----------------------------------------------------------------------------------------------------


def request_store(reader: BinaryIO, write_fd: int, opening: Opening, where: str) -> tuple[StoreInfo, int]:
    """Agree on a version and have the store opened, after the magic has come; which store it is, and the version.

    Raises:
        VersionError: one side is too old.
        ConnectionLostError: the other side is gone, or what speaks is something else.
        MltrackError: it can't open the store.
    """
    protocol = _agree(_next(reader), where)
    head = {"protocol": protocol, "version": own_version(), "write": opening.write, "create": opening.create}
    try:
        write_all(write_fd, encode_frame(FrameKind.HELLO, 0, head))
    except OSError as error:
        raise ConnectionLostError("the connection ended") from error
    info = decode_info(_next(reader, where))
    if info.format > FORMAT_VERSION:
        raise VersionError(
            f"{where}: that store has format {info.format}; this mltrack knows formats up to {FORMAT_VERSION}",
            hint="upgrade mltrack here: pip install -U mltrack-local",
        )
    return info, protocol


def _agree(hello: dict[str, Any], where: str) -> int:
    """The version of the protocol that both sides speak."""
    fields = Fields(hello)
    version = fields.text("version", 100)
    bounds = fields.items("protocol", 10)
    if len(bounds) < 2 or not all(type(bound) is int and 0 <= bound <= NUMBER_MAX for bound in bounds):
        raise TransferError(f"{where}: it does not say which protocol it speaks")
    known = fields.number("format", 1, NUMBER_MAX)
    least, most = bounds[0], bounds[1]
    if most < PROTOCOL_MIN or known < FORMAT_VERSION:
        raise VersionError(
            f"{where} has mltrack {version}, which is too old for mltrack {own_version()} here",
            hint="upgrade it there: pip install -U mltrack-local",
        )
    if least > PROTOCOL_MAX:
        raise VersionError(
            f"{where} has mltrack {version}, for which mltrack {own_version()} here is too old",
            hint="upgrade it here: pip install -U mltrack-local",
        )
    return int(min(most, PROTOCOL_MAX))


def _next(reader: BinaryIO, where: str = "") -> dict[str, Any]:
    frame = read_frame(reader)
    if frame is None:
        raise ConnectionLostError("the connection ended before the store was opened")
    if frame.kind is FrameKind.ERROR:
        raise decode_failure(frame.head, where)
    if frame.kind is not FrameKind.HELLO:
        raise TransferError("the other side does not begin with a hello")
    return frame.head

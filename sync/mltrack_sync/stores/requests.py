"""Requests to a store elsewhere: asking one, its answer's messages, and many of them ahead of what is taken."""

from __future__ import annotations

import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from mltrack_sync.stores.failures import decode_failure
from mltrack_sync.stores.frames import ConnectionLostError, FrameKind
from mltrack_sync.stores.messages import decode_info, decode_tokens
from mltrack_sync.stores.transfer import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from mltrack_sync.stores.channel import Channel
    from mltrack_sync.stores.frames import Frame
    from mltrack_sync.stores.streams import Stream
    from mltrack_sync.stores.transfer import StoreInfo, UnitToken

__all__ = [
    "UNITS_AT_ONCE",
    "ask_info",
    "ask_tokens",
    "asked_ahead",
    "asking",
    "closing",
    "last_message",
    "next_message",
    "request_groups",
]

A = TypeVar("A")
B = TypeVar("B")

UNITS_AT_ONCE = 64
"""Units per request where many are asked for."""

REQUESTS_AHEAD = 3


@contextlib.contextmanager
def asking(channel: Channel, request: dict[str, Any]) -> Iterator[Stream]:
    """A request's stream."""
    with closing(channel.open(request)) as stream:
        yield stream


@contextlib.contextmanager
def closing(stream: Stream) -> Iterator[Stream]:
    """A stream that both sides know to have ended, however it is left."""
    try:
        yield stream
    finally:
        with contextlib.suppress(ConnectionLostError, TransferError):
            if not stream.send_ended:
                stream.fail({})
            stream.cancel()


def next_message(stream: Stream, where: str) -> Frame:
    """The next message of an answer that goes on; ``where`` is the other store.

    Raises:
        TransferError: it has ended.
        MltrackError: the other side has failed, and with what.
    """
    return _received(stream, where, FrameKind.DATA, "ended its answer where more was to come")


def last_message(stream: Stream, where: str) -> Frame:
    """The message that ends an answer; ``where`` is the other store.

    Raises:
        TransferError: it goes on.
        MltrackError: the other side has failed, and with what.
    """
    return _received(stream, where, FrameKind.END, "sent more than was asked for")


def _received(stream: Stream, where: str, kind: FrameKind, fault: str) -> Frame:
    """The next message, which must be of a kind; ``fault`` says what the other store did otherwise."""
    frame = stream.receive()
    if frame.kind is FrameKind.ERROR:
        raise decode_failure(frame.head, where)
    if frame.kind is not kind:
        raise TransferError(f"{where} {fault}")
    return frame


def ask_info(channel: Channel, where: str) -> StoreInfo:
    """Which store the other one is.

    Raises:
        TransferError, MltrackError: see last_message.
    """
    with asking(channel, {"op": "info"}) as stream:
        stream.end()
        return decode_info(last_message(stream, where).head)


def ask_tokens(channel: Channel, request: dict[str, Any], where: str) -> list[UnitToken]:
    """The tokens of units that a request asks for.

    Raises:
        MltrackError: the other side has failed, and with what.
    """
    found: list[UnitToken] = []
    with asking(channel, request) as stream:
        stream.end()
        while (frame := stream.receive()).kind is FrameKind.DATA:
            found += decode_tokens(frame.head)
        if frame.kind is FrameKind.ERROR:
            raise decode_failure(frame.head, where)
    return found


def request_groups(items: Iterable[A]) -> Iterator[list[A]]:
    """Items in groups for one request each."""
    group: list[A] = []
    for item in items:
        group.append(item)
        if len(group) == UNITS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def asked_ahead(ask: Callable[[Sequence[A]], list[B]], groups: Iterator[list[A]]) -> Iterator[B]:
    """The answers to items, asked for in groups, a few of them before they are taken."""
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(REQUESTS_AHEAD, "mltrack-ahead") as pool:
        try:
            while True:
                while len(waiting) < REQUESTS_AHEAD and (group := next(groups, None)):
                    waiting.append(pool.submit(ask, group))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

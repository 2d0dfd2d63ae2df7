"""Requests that this process has under way: so that a command can say what it is waiting for."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["UNDER_WAY", "Request", "RequestsUnderWay"]


class Request(NamedTuple):
    """A request without an answer. ``number`` tells it from others; ``since`` is by the clock of RequestsUnderWay."""

    number: int
    what: str
    since: float


class RequestsUnderWay:
    """Which requests wait for an answer, retries and the pauses before them included. Safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds."""
        self.clock = clock
        self._numbers = itertools.count()
        self._requests: dict[int, Request] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """For the body, an answer to ``what`` is waited for; "" for what moves by itself, as a file's bytes do."""
        if not what:
            yield
            return
        request = Request(next(self._numbers), what, self.clock())
        with self._lock:
            self._requests[request.number] = request
        try:
            yield
        finally:
            with self._lock:
                del self._requests[request.number]

    def oldest(self) -> Request | None:
        """The one that waits longest."""
        with self._lock:
            return min(self._requests.values(), key=lambda each: each.since, default=None)


UNDER_WAY = RequestsUnderWay()
"""Those of this process."""

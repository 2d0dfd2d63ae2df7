"""A cap on bytes per second for all connections together: a bucket that fills at that rate; for debt, it sleeps."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mltrack.errors import UsageError
from mltrack_sync.errors import PushStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["RateLimiter", "interruptible", "parse_rate"]

PIECE_BYTES = 16 << 10
BURST_S = 0.25
"""How large a share of a second's bytes may go at once after a pause."""

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)(?:i?[bB])?(?:/s)?")
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


@dataclass(slots=True)
class _Bucket:
    """How many bytes were free to go, and when."""

    free: float
    at: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class RateLimiter:
    """Lets ``bytes_per_s`` through. Safe to use from many threads."""

    def __init__(
        self,
        bytes_per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self._clock = clock
        self._sleep = sleep
        self._bucket = _Bucket(bytes_per_s * BURST_S, clock())

    def until(self, stop: threading.Event) -> RateLimiter:
        """This same limit, shared, for work that ends when ``stop`` is set: its waits then end with PushStopped."""
        shared = RateLimiter(self.bytes_per_s, clock=self._clock, sleep=interruptible(self._sleep, stop))
        shared._bucket = self._bucket
        return shared

    def take(self, count: int) -> None:
        """Return when ``count`` more bytes may go."""
        bucket = self._bucket
        with bucket.lock:
            now = self._clock()
            filled = bucket.free + max(0.0, now - bucket.at) * self.bytes_per_s
            bucket.free = min(filled, self.bytes_per_s * BURST_S) - count
            bucket.at = now
            debt = -bucket.free
        if debt > 0:
            self._sleep(debt / self.bytes_per_s)

    def spread(self, body: bytes | Iterable[bytes]) -> Iterator[bytes]:
        """The same bytes in small pieces, each when it may go."""
        for whole in (body,) if isinstance(body, bytes) else body:
            for at in range(0, len(whole), PIECE_BYTES):
                piece = whole[at : at + PIECE_BYTES]
                self.take(len(piece))
                yield piece


def interruptible(sleep: Callable[[float], None], stop: threading.Event) -> Callable[[float], None]:
    """A sleep that ends as soon as ``stop`` is set, with PushStopped; a sleep other than time's is left as it is."""

    def pause(seconds: float) -> None:
        if sleep is time.sleep:
            stop.wait(seconds)
        else:
            sleep(seconds)
        if stop.is_set():
            raise PushStopped

    return pause


def parse_rate(text: str) -> float:
    """Bytes per second in a text such as ``2M``, ``500k`` or ``1.5MB/s`` (k, M, G are thousands).

    Raises:
        UsageError: it is not a rate, or zero.
    """
    match = _RATE.fullmatch(text.strip())
    rate = float(match[1]) * _UNITS[match[2].lower()] if match is not None else 0.0
    if rate <= 0:
        raise UsageError(f"{text!r} is not a rate", hint="give bytes per second, such as --limit-rate 2M or 500k")
    return rate

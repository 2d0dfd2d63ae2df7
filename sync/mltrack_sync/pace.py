"""A cap on bytes per second for all connections together: a bucket that fills at that rate; debt is slept off."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

from mltrack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Pace", "parse_rate"]

PIECE_BYTES = 16 << 10
BURST_S = 0.25
"""So much of a second's bytes may go at once after a pause."""

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)(?:i?[bB])?(?:/s)?")
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


class Pace:
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
        self._lock = threading.Lock()
        self._free = bytes_per_s * BURST_S
        self._at = clock()

    def take(self, count: int) -> None:
        """Return when ``count`` bytes more may go."""
        with self._lock:
            now = self._clock()
            filled = self._free + max(0.0, now - self._at) * self.bytes_per_s
            self._free = min(filled, self.bytes_per_s * BURST_S) - count
            self._at = now
            debt = -self._free
        if debt > 0:
            self._sleep(debt / self.bytes_per_s)

    def spread(self, body: bytes | Iterable[bytes]) -> Iterator[bytes]:
        """The same bytes in small pieces, each when it may go."""
        for whole in (body,) if isinstance(body, bytes) else body:
            for at in range(0, len(whole), PIECE_BYTES):
                piece = whole[at : at + PIECE_BYTES]
                self.take(len(piece))
                yield piece


def parse_rate(text: str) -> float:
    """Bytes per second in a text such as ``2M``, ``500k`` or ``1.5MB/s`` (k, M, G are thousands).

    Raises:
        UsageError: it is none, or nothing at all.
    """
    match = _RATE.fullmatch(text.strip())
    rate = float(match[1]) * _UNITS[match[2].lower()] if match is not None else 0.0
    if rate <= 0:
        raise UsageError(f"{text!r} is no rate", hint="give bytes per second, such as --limit-rate 2M or 500k")
    return rate

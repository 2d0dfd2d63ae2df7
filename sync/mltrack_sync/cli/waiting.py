"""What a command says while it waits for a server, and when it is interrupted."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from mltrack.text.printing import say
from mltrack_sync.http.under_way import UNDER_WAY, RequestsUnderWay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["WaitWords", "saying_waits"]

FIRST_S = 1.5
"""After so long a wait is said, so that it shows within two seconds."""

AGAIN_FACTOR = 4
POLL_S = 0.25


class WaitWords:
    """Gives words for a request that has waited for long: once, and again as its wait grows."""

    def __init__(self, requests: RequestsUnderWay) -> None:
        self._requests = requests
        self._number = -1
        self._due = FIRST_S

    def next(self) -> str:
        """What is to be said now, or ""."""
        oldest = self._requests.oldest()
        if oldest is None:
            return ""
        if oldest.number != self._number:
            self._number, self._due = oldest.number, FIRST_S
        waited = self._requests.clock() - oldest.since
        if waited < self._due:
            return ""
        self._due = waited * AGAIN_FACTOR
        return f"waiting for {oldest.what} ({waited:.0f} s so far)"


@contextlib.contextmanager
def saying_waits(safe: str, *, say_line: Callable[[str], None] = lambda words: say(words, err=True)) -> Iterator[None]:
    """For the body, say on stderr what is waited for; when it is interrupted, say that this is ``safe``, and why."""
    words, done = WaitWords(UNDER_WAY), threading.Event()

    def watch() -> None:
        while not done.wait(POLL_S):
            line = words.next()
            if line:
                say_line(line)

    watcher = threading.Thread(target=watch, name="mltrack-waits", daemon=True)
    watcher.start()
    try:
        yield
    except KeyboardInterrupt:
        say_line(safe)
        raise
    finally:
        done.set()
        watcher.join()

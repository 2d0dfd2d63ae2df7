"""Reads the store for the screen in a thread of its own, as often as that costs little."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from mltrack.top.board import Board

__all__ = ["ENDED", "Poller", "Wanted"]

ENDED = "ended"
"""The part that changes when the thread ends."""

POLL_S, POLL_MOST_S = 1.0, 5.0
"""How often points are read: every second, or less often, down to every five, where that costs more."""

POLL_SHARE_MAX = 0.04
"""What of a core reading points may take."""

LOAD_S = 2.0
"""How often, at most, the list of runs is read."""

LOAD_MOST_S = 30.0
"""How old it may get."""

SHARE_MAX = 0.01
"""What of a core reading the list of runs may take: with many runs it is read less often."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is on the screen: the metrics whose charts can be seen, and the pane."""

    metrics: tuple[str, ...] = ()
    pane: str = "charts"


class Poller:
    """The thread. It says what changed by calling ``notify`` with names of parts: runs, charts, run, remotes."""

    def __init__(
        self,
        board: Board,
        *,
        clock: Callable[[], float] = time.monotonic,
        cost: Callable[[], float] = time.thread_time,
    ) -> None:
        """Nothing is read before ``start``, or ``step``.

        Args:
            board: what is read for.
            clock: monotonic time, in seconds.
            cost: the processor time of the thread, in seconds.
        """
        self.board = board
        self.wanted = Wanted()
        self.notify: Callable[[frozenset[str]], None] = lambda changed: None
        self._clock = clock
        self._cost = cost
        self._due = {"runs": 0.0, "remotes": 0.0}
        self._reload = False
        self._wake = threading.Event()
        self._drawn = threading.Event()
        self._stopped = False
        self._thread = ThreadPoolExecutor(1, "mltrack-top-reader")
        self._reading: Future[None] | None = None

    def __enter__(self) -> Self:
        self._reading = self._thread.submit(self._run)
        self._reading.add_done_callback(lambda _: self.notify(frozenset((ENDED,))))
        return self

    def wait(self) -> None:
        """Until the thread has ended."""
        if self._reading is not None:
            wait([self._reading])

    @property
    def ended(self) -> bool:
        """Whether the thread has ended."""
        return self._reading is not None and self._reading.done()

    def __exit__(self, *_: object) -> None:
        """End the thread; what ended it before is raised here."""
        self._stopped = True
        self._drawn.set()
        self._wake.set()
        self._thread.shutdown()
        if self._reading is not None:
            self._reading.result()

    def begin(self) -> None:
        """The first frame is drawn: read on. What that imports would have delayed it."""
        self._drawn.set()

    def ask(self, wanted: Wanted | None = None, *, reload: bool = False) -> None:
        """Read now, not at the next turn; ``reload``: the list of runs too."""
        if wanted is not None:
            self.wanted = wanted
        self._reload = self._reload or reload
        self._wake.set()

    def step(self) -> frozenset[str]:
        """Read all that is due, once; which parts changed."""
        changed = set()
        board, wanted = self.board, self.wanted
        if self._reload or self._is_due("runs"):
            self._reload = False  # before it is read: what is chosen meanwhile is read next
            if self._timed("runs", LOAD_S, board.load):
                changed.add("runs")
        if wanted.pane in ("charts", "system") and board.poll(wanted.metrics):
            changed.add("charts")
        if board.poll_run(log=wanted.pane == "log", images=wanted.pane == "images"):
            changed.add("run")
        if wanted.pane == "sync" and self._is_due("remotes"):
            self._timed("remotes", LOAD_S, board.poll_remotes)
            changed.add("remotes")  # also where nothing changed: ages did
        return frozenset(changed)

    def _is_due(self, part: str) -> bool:
        return self._clock() >= self._due[part]

    def _timed(self, part: str, least_s: float, read: Callable[[], bool]) -> bool:
        """Read, and say when to read again: the more it cost, the later."""
        before = self._cost()
        found = read()
        spent = self._cost() - before if self._due[part] else 0.0  # the first time imports what it needs
        self._due[part] = self._clock() + min(max(least_s, spent / SHARE_MAX), LOAD_MOST_S)
        return found

    def _run(self) -> None:
        if self.board.glance() or self.board.count():
            self.notify(frozenset(("runs",)))
        self._drawn.wait()
        while not self._stopped:
            before = self._cost()
            changed = self.step()
            if changed and not self._stopped:
                self.notify(changed)
            self._wake.wait(min(max(POLL_S, (self._cost() - before) / POLL_SHARE_MAX), POLL_MOST_S))
            self._wake.clear()

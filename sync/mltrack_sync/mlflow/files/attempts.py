"""How often a file is sent as a whole when answers are lost: after each loss the remote is checked before the next try.

A gateway that gives up (504) while the server goes on, a connection that is cut, a time-out: the file may have
arrived, or arrive later. In one sync cycle it is sent ``SENDS_MAX`` times at most; the log of uploads keeps how many
cycles failed, and from the second on the next one waits longer and longer, though each cycle checks whether the file
has arrived. Where files of one cycle fail one after the other, the others are left for the next.

A server that dies, or can't be reached, is not the file's fault: a cycle counts against a file only if the file failed
again after the remote had answered something else, and the remote answers still.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from mltrack_sync.errors import FileNotTakenError, RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack_sync.http.retry import RetryPolicy
    from mltrack_sync.ledger.uploads import UploadLog

__all__ = ["UploadAttempts"]

SENDS_MAX = 2
PASSES_AT_ONCE = 2
"""How many cycles may fail before the next one has to wait."""

GAP_FIRST_S = 60.0
GAP_MAX_S = 6 * 3600.0
FAILED_IN_A_ROW_MAX = 5


class _Stop(Exception):
    """Ends the retries: the file was sent as often as it may be, or it must not be sent now, as ``error`` says."""

    def __init__(self, error: FileNotTakenError | None = None) -> None:
        super().__init__()
        self.error = error


class UploadAttempts:
    """Counts attempts of one sync cycle and of those before. Safe to use from many threads."""

    def __init__(
        self,
        log: UploadLog,
        *,
        policy: RetryPolicy,
        check: Callable[[], None],
        force: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``check`` raises PushStopped when the cycle is to stop; ``force``: ignore waits from earlier cycles."""
        self._log = log
        self._policy = policy
        self._check = check
        self._force = force
        self._clock = clock
        self._lock = threading.Lock()
        self._in_a_row = 0

    def send(self, of: tuple[str, str], sha256: str, send: Callable[[], None], arrived: Callable[[], bool]) -> None:
        """Send the file: ``of`` is what it belongs to and its path; ``arrived`` compares size and content.

        Raises:
            FileNotTakenError: it has not arrived, and is not sent again for now.
            RemoteRefusedError, RemoteUnavailableError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        failed, last_s = self._log.tries(of, sha256)
        sends = 0
        last: RemoteUnavailableError | None = None
        looked = True  # whether the remote was asked for it, and answered, after the last time it was sent
        was_sent, is_to_blame = last_s > 0, False

        def attempt(again: bool) -> None:
            nonlocal sends, last, looked, was_sent, is_to_blame
            self._check()
            if (again or was_sent) and arrived():
                return
            looked = True
            if sends >= SENDS_MAX:
                raise _Stop
            self._check_due(failed, last_s)
            try:
                send()
            except RemoteUnavailableError as error:
                last, looked = error, False
                if error.in_doubt and not error.not_sent:
                    is_to_blame = is_to_blame or was_sent
                    sends, was_sent = sends + 1, True
                raise

        try:
            self._policy.settle(attempt)
        except _Stop as stop:
            if stop.error is not None:
                raise stop.error from None
        except RemoteUnavailableError as error:
            if not sends:
                raise
            last = error
        else:
            last = None
        if last is None:
            self._taken(of, was_before=last_s > 0)
            return
        self._log.tried(of, sha256, failed + (is_to_blame and looked), self._clock())
        with self._lock:
            self._in_a_row += 1
        words = f"was sent, {last}; {'it has not arrived' if looked else 'whether it has arrived is not known'}"
        raise FileNotTakenError(words, hint=last.hint, in_doubt=True, status=last.status) from last

    def _taken(self, of: tuple[str, str], *, was_before: bool) -> None:
        with self._lock:
            self._in_a_row = 0
        if was_before:
            self._log.taken(of)

    def _check_due(self, failed: int, last_s: float) -> None:
        """Whether it may be sent now."""
        with self._lock:
            in_a_row = self._in_a_row
        if in_a_row >= FAILED_IN_A_ROW_MAX:
            raise _Stop(FileNotTakenError("waits: the remote does not take files now", in_doubt=True))
        if failed < PASSES_AT_ONCE or self._force:
            return
        gap = min(GAP_FIRST_S * 4 ** min(failed - PASSES_AT_ONCE, 10), GAP_MAX_S)
        left = last_s + gap - self._clock()
        if 0 < left <= gap:
            words = f"waits for {left:.0f} s: {failed} syncs failed to send it (mltrack sync --retry-rejected: now)"
            raise _Stop(FileNotTakenError(words, in_doubt=True))

"""Carries pieces of work to the remote, several at a time, each with its errors taken to where they belong."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.errors import (
    LedgerError,
    NotMlflowError,
    PushStopped,
    RemoteAuthError,
    RemoteRefusedError,
    RemoteUnavailableError,
)
from mltrack_sync.features import FeatureLacking
from mltrack_sync.plan import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mltrack_sync.session import Session

__all__ = ["Carrier", "Troubles"]

TROUBLED_MAX = 3
"""So many pieces that the remote did not answer for, one after the other, end the pass."""


class Troubles:
    """Counts pieces, one after the other, that the remote gave no answer for."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._lock = threading.Lock()

    def add(self) -> bool:
        """One more; whether that is enough."""
        with self._lock:
            self._in_a_row += 1
            return self._in_a_row >= TROUBLED_MAX

    def clear(self) -> None:
        """One got through."""
        with self._lock:
            self._in_a_row = 0


class Carrier:
    """Does pieces of work of one kind, which is told in refusals."""

    def __init__(self, session: Session, kind: str, jobs: int) -> None:
        self._session = session
        self._kind = kind
        self._jobs = jobs
        self._troubles = Troubles()

    def carry(self, pieces: Iterable[tuple[str, Callable[[], None]]]) -> None:
        """Each piece, by its key, until the pass is to stop. What the remote refuses for good is set aside."""
        pieces = list(pieces)
        if not pieces or self._session.stop.is_set():
            return
        with ThreadPoolExecutor(min(self._jobs, len(pieces)), thread_name_prefix="mltrack-sync") as pool:
            try:
                for future in [pool.submit(self._one, key, work) for key, work in pieces]:
                    future.result()
            except BaseException:  # an interrupt: let the workers finish what they have in hand, and no more
                self._session.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _one(self, key: str, work: Callable[[], None]) -> None:
        session = self._session
        if session.stop.is_set():
            return
        try:
            work()
            self._troubles.clear()
        except (PushStopped, FeatureLacking, NotFoundError):  # the last: gone since it was looked for
            return
        except RemoteRefusedError as error:
            self._set_aside(key, error)
        except RemoteUnavailableError as error:
            if (error.status is None and not error.in_doubt) or self._troubles.add():
                session.fail(error)
            else:
                session.problem(f"{self._kind} {key}: {error}")
        except RemoteAuthError as error:  # what is forbidden may be this alone, if others get through
            if error.forbidden and not self._troubles.add():
                session.problem(f"{self._kind} {key}: {error}")
            else:
                session.fail(error)
        except (NotMlflowError, LedgerError) as error:
            session.fail(error)
        except MltrackError as error:
            session.problem(f"{self._kind} {key}: {error}")
        except OSError as error:
            session.problem(f"{self._kind} {key}: {error.filename or 'a file'} can't be read: {error.strerror}")
        except BaseException as error:
            session.fail(error)
            raise

    def _set_aside(self, key: str, error: RemoteRefusedError) -> None:
        try:
            self._session.set_aside(Refusal(self._kind, key, error.words))
        except LedgerError as worse:
            self._session.fail(worse)

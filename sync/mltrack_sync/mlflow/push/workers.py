"""The worker pool: jobs of one kind, several at a time, each error handled where it belongs.

An error ends the whole sync cycle (the remote is away, the ledger can't be written), or costs one job: what the remote
refuses for good is rejected, what it can't do now is left for the next cycle.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.errors import (
    LedgerError,
    NotMlflowError,
    PushStopped,
    RemoteAuthError,
    RemoteRefusedError,
    RemoteUnavailableError,
)
from mltrack_sync.mlflow.api.capabilities import UnsupportedFeatureError
from mltrack_sync.mlflow.plan.batches import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Cycle", "FailureStreak", "WorkerPool"]

FAILURES_MAX = 3
"""So many jobs that the remote did not answer for, one after the other, end the cycle."""


class Cycle(Protocol):
    """The sync cycle that jobs belong to, as far as the pool needs it: see Session."""

    @property
    def stop(self) -> threading.Event:
        """Set when no further job is to begin."""

    def fail(self, error: BaseException) -> None:
        """End the cycle with this error."""

    def problem(self, words: str) -> None:
        """Note what is tried again with the next cycle."""

    def reject(self, item: Refusal) -> None:
        """Note what the remote does not take."""


class FailureStreak:
    """Counts jobs, one after the other, that the remote gave no answer for."""

    def __init__(self) -> None:
        self._length = 0
        self._lock = threading.Lock()

    def add(self) -> bool:
        """One more; whether that is enough."""
        with self._lock:
            self._length += 1
            return self._length >= FAILURES_MAX

    def clear(self) -> None:
        """One got through."""
        with self._lock:
            self._length = 0


class WorkerPool:
    """Runs jobs of one kind, which rejections and problems name."""

    def __init__(
        self,
        cycle: Cycle,
        kind: str,
        jobs: int,
        *,
        reject: Callable[[str, str], None] | None = None,
        reject_forbidden: bool = False,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """How jobs are run, and what becomes of those that fail.

        Args:
            cycle: The cycle that they belong to.
            kind: What they are, in rejections and problems.
            jobs: So many run at a time.
            reject: Notes by key and reason what the remote refuses for good; by default as a rejection of ``kind``.
            reject_forbidden: What is forbidden (403) is rejected, too, and not left for the next cycle.
            on_end: Called after each job that came to an end, whatever became of it; not where the cycle stopped.
        """
        self._cycle = cycle
        self._kind = kind
        self._jobs = jobs
        self._reject = reject or self._reject_thing
        self._reject_forbidden = reject_forbidden
        self._on_end = on_end
        self._failures = FailureStreak()

    def run(self, jobs: Iterable[tuple[str, Callable[[], None]]]) -> None:
        """Each job, by its key, until the cycle is to stop."""
        jobs = list(jobs)
        if not jobs or self._cycle.stop.is_set():
            return
        with ThreadPoolExecutor(min(self._jobs, len(jobs)), thread_name_prefix="mltrack-sync") as pool:
            try:
                for future in [pool.submit(self._run_one, key, work) for key, work in jobs]:
                    future.result()
            except BaseException:  # an interrupt: let the workers finish what they have in hand, and no more
                self._cycle.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _run_one(self, key: str, work: Callable[[], None]) -> None:
        cycle = self._cycle
        if cycle.stop.is_set():
            return
        try:
            work()
            self._failures.clear()
        except (PushStopped, UnsupportedFeatureError, NotFoundError):  # the last: gone since it was looked for
            return
        except (RemoteRefusedError, RemoteUnavailableError, RemoteAuthError) as error:
            self._not_done(key, error)
        except (NotMlflowError, LedgerError) as error:
            cycle.fail(error)
        except MltrackError as error:
            self._problem(key, str(error))
        except OSError as error:
            self._problem(key, f"{error.filename or 'a file'} can't be read: {error.strerror}")
        except BaseException as error:
            cycle.fail(error)
            raise
        if self._on_end is not None:
            self._on_end()

    def _not_done(self, key: str, error: RemoteRefusedError | RemoteUnavailableError | RemoteAuthError) -> None:
        """The remote refused it, was away, or forbade it: this one's error, or the end of the cycle."""
        if isinstance(error, RemoteRefusedError):
            self._rejected(key, error.words)
        elif isinstance(error, RemoteUnavailableError):
            if error.is_unreached or self._failures.add():
                self._cycle.fail(error)
            else:
                self._problem(key, str(error))
        elif not error.forbidden or self._failures.add():  # what is forbidden may be this alone, if others get through
            self._cycle.fail(error)
        elif self._reject_forbidden:
            self._rejected(key, str(error))
        else:
            self._problem(key, str(error))

    def _problem(self, key: str, words: str) -> None:
        self._cycle.problem(f"{self._kind} {key}: {words}")

    def _rejected(self, key: str, words: str) -> None:
        try:
            self._reject(key, words)
        except LedgerError as worse:
            self._cycle.fail(worse)

    def _reject_thing(self, key: str, words: str) -> None:
        self._cycle.reject(Refusal(self._kind, key, words))

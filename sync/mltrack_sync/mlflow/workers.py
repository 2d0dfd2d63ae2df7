"""Jobs of one kind, one by one or several at a time, and the one place that handles their errors.

An error ends the whole sync cycle (the remote is away, the ledger can't be written), or costs one job: what the remote
refuses for good is rejected, what it can't do now is left for the next cycle.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

from mltrack.errors import MltrackError, NotFoundError, RemoteError
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

__all__ = ["Cycle", "FailureStreak", "JobRunner", "WorkerPool"]

T = TypeVar("T")

FAILURES_MAX = 3
"""How many jobs in a row without an answer from the remote end the cycle."""


class Cycle(Protocol):
    """The sync cycle that jobs belong to, as far as the pool needs it: see Session."""

    @property
    def stop(self) -> threading.Event:
        """Set when no further job is to begin."""

    def fail(self, error: BaseException) -> None:
        """End the cycle with this error."""

    def problem(self, words: str) -> None:
        """Note what is retried in the next cycle."""

    def reject(self, item: Refusal) -> None:
        """Note what the remote does not take."""


class FailureStreak:
    """Counts jobs in a row for which the remote gave no answer."""

    def __init__(self) -> None:
        self._length = 0
        self._lock = threading.Lock()

    def add(self) -> bool:
        """Count one more; returns whether that is too many."""
        with self._lock:
            self._length += 1
            return self._length >= FAILURES_MAX

    def clear(self) -> None:
        """Start again: a job got an answer."""
        with self._lock:
            self._length = 0


class JobRunner:
    """Runs jobs of one kind, each by itself: the one place that handles a job's error."""

    def __init__(
        self,
        cycle: Cycle,
        kind: str,
        *,
        reject: Callable[[str, str], None] | None = None,
        reject_forbidden: bool = False,
        reject_not_mlflow: bool = False,
        on_end: Callable[[], None] | None = None,
        failures: FailureStreak | None = None,
    ) -> None:
        """Set what is done about jobs that fail.

        Args:
            cycle: The cycle that they belong to.
            kind: What they are, in rejections and problems.
            reject: Notes key and reason of what the remote refuses for good; by default as a rejection of ``kind``.
            reject_forbidden: Also reject what is forbidden (403), instead of leaving it for the next cycle.
            reject_not_mlflow: Also reject what has an answer unlike MLflow's, instead of ending the cycle.
            on_end: Called after each job that ended, whether or not it succeeded; not if the cycle was stopped.
            failures: Counts jobs without an answer; other kinds may share it.
        """
        self.cycle = cycle
        self._kind = kind
        self._reject = reject or self._reject_thing
        self._reject_forbidden = reject_forbidden
        self._reject_not_mlflow = reject_not_mlflow
        self._on_end = on_end
        self._failures = failures or FailureStreak()

    def run(self, key: str, work: Callable[[], T]) -> T | None:
        """Run the job of that key, unless the cycle is to stop; returns its result, None if it failed."""
        cycle, done = self.cycle, None
        if cycle.stop.is_set():
            return None
        try:
            done = work()
            self._failures.clear()
        except (PushStopped, UnsupportedFeatureError, NotFoundError):  # the last: removed since it was found
            return None
        except (RemoteRefusedError, RemoteUnavailableError, RemoteAuthError, NotMlflowError) as error:
            self._not_done(key, error)
        except LedgerError as error:
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
        return done

    def _not_done(self, key: str, error: RemoteError) -> None:
        """The remote refused it, was unreachable, or forbade it: this job fails, or the cycle ends."""
        match error:
            case RemoteRefusedError():
                self._rejected(key, error.words)
            case NotMlflowError() if self._reject_not_mlflow:
                self._rejected(key, str(error))
            case RemoteUnavailableError() if not (error.is_unreached or self._failures.add()):
                self._problem(key, str(error))
            # perhaps only this is forbidden, if others succeed
            case RemoteAuthError() if error.forbidden and not self._failures.add():
                if self._reject_forbidden:
                    self._rejected(key, str(error))
                else:
                    self._problem(key, str(error))
            case _:
                self.cycle.fail(error)

    def _problem(self, key: str, words: str) -> None:
        self.cycle.problem(f"{self._kind} {key}: {words}")

    def _rejected(self, key: str, words: str) -> None:
        try:
            self._reject(key, words)
        except LedgerError as worse:
            self.cycle.fail(worse)

    def _reject_thing(self, key: str, words: str) -> None:
        self.cycle.reject(Refusal(self._kind, key, words))


class WorkerPool:
    """Runs the jobs of one kind, several at a time."""

    def __init__(self, runner: JobRunner, jobs: int) -> None:
        """``runner`` runs each of them; ``jobs`` are run at a time."""
        self._runner = runner
        self._jobs = jobs

    def run(self, jobs: Iterable[tuple[str, Callable[[], object]]]) -> None:
        """Run each job, with its key, until the cycle is to stop."""
        jobs, stop = list(jobs), self._runner.cycle.stop
        if not jobs or stop.is_set():
            return
        with ThreadPoolExecutor(min(self._jobs, len(jobs)), thread_name_prefix="mltrack-sync") as pool:
            try:
                for future in [pool.submit(self._runner.run, key, work) for key, work in jobs]:
                    future.result()
            except BaseException:  # an interrupt: let the workers finish their current jobs, and no more
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

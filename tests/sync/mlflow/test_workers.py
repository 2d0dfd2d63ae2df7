from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.errors import (
    LedgerError,
    NotMlflowError,
    PushStopped,
    RemoteAuthError,
    RemoteRefusedError,
    RemoteUnavailableError,
)
from mltrack_sync.mlflow.api.capabilities import TRACES, UnsupportedFeatureError
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.workers import FailureStreak, JobRunner, WorkerPool


class Cycle:
    """A cycle that writes down what happens to it; ``broken_ledger`` takes no rejection."""

    def __init__(self, *, broken_ledger: bool = False) -> None:
        self.stop = threading.Event()
        self.failures: list[BaseException] = []
        self.problems: list[str] = []
        self.rejected: list[Refusal] = []
        self._broken_ledger = broken_ledger

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)
        self.stop.set()

    def problem(self, words: str) -> None:
        self.problems.append(words)

    def reject(self, item: Refusal) -> None:
        if self._broken_ledger:
            raise LedgerError("the disk is full")
        self.rejected.append(item)


def refused() -> RemoteRefusedError:
    return RemoteRefusedError("refused", status=400, code="INVALID_PARAMETER_VALUE", words="too long")


def away(status: int | None = 503) -> RemoteUnavailableError:
    return RemoteUnavailableError("away", in_doubt=status is not None, status=status)


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def run(cycle: Cycle, *works: Callable[[], None], **options: object) -> None:
    pool = WorkerPool(JobRunner(cycle, "thing", **options), 1)  # type: ignore[arg-type]
    pool.run((str(number), work) for number, work in enumerate(works))


def test_all_jobs_are_run_when_none_fails() -> None:
    done: list[int] = []
    run(Cycle(), *[partial(done.append, number) for number in range(20)])
    assert sorted(done) == list(range(20))


def test_several_jobs_run_at_a_time() -> None:
    together = threading.Barrier(3, timeout=60)
    cycle = Cycle()

    def meet() -> None:
        together.wait()

    WorkerPool(JobRunner(cycle, "thing"), 3).run((str(number), meet) for number in range(3))
    assert not cycle.failures


def test_a_refused_job_is_rejected_and_the_others_continue() -> None:
    cycle, done = Cycle(), []
    run(cycle, raising(refused()), lambda: done.append(1))
    assert cycle.rejected == [Refusal("thing", "0", "too long")]
    assert done == [1]
    assert not cycle.failures


def test_a_kind_decides_how_its_things_are_rejected() -> None:
    cycle, noted = Cycle(), []
    run(cycle, raising(refused()), reject=lambda key, words: noted.append((key, words)))
    assert noted == [("0", "too long")]
    assert not cycle.rejected


def test_a_rejection_that_cannot_be_recorded_ends_the_cycle() -> None:
    cycle = Cycle(broken_ledger=True)
    run(cycle, raising(refused()))
    assert isinstance(cycle.failures[0], LedgerError)


def test_a_remote_that_cant_be_reached_ends_the_cycle_at_once() -> None:
    cycle, done = Cycle(), []
    run(cycle, raising(away(status=None)), lambda: done.append(1))
    assert len(cycle.failures) == 1
    assert not done


def test_a_job_without_an_answer_is_left_for_the_next_cycle() -> None:
    cycle = Cycle()
    run(cycle, raising(away()), lambda: None)
    assert cycle.problems == ["thing 0: away"]
    assert not cycle.failures


def test_three_jobs_in_a_row_without_an_answer_end_the_cycle() -> None:
    cycle = Cycle()
    run(cycle, *[raising(away())] * 5)
    assert len(cycle.problems) == 2
    assert len(cycle.failures) == 1


def test_one_success_ends_a_failure_streak() -> None:
    cycle = Cycle()
    run(cycle, raising(away()), raising(away()), lambda: None, raising(away()), raising(away()))
    assert len(cycle.problems) == 4
    assert not cycle.failures


def test_kinds_that_share_a_streak_end_the_cycle_together() -> None:
    cycle, streak = Cycle(), FailureStreak()
    runners = [JobRunner(cycle, kind, failures=streak) for kind in ("model", "version", "alias")]
    for runner in runners:
        assert runner.run("one", raising(away())) is None
    assert cycle.problems == ["model one: away", "version one: away"]
    assert len(cycle.failures) == 1


def test_a_job_run_alone_returns_its_result_unless_the_cycle_stops() -> None:
    cycle = Cycle()
    assert JobRunner(cycle, "thing").run("one", lambda: 7) == 7
    cycle.stop.set()
    assert JobRunner(cycle, "thing").run("one", lambda: 7) is None


def test_an_answer_that_is_not_from_mlflow_is_rejected_if_the_kind_says_so() -> None:
    cycle = Cycle()
    run(cycle, raising(NotMlflowError("a printer")), reject_not_mlflow=True)
    assert cycle.rejected == [Refusal("thing", "0", "a printer")]
    assert not cycle.failures


def test_what_is_forbidden_is_left_for_the_next_cycle_or_rejected_if_the_kind_says_so() -> None:
    forbidden = RemoteAuthError("not yours", forbidden=True)
    cycle = Cycle()
    run(cycle, raising(forbidden))
    assert cycle.problems == ["thing 0: not yours"]
    assert not cycle.rejected
    cycle = Cycle()
    run(cycle, raising(forbidden), reject_forbidden=True)
    assert cycle.rejected == [Refusal("thing", "0", "not yours")]
    assert not cycle.problems


@pytest.mark.parametrize(
    "error", [RemoteAuthError("who are you?"), NotMlflowError("a printer"), LedgerError("full")], ids=repr
)
def test_an_error_that_would_fail_every_job_ends_the_cycle(error: Exception) -> None:
    cycle, done = Cycle(), []
    run(cycle, raising(error), lambda: done.append(1))
    assert cycle.failures == [error]
    assert not done


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MltrackError("damaged"), "damaged"),
        (OSError(13, "Permission denied", "model.pkl"), "model.pkl can't be read: Permission denied"),
        (OSError(5, "Input/output error"), "a file can't be read: Input/output error"),
    ],
    ids=repr,
)
def test_what_cannot_be_read_locally_fails_only_that_job(error: Exception, words: str) -> None:
    cycle = Cycle()
    run(cycle, raising(error))
    assert cycle.problems == [f"thing 0: {words}"]
    assert not cycle.failures


@pytest.mark.parametrize("error", [PushStopped(), UnsupportedFeatureError(TRACES), NotFoundError("gone")], ids=repr)
def test_what_is_gone_or_not_supported_is_skipped_silently(error: Exception) -> None:
    cycle, ended = Cycle(), []
    run(cycle, raising(error), on_end=lambda: ended.append(1))
    assert not (cycle.failures or cycle.problems or cycle.rejected or ended)


def test_an_unexpected_exception_is_raised_and_stops_the_rest() -> None:
    cycle = Cycle()
    with pytest.raises(ZeroDivisionError):
        run(cycle, raising(ZeroDivisionError()))
    assert cycle.stop.is_set()


def test_each_finished_job_is_counted() -> None:
    ended: list[int] = []
    run(Cycle(), lambda: None, raising(refused()), raising(away()), on_end=lambda: ended.append(1))
    assert len(ended) == 3


def test_no_job_starts_in_a_cycle_that_stops() -> None:
    cycle, done = Cycle(), []
    cycle.stop.set()
    run(cycle, lambda: done.append(1))
    assert not done


def test_a_streak_is_cleared_by_a_success() -> None:
    streak = FailureStreak()
    assert [streak.add(), streak.add()] == [False, False]
    streak.clear()
    assert [streak.add(), streak.add(), streak.add()] == [False, False, True]

"""One run and its faults, on a server in memory: its requests in halves, refusals alone, doubts looked into."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import PushReport, Remote, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.report import Rejected
from tests.support import ROOT
from tests.support.fake_mlflow import AnswerLost, FakeMlflow, FakeRun, Fields, Refused, points_sent

POINTS = 40


def record() -> str:
    with mltrack.start_run(run_name="one") as run:
        mltrack.log_params({"a": 1, "b": 2})
        mltrack.set_tag("t", "v")
        for step in range(POINTS):
            mltrack.log_metrics({"m": step * 0.5, "n": step * 2.0}, step=step)
        return run.run_id


def pushed(store: Store, remote: Remote, fake: FakeMlflow) -> PushReport:
    return push(store, remote, http=fake, policy=RetryPolicy(sleep=lambda seconds: None), jobs=1)


def whole(fake: FakeMlflow, *, without: tuple[str, ...] = ()) -> FakeRun:
    """The only run, after it was seen to hold each point once."""
    (run,) = fake.runs.values()
    expected = [(key, step) for key in ("m", "n") if key not in without for step in range(POINTS)]
    assert [point[:2] for point in fake.points_of(run)] == expected
    return run


def rejected(report: PushReport) -> list[tuple[str, str, int]]:
    return sorted((item.kind, item.key, item.points) for item in report.rejected)


def test_a_run_arrives_whole_and_a_second_push_makes_no_request(store: Store, there: Remote, fake: FakeMlflow) -> None:
    record()
    report = pushed(store, there, fake)
    assert (report.runs, report.created, report.points, report.params) == (1, 1, 2 * POINTS, 2)
    run = whole(fake)
    assert (run.params, run.tags["t"], run.info["status"]) == ({"a": "1", "b": "2"}, "v", "FINISHED")
    before = len(fake.calls)
    assert pushed(store, there, fake).points == 0
    assert len(fake.calls) == before


def test_a_request_that_is_too_large_is_split_and_later_ones_are_as_small(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    record()

    def fault(call: str, fields: Fields) -> None:
        if len(fields.get("metrics", [])) > 10:
            raise Refused("Request Entity Too Large", status=413)

    fake.fault = fault
    assert pushed(store, there, fake).points == 2 * POINTS
    whole(fake)
    sizes = list(points_sent(fake.calls))
    assert max(sizes) == 2 * POINTS
    assert all(size <= 10 for size in sizes[-4:])


@pytest.mark.parametrize("when", [1, 2, 3])
def test_points_whose_answer_was_lost_are_looked_up_and_not_sent_twice(
    store: Store, there: Remote, fake: FakeMlflow, when: int
) -> None:
    record()
    seen = 0

    def fault(call: str, fields: Fields) -> None:
        nonlocal seen
        if call == "runs/log-batch":
            seen += 1
            if seen <= when:
                raise AnswerLost

    fake.fault = fault
    report = pushed(store, there, fake)
    assert report.points + report.found == 2 * POINTS
    assert report.found > 0
    whole(fake)


def test_a_run_whose_creation_was_not_answered_is_found_and_not_created_twice(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    record()
    lost: list[str] = []

    def fault(call: str, fields: Fields) -> None:
        if call == "runs/create" and not lost:
            lost.append(call)
            raise AnswerLost

    fake.fault = fault
    pushed(store, there, fake)
    assert lost
    whole(fake)


def test_a_refused_param_is_rejected_alone_and_everything_else_arrives(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    run_id = record()

    def fault(call: str, fields: Fields) -> None:
        if any(param["key"] == "b" for param in fields.get("params", [])):
            raise Refused("not this one")

    fake.fault = fault
    report = pushed(store, there, fake)
    assert list(report.rejected) == [Rejected(run_id, "param", "b", "not this one", 0)]
    assert whole(fake).params == {"a": "1"}
    assert pushed(store, there, fake).requests == 0


def test_a_refused_metric_costs_only_its_own_points(store: Store, there: Remote, fake: FakeMlflow) -> None:
    record()

    def fault(call: str, fields: Fields) -> None:
        if any(metric["key"] == "n" for metric in fields.get("metrics", [])):
            raise Refused("no such metric here")

    fake.fault = fault
    assert rejected(pushed(store, there, fake)) == [("metric", "n", POINTS)]
    whole(fake, without=("n",))


def test_one_refused_point_is_rejected_and_its_metric_continues(store: Store, there: Remote, fake: FakeMlflow) -> None:
    record()

    def fault(call: str, fields: Fields) -> None:
        if any((metric["key"], metric["step"]) == ("n", 7) for metric in fields.get("metrics", [])):
            raise Refused("not at step 7")

    fake.fault = fault
    assert rejected(pushed(store, there, fake)) == [("point", "n", 1)]
    (run,) = fake.runs.values()
    assert len(run.points) == len(set(run.points)) == 2 * POINTS - 1


def test_an_unreachable_server_ends_the_push_and_the_next_push_continues(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    record()

    def fault(call: str, fields: Fields) -> None:
        if call == "runs/log-batch":
            raise httpx.ConnectError("refused")

    fake.fault = fault
    with pytest.raises(RemoteUnavailableError):
        pushed(store, there, fake)
    fake.fault = lambda call, fields: None
    pushed(store, there, fake)
    whole(fake)


def test_what_differs_from_the_store_is_named(store: Store, there: Remote, fake: FakeMlflow) -> None:
    run_id = record()
    pushed(store, there, fake)
    assert verify(store, there, http=fake, runs_only=True).differences == ()
    (run,) = fake.runs.values()
    run.params["a"] = "other"
    run.points.pop()
    words = [str(difference) for difference in verify(store, there, http=fake, runs_only=True).differences]
    assert len(words) == 2
    assert all(run_id in word for word in words)


SMALL_PUSH = """
import sys
import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.status import status_of
from tests.support.fake_mlflow import FakeMlflow

mltrack.set_store(sys.argv[1])
for name in ("one", "two"):
    with mltrack.start_run(run_name=name, tags={"t": "v"}):
        mltrack.log_param("a", 1)
        mltrack.log_metrics({"m": 0.5, "n": 2.0}, step=3)
        mltrack.log_text("words", "folder/file.txt")
store, fake = Store.open(sys.argv[1]), FakeMlflow()
remote = Remotes(store).add("fake", "http://fake")
print(push(store, remote, http=fake).points)
print(status_of(store, remote).pending_runs, verify(store, remote, http=fake).differences)
print(len(store.search_runs(filter_string="metrics.m > 0.1")), store.sql("SELECT * FROM metrics").num_rows)
print({"pandas", "mlflow"} & sys.modules.keys())
"""


@pytest.mark.slow
def test_neither_pandas_nor_mlflow_is_imported_by_a_push_a_comparison_or_a_query(tmp_path: Path) -> None:
    args = [sys.executable, "-c", SMALL_PUSH, str(tmp_path / "store")]
    done = subprocess.run(args, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["4", "0 ()", "2 4", "set()"], done.stderr

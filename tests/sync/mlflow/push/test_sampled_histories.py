"""Sampled histories on a server in memory: the choice arrives once, however it was pushed; settings that change."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx
import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import PushReport, Remote, Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.ledger.runs import Sampled
from mltrack_sync.mlflow.plan.sampled_points import sampled_points
from mltrack_sync.remotes.ledgers import read_ledger
from tests.support import ROOT
from tests.support.fake_mlflow import AnswerLost, FakeMlflow, Fields, Refused

N = 100
POINTS = 3000


@pytest.fixture
def there(there: Remote, store: Store) -> Remote:
    """With sampled histories."""
    return Remotes(store).configure(there.name, [f"history={N}"])


def log(run: mltrack.Run, first: int, last: int) -> None:
    for step in range(first, last):
        run.log_metrics({"noise": (step * 7919) % 1009, "line": step * 0.5, "rare": 1.0}, step=step)


def record(points: int = POINTS) -> str:
    with mltrack.start_run() as run:
        log(run, 0, points)
    return run.run_id


def pushed(store: Store, remote: Remote, fake: FakeMlflow, history: int | None = None) -> PushReport:
    return push(store, remote, http=fake, policy=RetryPolicy(sleep=lambda seconds: None), jobs=1, history=history)


Points = list[tuple[str, int]]


def on(fake: FakeMlflow) -> Points:
    """Metric and step of the points of the only run, with those that came twice."""
    (run,) = fake.runs.values()
    return [point[:2] for point in fake.points_of(run)]


def choice(store: Store, run_id: str, history: int = N, *, ended: bool = True) -> Points:
    """Metric and step of the points that are to go."""
    run = store.run(run_id)
    ends = {writer.writer: writer.position.points for writer in run.writers()} if ended else {}
    pieces = sampled_points(run, Sampled(history, ended=ends))
    return sorted((p.keys[c], s) for p in pieces for c, s in zip(p.codes.tolist(), p.steps.tolist(), strict=True))


def same(store: Store, remote: Remote, fake: FakeMlflow) -> bool:
    report = verify(store, remote, http=fake)
    assert report.differences == verify(store, remote, http=fake, quick=True).differences
    return report.same


def test_exactly_the_sample_arrives_and_verify_confirms_it(store: Store, there: Remote, fake: FakeMlflow) -> None:
    run_id = record()
    report = pushed(store, there, fake)
    assert on(fake) == choice(store, run_id)
    assert report.points == len(on(fake)) < 3 * 3 * N
    assert same(store, there, fake)
    calls = len(fake.calls)
    assert pushed(store, there, fake).points == 0
    assert len(fake.calls) == calls
    (run,) = fake.runs.values()
    removed = run.points.pop(len(run.points) // 2)
    assert not verify(store, there, http=fake).same
    run.points += [removed, ("noise", 1, 1, 12345.0)]
    assert not verify(store, there, http=fake).same


def test_the_latest_smallest_and_largest_values_are_those_of_the_whole_history(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    run_id = record()
    pushed(store, there, fake)
    (run,) = fake.runs.values()
    for key, summary in store.run(run_id).summaries.items():
        values = {(point[1], point[2]): point[3] for point in run.points if point[0] == key}
        assert (min(values.values()), max(values.values())) == (summary.min, summary.max)
        assert values[max(values)] == summary.value


@pytest.mark.parametrize("pushes", [(1, 2, 3, 50, 99, 100, 101, 103, 1500, 2999), (150, 1501), (2999,)])
def test_a_run_pushed_while_live_arrives_like_one_pushed_after_its_end(
    store: Store, there: Remote, fake: FakeMlflow, pushes: tuple[int, ...]
) -> None:
    with mltrack.start_run() as run:
        at = 0
        for until in pushes:
            log(run, at, until)
            pushed(store, there, fake)
            assert on(fake) == choice(store, run.run_id, ended=False)
            at = until
        log(run, at, POINTS)
    pushed(store, there, fake)
    assert on(fake) == choice(store, run.run_id)
    assert same(store, there, fake)


def test_a_live_run_with_few_points_shows_each_at_once(store: Store, there: Remote, fake: FakeMlflow) -> None:
    with mltrack.start_run() as run:
        run.log_metric("acc", 0.5, step=3)
        pushed(store, there, fake)
        assert on(fake) == [("acc", 3)]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True])
def test_pushes_interrupted_at_any_request_send_each_point_of_the_sample_once(
    store: Store, there: Remote, fake: FakeMlflow, *, lost: bool
) -> None:
    finer = Remotes(store).configure("fake", ["history=1000"])
    run_id = record()
    broken, report = 0, None
    while report is None or report.problems:
        left = [broken % 3 + 1]

        def fault(call: str, fields: Fields, left: list[int] = left) -> None:
            if left[0] <= 0:
                raise httpx.ConnectError("gone")
            if call != "runs/log-batch" or "metrics" not in fields:
                return
            if len(fields["metrics"]) > 300:
                raise Refused("Request Entity Too Large", status=413)
            left[0] -= 1
            if left[0] == 0:
                raise AnswerLost if lost else httpx.ConnectError("gone")

        fake.fault = fault
        try:
            report = push(store, finer, http=fake, policy=RetryPolicy(attempts_max=1), jobs=1)
        except RemoteUnavailableError:
            report = None
        broken += 1
    assert broken > 5
    assert on(fake) == choice(store, run_id, 1000)
    fake.fault = lambda call, fields: None
    assert same(store, finer, fake)


def test_a_crashed_writer_counts_as_ended_and_a_resumed_run_is_sampled_by_writer(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    code = "import os, mltrack\nrun = mltrack.start_run()\nprint(run.run_id, flush=True)\n"
    code += f"for step in range({POINTS}): run.log_metric('m', step % 101, step=step)\nos._exit(1)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "MLTRACK_STORE": str(store.path)},
        capture_output=True,
        text=True,
    )
    run_id = done.stdout.strip()
    pushed(store, there, fake)
    assert on(fake) == choice(store, run_id)
    with mltrack.start_run(run_id) as run:
        log(run, POINTS, 2 * POINTS)
    pushed(store, there, fake)
    assert on(fake) == choice(store, run_id)
    assert same(store, there, fake)


# --- settings that change ----------------------------------------------------------------------------------------


def every(points: int) -> Points:
    """Metric and step of all points."""
    return sorted((key, step) for key in ("line", "noise", "rare") for step in range(points))


def test_changing_from_a_sample_to_all_points_sends_the_rest(store: Store, there: Remote, fake: FakeMlflow) -> None:
    record()
    sampled = pushed(store, there, fake).points
    whole = Remotes(store).configure("fake", ["history=whole"])
    report = pushed(store, whole, fake)
    assert (report.points, report.found) == (3 * POINTS - sampled, sampled)
    assert on(fake) == every(POINTS)
    assert same(store, whole, fake)
    assert pushed(store, whole, fake).runs == 0


def test_changing_from_all_points_to_a_sample_sends_nothing_twice_and_samples_later_points(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    with mltrack.start_run() as run:
        log(run, 0, 1000)
        pushed(store, there, fake, history=0)
        assert on(fake) == every(1000)
        log(run, 1000, POINTS)
        pushed(store, there, fake)
    pushed(store, there, fake)
    wanted = {*every(1000), *choice(store, run.run_id)}
    assert on(fake) == sorted(wanted)
    assert same(store, there, fake)


def test_a_run_that_arrived_whole_stays_whole(store: Store, there: Remote, fake: FakeMlflow) -> None:
    record()
    pushed(store, there, fake, history=0)
    calls = len(fake.calls)
    assert pushed(store, there, fake).runs == 0
    assert len(fake.calls) == calls
    assert same(store, there, fake)


def test_changing_the_size_of_the_sample_sends_what_is_missing(store: Store, there: Remote, fake: FakeMlflow) -> None:
    run_id = record()
    pushed(store, there, fake)
    finer = Remotes(store).configure("fake", ["history=500"])
    pushed(store, finer, fake)
    assert on(fake) == sorted({*choice(store, run_id), *choice(store, run_id, 500)})
    assert same(store, finer, fake)
    (run,) = fake.runs.values()
    run.points.append(("noise", 1, 1, 12345.0))
    assert not verify(store, finer, http=fake).same


def test_the_history_requested_by_a_sync_holds_until_another_is_requested(store: Store, fake: FakeMlflow) -> None:
    plain = Remotes(store).add("fake", "http://fake")
    run_id = record()
    pushed(store, plain, fake, history=N)
    assert on(fake) == choice(store, run_id)
    assert pushed(store, plain, fake).runs == 0
    assert same(store, plain, fake)


def test_a_run_can_set_its_own_history(store: Store, there: Remote, fake: FakeMlflow) -> None:
    with mltrack.start_run(tags={"mltrack.history": "500"}) as run:
        log(run, 0, POINTS)
    pushed(store, there, fake)
    assert on(fake) == choice(store, run.run_id, 500)
    assert pushed(store, there, fake).runs == 0
    assert same(store, there, fake)


# --- what is foreseen --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 50, 700])
def test_a_dry_run_says_what_the_push_then_sends(store: Store, there: Remote, fake: FakeMlflow, before: int) -> None:
    with mltrack.start_run() as run:
        log(run, 0, before)
        if before:
            pushed(store, there, fake)
        log(run, before, POINTS)
        foreseen = push(store, there, dry_run=True)
        assert pushed(store, there, fake).points == foreseen.points
    foreseen = push(store, there, dry_run=True)
    sent = pushed(store, there, fake)
    assert (sent.points, sent.runs) == (foreseen.points, foreseen.runs)
    assert read_ledger(store, there).runs[run.run_id].sampled.history == N
    assert push(store, there, dry_run=True).points == 0

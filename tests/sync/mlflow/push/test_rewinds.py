"""Rewinds and forks on an MLflow server: what does not count is not there, and what counts is there once."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest

import mltrack
from mltrack.environment import RUN_ID_TAG
from mltrack.recording.run import Run
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.remotes.ledgers import ledger_path, read_ledger
from tests.support.fake_mlflow import FakeMlflow
from tests.support.killing import killed_at_requests
from tests.support.proxy import FaultyProxy
from tests.support.server import MlflowServer
from tests.support.syncers import Syncers


def log(run: Run, *steps: int, value: float = 0.0) -> None:
    for step in steps:
        run.log_metric("loss", value + step / 8, step)


def recorded(count: int, **options: Any) -> str:
    with mltrack.start_run(**options) as run:
        run.log_param("lr", 0.1)
        log(run, *range(count))
    return run.run_id


class Sides:
    """A store and a server in memory."""

    def __init__(self, store: Store, remote: Remote, fake: FakeMlflow) -> None:
        self.store, self.remote, self.fake = store, remote, fake

    def push(self, **options: Any) -> Any:
        report = push(self.store, self.remote, http=self.fake, **options)
        assert report.complete, report
        return report

    def assert_equal(self) -> None:
        report = verify(self.store, self.remote, http=self.fake)
        assert report.differences == ()
        assert self.push().requests == 0

    def entry(self, run_id: str) -> Any:
        return read_ledger(self.store, self.remote).runs[run_id]


@pytest.fixture
def sides(store: Store, there: Remote, fake: FakeMlflow) -> Sides:
    return Sides(store, there, fake)


def test_what_was_not_sent_yet_never_goes(sides: Sides) -> None:
    run = mltrack.start_run()
    log(run, *range(5))
    sides.push()
    remote_id = sides.entry(run.run_id).remote_id
    log(run, 5, 6, 7, 8, 9)
    run.rewind(6)
    log(run, 7, value=1.0)
    assert sides.push().points == 3
    assert sides.entry(run.run_id).remote_id == remote_id
    run.end()
    sides.push()
    sides.assert_equal()


def test_a_run_with_points_that_no_longer_count_is_made_again_and_the_former_one_deleted(sides: Sides) -> None:
    run_id = recorded(10)
    sides.push()
    former = sides.entry(run_id).remote_id
    sides.store.rewind_run(run_id, 5)
    report = sides.push()
    entry = sides.entry(run_id)
    assert (entry.former, entry.replaced, report.points) == ([], [former], 6)
    assert entry.remote_id != former
    sides.assert_equal()
    old = sides.fake.runs[former]
    assert old.info["lifecycle_stage"] == "deleted"
    assert RUN_ID_TAG not in old.tags


def test_points_that_count_again_are_sent(sides: Sides) -> None:
    run_id = recorded(10)
    sides.store.rewind_run(run_id, 5)
    assert sides.push().points == 6
    remote_id = sides.entry(run_id).remote_id
    with mltrack.start_run(run_id=run_id) as run:
        log(run, 6, value=1.0)
    sides.push()
    sides.store.undo_rewind(run_id)
    assert sides.push().points == 4
    assert sides.entry(run_id).remote_id == remote_id
    sides.assert_equal()


def test_a_rewind_of_nothing_that_was_sent_costs_no_run(sides: Sides) -> None:
    run_id = recorded(10)
    sides.push()
    remote_id = sides.entry(run_id).remote_id
    sides.store.rewind_run(run_id, 20)
    sides.push()
    sides.store.undo_rewind(run_id)
    sides.push()
    assert sides.entry(run_id).remote_id == remote_id
    sides.assert_equal()


def test_a_rewind_that_is_undone_before_the_next_push_changes_nothing(sides: Sides) -> None:
    run_id = recorded(10)
    sides.push()
    remote_id = sides.entry(run_id).remote_id
    sides.store.rewind_run(run_id, 2)
    sides.store.undo_rewind(run_id)
    assert sides.push().points == 0
    assert sides.entry(run_id).remote_id == remote_id
    sides.assert_equal()


def test_a_fork_arrives_whole(sides: Sides) -> None:
    parent = recorded(10)
    with mltrack.fork_run(parent, 5) as fork:
        log(fork, 6, 7, value=1.0)
    with mltrack.fork_run(fork.run_id, 6) as second:
        log(second, 7, value=2.0)
    assert sides.push().points == 10 + 8 + 8
    sides.assert_equal()
    sides.store.rewind_run(second.run_id, 3)
    assert sides.push().points == 4
    sides.assert_equal()
    sides.store.rewind_run(parent, 1)
    sides.push()
    sides.assert_equal()


def test_runs_that_name_it_as_their_parent_follow(sides: Sides) -> None:
    with mltrack.start_run() as run:
        log(run, *range(10))
        with mltrack.start_run(nested=True) as child:
            log(child, 1)
    sides.push()
    sides.store.rewind_run(run.run_id, 5)
    sides.push()
    sides.assert_equal()
    assert (
        sides.fake.runs[sides.entry(child.run_id).remote_id].tags["mlflow.parentRunId"]
        == sides.entry(run.run_id).remote_id
    )


@pytest.mark.parametrize("before", [True, False])
def test_a_lost_ledger_costs_a_comparison(sides: Sides, before: bool) -> None:
    run_id = recorded(10)
    sides.push()
    if before:
        ledger_path(sides.store, sides.remote).unlink()
    sides.store.rewind_run(run_id, 5)
    sides.push()
    if not before:
        ledger_path(sides.store, sides.remote).unlink()
        sides.push()
    sides.assert_equal()


@pytest.mark.slow
def test_a_sampled_history_is_chosen_again(sides: Sides) -> None:
    with mltrack.start_run(history=200) as run:
        run.log_series("noise", [(step * 7919) % 1009 for step in range(6000)])
    with mltrack.fork_run(run.run_id, 3000, history=200) as fork:
        fork.log_series("noise", [1.0] * 50, list(range(3001, 3051)))
    sides.push()
    sides.assert_equal()
    sides.store.rewind_run(run.run_id, 2000)
    sides.store.rewind_run(fork.run_id, 2000)
    sides.push()
    sides.assert_equal()
    sides.store.undo_rewind(run.run_id)
    sides.push()
    sides.assert_equal()


def test_a_deleted_run_that_was_to_be_made_again_is_deleted(sides: Sides) -> None:
    run_id = recorded(10)
    sides.push()
    sides.store.rewind_run(run_id, 5)
    sides.push()
    sides.store.delete_run(run_id)
    sides.push()
    sides.assert_equal()
    assert all(run.info["lifecycle_stage"] == "deleted" for run in sides.fake.runs.values())


def test_a_dry_run_says_what_is_sent(sides: Sides) -> None:
    run_id = recorded(10)
    sides.push()
    sides.store.rewind_run(run_id, 5)
    assert push(sides.store, sides.remote, http=sides.fake, dry_run=True).points == 6
    assert sides.push().points == 6
    sides.store.undo_rewind(run_id)
    assert push(sides.store, sides.remote, http=sides.fake, dry_run=True).points == 4
    assert sides.push().points == 4


def points_of(store: Store, run_id: str) -> Counter[tuple[int, float]]:
    table = store.run(run_id).metrics("loss")
    return Counter(zip(table.column("step").to_pylist(), table.column("value").to_pylist(), strict=True))


def play(store: Store, chance: random.Random, run_ids: list[str], values: Any) -> None:
    """Something happens to one of the runs."""
    run_id = chance.choice(run_ids)
    step = chance.randint(0, 60)
    what = chance.choice(["log", "rewind", "undo", "resume", "fork"])
    if what == "log":
        with mltrack.start_run(run_id=run_id) as run:
            log(run, *range(step, step + 20), value=next(values))
    elif what == "rewind":
        store.rewind_run(run_id, step)
    elif what == "undo" and store.run(run_id).visibility and store.run(run_id).visibility.in_force:  # type: ignore[union-attr]
        store.undo_rewind(run_id)
    elif what == "resume":
        with mltrack.start_run(run_id=run_id, rewind_to=step) as run:
            log(run, *range(step + 1, step + 10), value=next(values))
    elif what == "fork" and len(run_ids) < 6:
        with mltrack.fork_run(run_id, step) as fork:
            log(fork, *range(step + 1, step + 10), value=next(values))
        run_ids.append(fork.run_id)


def killed_around_rewinds(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    remote: Remote,
    experiment: str,
    syncers: Syncers,
    kills: int,
) -> int:
    """Kill syncers while runs are rewound and forked; returns how many. Both sides must be equal now and then."""
    chance, values, killed = random.Random(7), itertools.count(1), 0
    run_ids = [recorded(50), recorded(30)]
    for turn in itertools.count():
        if killed >= kills:
            break
        for _ in range(chance.randint(1, 3)):
            play(store, chance, run_ids, values)
        moments = [(chance.randint(1, 8), chance.random() < 0.5) for _ in range(3)]
        killed += killed_at_requests(syncers, store, remote, proxy, moments)
        if turn % 5 == 4 or killed >= kills:
            assert push(store, remote).complete
            assert verify(store, remote).differences == ()
            on_server = server.runs(experiment, "ACTIVE_ONLY")
            for run_id in run_ids:
                history = server.history(on_server[run_id]["info"]["run_id"], "loss")
                assert Counter((step, value) for step, _, value in history) == points_of(store, run_id)
            assert push(store, remote).requests == 0
    return killed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_syncers_killed_around_rewinds_leave_no_wrong_point(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, syncers: Syncers
) -> None:
    assert killed_around_rewinds(store, server, proxy, spoiled, experiment, syncers, 12) >= 12


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_syncers_killed_two_hundred_times_around_rewinds_leave_no_wrong_point(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, syncers: Syncers
) -> None:
    assert killed_around_rewinds(store, server, proxy, spoiled, experiment, syncers, 200) >= 200

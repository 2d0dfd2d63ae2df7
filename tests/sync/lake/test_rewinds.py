"""Rewinds, undone ones and forks in a lake: it shows what the store shows, in any order, and after any kill."""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import mltrack
from mltrack.disk.layout import Layout
from mltrack.entities import Experiment
from mltrack.errors import NotFoundError
from mltrack.recording.run import Run
from mltrack.recording.starting import create_run, resume_run, start_fork
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.rewinding import rewind_run, undo_rewind
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from tests.support.command_line import Cli
from tests.support.killed_push import KilledPushes

KEYS = ("loss", "acc", "system/cpu")
QUERIES = (
    "SELECT * FROM metrics ORDER BY ALL",
    "SELECT * FROM latest_metrics ORDER BY run_id, key",
    "SELECT key, count(*) AS n, max(step) AS s FROM metrics WHERE key = 'loss' GROUP BY ALL",
)

_which = st.integers(0, 5)
_steps = st.integers(-3, 12)
_operations = st.one_of(
    st.tuples(st.just("log"), _which, st.sampled_from(KEYS), st.lists(_steps, min_size=1, max_size=6)),
    st.tuples(st.just("log"), _which, st.just("loss"), st.just(list(range(8)))),
    st.tuples(st.just("rewind"), _which, _steps),
    st.tuples(st.just("rewind_and_resume"), _which, _steps),
    st.tuples(st.just("undo"), _which),
    st.tuples(st.just("fork"), _which, _steps),
    st.tuples(st.just("end"), _which),
    st.tuples(st.just("push"), _which),
    st.tuples(st.just("forget"), _which),
)

KILLS = int(os.environ.get("MLTRACK_TEST_LAKE_KILLS", "60"))
"""As many as CI has time for; 200 are run by hand."""


class Player:
    """Does things to the runs of a store, which pushes them to a lake."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout.open_or_create(folder / ".mltrack", now_ns=1)
        self.store = Store(self.layout)
        self.remote = Remotes(self.store).add("lake", f"delta:{folder / 'lake'}")
        self.values = itertools.count(1)
        first = create_run(self.layout, Experiment("0", "Default"), {})
        self.ids, self.open = [first.run_id], {first.run_id: first}

    def play(self, operation: tuple[Any, ...]) -> None:
        name, which, *rest = operation
        getattr(self, name)(self.ids[which % len(self.ids)], *rest)

    def recording(self, run_id: str, rewind_to: int | None = None) -> Run:
        if run_id not in self.open:
            self.open[run_id] = resume_run(self.layout, run_id, {}, rewind_to=rewind_to)
        return self.open[run_id]

    def log(self, run_id: str, key: str, steps: list[int]) -> None:
        for step in steps:
            self.recording(run_id).log_metric(key, float(next(self.values)), step)

    def rewind(self, run_id: str, step: int) -> None:
        rewind_run(self.layout, run_id, step)

    def rewind_and_resume(self, run_id: str, step: int) -> None:
        self.end(run_id)
        self.recording(run_id, step)

    def undo(self, run_id: str) -> None:
        visibility = self.store.run(run_id).visibility
        if visibility is not None and visibility.in_force:
            undo_rewind(self.layout, run_id)

    def fork(self, run_id: str, step: int) -> None:
        run = start_fork(self.layout, run_id, step, {})
        self.ids.append(run.run_id)
        self.open[run.run_id] = run

    def end(self, run_id: str) -> None:
        if run_id in self.open:
            self.open.pop(run_id).end()

    def push(self, _: str) -> None:
        assert push(self.store, self.remote).complete
        self.compare()
        again = push(self.store, self.remote)
        assert (again.runs, again.points, again.bytes) == (0, 0, 0)

    def forget(self, run_id: str) -> None:
        """The ledger is lost: what the lake has is found out, and not sent again."""
        self.push(run_id)
        (self.store.path / "remotes" / "lake" / "ledger.jsonl").unlink()
        assert push(self.store, self.remote).points == 0
        self.compare()

    def close(self) -> None:
        for run_id in list(self.open):
            self.end(run_id)

    def compare(self) -> None:
        assert_shows_the_same(self.store, self.remote)
        found = verify(self.store, self.remote)
        assert found.differences == ()
        assert found.points == sum(self.store.run(run_id).point_count for run_id in self.store.run_ids())


def assert_shows_the_same(store: Store, remote: Remote) -> None:
    """Views, searches and points of the lake are those of the store."""
    with mltrack.Lake(remote.url) as lake:
        for query in QUERIES:
            assert repr(lake.sql(query).to_pylist()) == repr(store.sql(query).to_pylist())
        for run_id in store.run_ids():
            here, far = store.run(run_id), lake.run(run_id)
            assert far.data.metrics == here.data.metrics
            assert points(far.metrics()) == points(here.metrics())
            for key in KEYS:
                if key in here.summaries:
                    assert points(far.metrics(key)) == points(here.metrics(key))
                else:
                    with pytest.raises(NotFoundError):
                        far.metrics(key)


def points(table: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist()
    return sorted(rows, key=repr)


def assert_comes_back(store: Store, remote: Remote, folder: Path) -> None:
    """A pull into a new store gives the same runs, with the same rewinds; nothing is to be sent from there."""
    other = Store.create(folder)
    there = Remotes(other).add("lake", remote.url)
    said = pull(other, there, dry_run=True)
    report = pull(other, there)
    assert report.complete
    assert (report.runs, report.points) == (said.runs, said.points)
    assert sorted(other.run_ids()) == sorted(store.run_ids())
    for run_id in store.run_ids():
        a, b = store.run(run_id), other.run(run_id)
        assert points(a.metrics()) == points(b.metrics())
        assert a.summaries == b.summaries
        assert a.visibility == b.visibility
    assert check_store(other.path).findings == []
    assert_shows_the_same(other, there)
    assert (pull(other, there).runs, push(other, there).points) == (0, 0)


def play_all(folder: Path, operations: list[tuple[Any, ...]]) -> None:
    player = Player(folder)
    for operation in operations:
        player.play(operation)
    player.close()
    player.push("")
    assert_comes_back(player.store, player.remote, folder / "other")


@pytest.mark.slow
def test_a_lake_shows_what_the_store_shows(tmp_path: Path) -> None:
    every = list(range(20))
    play_all(
        tmp_path,
        [
            ("log", 0, "loss", every),
            ("log", 0, "system/cpu", every),
            ("push", 0),
            ("rewind_and_resume", 0, 9),
            ("log", 0, "loss", every[10:15]),
            ("fork", 0, 12),
            ("log", 1, "loss", every[13:]),
            ("push", 0),
            ("rewind", 0, 3),
            ("rewind", 1, 5),
            ("fork", 1, 4),
            ("forget", 0),
            ("undo", 0),
            ("undo", 1),
            ("log", 2, "acc", every),
        ],
    )


@pytest.mark.slow
@settings(max_examples=8, deadline=None, phases=[Phase.reuse, Phase.generate])
@given(st.lists(_operations, min_size=4, max_size=24))
def test_in_any_order_a_lake_shows_what_the_store_shows(operations: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        play_all(Path(folder), operations)


@pytest.mark.slow
def test_a_rewind_and_its_undo_send_rows_and_no_points(tmp_path: Path) -> None:
    player = Player(tmp_path)
    player.log(player.ids[0], "loss", list(range(50)))
    player.push("")
    assert not (tmp_path / "lake" / "rewinds").exists()
    before = DeltaTable(str(tmp_path / "lake" / "points")).version()
    player.rewind(player.ids[0], 10)
    player.push("")
    player.undo(player.ids[0])
    player.push("")
    player.close()
    assert DeltaTable(str(tmp_path / "lake" / "points")).version() == before
    assert DeltaTable(str(tmp_path / "lake" / "rewinds")).to_pyarrow_table().num_rows == 2


@pytest.mark.slow
def test_a_selected_fork_takes_the_runs_it_was_forked_from_along(tmp_path: Path, cli: Cli) -> None:
    player = Player(tmp_path)
    player.log(player.ids[0], "loss", list(range(50)))
    other = create_run(player.layout, Experiment("0", "Default"), {})
    other.end()
    player.fork(player.ids[0], 30)
    player.rewind(player.ids[0], 5)
    player.close()
    fork = Selection(runs=(player.ids[1],))
    assert push(player.store, player.remote, dry_run=True, selection=fork).runs == 2
    assert push(player.store, player.remote, selection=fork).runs == 2
    mine = Store.create(tmp_path / "mine")
    assert pull(mine, Remotes(mine).add("lake", player.remote.url), selection=fork).complete
    assert sorted(mine.run_ids()) == sorted(player.ids)
    assert points(mine.run(player.ids[1]).metrics()) == points(player.store.run(player.ids[1]).metrics())
    assert mine.run(player.ids[0]).point_count == 6
    assert cli("--store", str(mine.path), "verify", "lake", "--run", player.ids[1]).code == 0


@pytest.mark.slow
def test_a_rewind_comes_though_as_much_was_changed_here(tmp_path: Path) -> None:
    player = Player(tmp_path)
    run_id = player.ids[0]
    player.log(run_id, "loss", list(range(20)))
    player.close()
    player.push("")
    other = Store.create(tmp_path / "other")
    there = Remotes(other).add("lake", player.remote.url)
    pull(other, there)
    rewind_run(other.layout, run_id, 15)
    rewind_run(player.layout, run_id, 5)
    player.push("")
    assert pull(other, there).runs == 1
    assert other.run(run_id).point_count == 6
    assert push(other, there).points == 0
    assert pull(player.store, player.remote).runs == 1
    for store in (other, player.store):
        assert_shows_the_same(store, there)


# --- kills ---


@pytest.fixture(scope="module")
def killed() -> Iterator[KilledPushes]:
    pushes = KilledPushes()
    try:
        yield pushes
    finally:
        pushes.close()


def kill_again_and_again(folder: Path, killed: KilledPushes, times: int) -> None:
    """Between kills runs are rewound, forked and logged to; now and then a push comes to its end."""
    chance, player, deaths, tried = random.Random(17), Player(folder), 0, 0
    while deaths < times:
        tried += 1
        run_id = chance.choice(player.ids)
        change = chance.choice(["log", "log", "rewind", "rewind_and_resume", "undo", *["fork"] * (len(player.ids) < 4)])
        if change == "log":
            player.log(run_id, chance.choice(KEYS), [chance.randint(0, 30) for _ in range(20)])
        elif change == "undo":
            player.undo(run_id)
        else:
            getattr(player, change)(run_id, chance.randint(0, 30))
        deaths += killed.push(player.store, "lake", chance.randint(1, 40), arrives=chance.random() < 0.5)
        if tried % 10 == 0:
            player.push("")
    player.close()
    player.push("")
    assert_comes_back(player.store, player.remote, folder / "other")


@pytest.mark.slow
def test_killed_around_rewinds_the_lake_shows_what_the_store_shows(tmp_path: Path, killed: KilledPushes) -> None:
    kill_again_and_again(tmp_path, killed, 12)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_many_times_around_rewinds(tmp_path: Path, killed: KilledPushes) -> None:
    kill_again_and_again(tmp_path, killed, KILLS)

"""Rewinds and forks: every reader returns what a model in plain Python says, in any order of what happens."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mltrack
from mltrack.catalog.export import export_points
from mltrack.disk.fields import STEP_MAX
from mltrack.disk.layout import Layout
from mltrack.disk.segment_file import GroupRange
from mltrack.entities import Experiment
from mltrack.errors import CorruptionError, InvalidMetricError, NotFoundError, RunStateError, UsageError
from mltrack.recording.run import Run
from mltrack.recording.starting import create_run, resume_run, start_fork
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.rewinding import rewind_run, undo_rewind
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.storage.runs.visibility import Hidden, PointRule
from mltrack.store import Store
from tests.support.rewind_model import ModelRun, latest_of

KEYS = ("loss", "acc", "system/cpu")
LONG = 4_100
"""So many points are sealed at a writer's end."""
LONGS_MAX = 2

_which = st.integers(0, 5)
_steps = st.integers(-3, 12)
_operations = st.one_of(
    st.tuples(st.just("log"), _which, st.sampled_from(KEYS), st.lists(_steps, min_size=1, max_size=4)),
    st.tuples(st.just("long"), _which, st.sampled_from(KEYS[:2]), _steps),
    st.tuples(st.just("rewind"), _which, st.sampled_from(["run", "store", "resume"]), _steps),
    st.tuples(st.just("undo"), _which),
    st.tuples(st.just("fork"), _which, _steps),
    st.tuples(st.just("resume"), _which),
    st.tuples(st.just("end"), _which),
    st.tuples(st.just("look"), _which),
)


class Player:
    """Does the same to real runs and to the model, and compares what readers return."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout.open_or_create(folder / ".mltrack", now_ns=1)
        self.store = Store(self.layout)
        self.values = itertools.count(1)
        self.longs = 0
        self.open: list[Run | None] = [create_run(self.layout, Experiment("0", "Default"), {})]
        self.ids = [self.open[0].run_id] if self.open[0] else []
        self.models = [ModelRun()]
        self.held = [StoredRun(self.layout.run(self.ids[0]))]

    def play(self, operation: tuple[Any, ...]) -> None:
        name, which, *rest = operation
        getattr(self, name)(which % len(self.ids), *rest)

    def recording(self, at: int) -> Run:
        """The run, resumed if it is not open."""
        run = self.open[at]
        if run is None:
            run = self.open[at] = resume_run(self.layout, self.ids[at], {})
        return run

    def log(self, at: int, key: str, steps: list[int]) -> None:
        for step in steps:
            value = float(next(self.values))
            self.recording(at).log_metric(key, value, step)
            self.models[at].log(key, step, value)

    def long(self, at: int, key: str, step: int) -> None:
        if self.longs >= LONGS_MAX:
            return
        self.longs += 1
        steps = np.arange(step, step + LONG)
        values = np.array([float(next(self.values)) for _ in range(LONG)])
        self.recording(at).log_series(key, values, steps)
        for one, value in zip(steps.tolist(), values.tolist(), strict=True):
            self.models[at].log(key, one, value)

    def rewind(self, at: int, how: str, step: int) -> None:
        if how == "run":
            self.recording(at).rewind(step)
        elif how == "store":
            rewind_run(self.layout, self.ids[at], step)
        else:
            self.end(at)
            self.open[at] = resume_run(self.layout, self.ids[at], {}, rewind_to=step)
        self.models[at].rewind(step)

    def undo(self, at: int) -> None:
        if self.models[at].in_force:
            undo_rewind(self.layout, self.ids[at])
            self.models[at].undo()
        else:
            with pytest.raises(UsageError, match="no rewind to undo"):
                undo_rewind(self.layout, self.ids[at])

    def fork(self, at: int, step: int) -> None:
        run = start_fork(self.layout, self.ids[at], step, {})
        self.open.append(run)
        self.ids.append(run.run_id)
        self.models.append(self.models[at].fork(step))
        self.held.append(StoredRun(self.layout.run(run.run_id)))

    def resume(self, at: int) -> None:
        self.end(at)
        self.recording(at)

    def end(self, at: int) -> None:
        run = self.open[at]
        if run is not None:
            run.end()
        self.open[at] = None

    def look(self, at: int) -> None:
        """Readers that were open before, and new ones."""
        self.held[at].refresh()
        self.compare(self.held[at], self.models[at])
        self.compare(StoredRun(self.layout.run(self.ids[at])), self.models[at])
        self.compare_catalog(self.store)

    def compare(self, run: StoredRun, model: ModelRun) -> None:
        wanted = model.by_key()
        assert rows(run) == {key: Counter(found) for key, found in wanted.items()}
        assert set(run.summaries) == set(wanted)
        for key, found in wanted.items():
            table = run.metrics(key)
            mine = zip(table.column("step").to_pylist(), table.column("value").to_pylist(), strict=True)
            assert list(mine) == found
            summary, values = run.summaries[key], [value for _, value in found]
            assert summary.value == latest_of(found)
            assert (summary.min, summary.max, summary.count) == (min(values), max(values), len(values))
        assert run.metrics().num_rows == run.point_count == sum(map(len, wanted.values()))
        for key in set(KEYS) - wanted.keys():
            with pytest.raises(NotFoundError):
                run.metrics(key)
        assert not run.damage

    def compare_catalog(self, store: Store) -> None:
        found = {record.run_id: record.data.metrics for record in store.search_runs()}
        table = store.sql("SELECT run_id, key, count(*), sum(value), sum(step) FROM metrics GROUP BY ALL").to_pydict()
        points = {(run_id, key): tuple(rest) for run_id, key, *rest in zip(*table.values(), strict=True)}
        latest = store.sql("SELECT run_id, key, count FROM latest_metrics").to_pylist()
        counts = {(row["run_id"], row["key"]): row["count"] for row in latest}
        heads = store.heads()
        sums, numbers = {}, {}
        for run_id, model in zip(self.ids, self.models, strict=True):
            wanted = model.by_key()
            assert found[run_id] == {key: latest_of(mine) for key, mine in wanted.items()}
            for key, mine in wanted.items():
                numbers[run_id, key] = len(mine)
                sums[run_id, key] = (len(mine), sum(value for _, value in mine), sum(step for step, _ in mine))
            assert heads[run_id] == StoredRun(self.layout.run(run_id)).head()
        assert (points, counts) == (sums, numbers)


def rows(run: StoredRun) -> dict[str, Counter[tuple[int, float]]]:
    found: dict[str, Counter[tuple[int, float]]] = {}
    for _, piece in run.read_points():
        for code, step, value in zip(piece.codes.tolist(), piece.steps.tolist(), piece.values.tolist(), strict=True):
            found.setdefault(piece.keys[code], Counter())[step, value] += 1
    return found


@pytest.mark.slow
@settings(max_examples=4)
@given(st.lists(_operations, min_size=5, max_size=12))
def test_every_reader_returns_what_the_model_says(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[Any, ...]]
) -> None:
    _play(tmp_path_factory, operations)


@pytest.mark.slow
@pytest.mark.timeout(900)  # each example syncs to the disk hundreds of times
@settings(max_examples=40)
@given(st.lists(_operations, min_size=5, max_size=25))
def test_every_reader_returns_what_the_model_says_of_many_stores(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[Any, ...]]
) -> None:
    _play(tmp_path_factory, operations)


def _play(tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as folder:
        player = Player(Path(folder))
        try:
            for operation in operations:
                player.play(operation)
            for at in range(len(player.ids)):
                player.look(at)
        finally:
            for at in range(len(player.ids)):
                player.end(at)
        for at in range(len(player.ids)):
            player.look(at)
        fresh = Store(player.layout)
        fresh.refresh(full=True)
        player.compare_catalog(fresh)
        assert not check_store(player.layout.root).findings
        exported = Path(folder) / "points.parquet"
        export_points(fresh.runs(), exported)
        table: pa.Table = pq.read_table(exported)
        assert Counter(table.column("run_id").to_pylist()) == Counter(
            {i: len(model.counting()) for i, model in zip(player.ids, player.models, strict=True) if model.counting()}
        )


# --- single cases ---


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    mltrack.set_store(tmp_path / ".mltrack")
    return Layout.open_or_create(tmp_path / ".mltrack", now_ns=1)


def steps(run: StoredRun, key: str = "loss") -> list[int]:
    found: list[int] = run.metrics(key).column("step").to_pylist()
    return found


def logged(count: int, **options: Any) -> str:
    with mltrack.start_run(**options) as run:
        for step in range(count):
            run.log_metric("loss", 1.0 / (step + 1), step)
    return run.run_id


def test_a_job_that_resumes_from_a_checkpoint_continues_after_it(layout: Layout) -> None:
    run_id = logged(10)
    with mltrack.start_run(run_id=run_id, rewind_to=4) as run:
        run.log({"loss": 7.0})
        run.log({"loss": 8.0})
    stored = mltrack.get_run(run_id)
    assert steps(stored) == [0, 1, 2, 3, 4, 5, 6]
    assert stored.summaries["loss"].value == 8.0
    assert stored.point_count == 7
    assert stored.head().points == 12


def test_only_the_first_process_of_a_job_rewinds(layout: Layout) -> None:
    run_id = logged(10)
    first = resume_run(layout, run_id, {}, rewind_to=4)
    first.log_metric("loss", 7.0, 5)
    second = resume_run(layout, run_id, {}, rewind_to=4)  # rank 1 comes a little later
    second.log_metric("loss", 8.0, 5)
    assert steps(mltrack.get_run(run_id)) == [0, 1, 2, 3, 4, 5, 5]
    first.end()
    second.end()
    third = resume_run(layout, run_id, {}, rewind_to=4)  # the job failed, and starts again from the same checkpoint
    third.end()
    assert steps(mltrack.get_run(run_id)) == [0, 1, 2, 3, 4]
    assert [rewind.undone for rewind in third.stored().visibility.rewinds] == [False, False]  # type: ignore[union-attr]


def test_row_groups_of_which_a_rewind_hides_all_are_not_read(layout: Layout) -> None:
    with create_run(layout, Experiment("0", "Default"), {}) as run:
        for step in range(60_000):
            run.log_metric("loss", float(step), step)
    rewind_run(layout, run.run_id, 100)
    segment = next(layout.run(run.run_id).segments.iterdir())
    last = pq.read_metadata(segment).row_group(1).column(4)
    with open(segment, "r+b") as file:
        file.seek(last.data_page_offset + 100)
        file.write(b"damaged here")
    stored = StoredRun(layout.run(run.run_id))
    assert stored.metrics("loss").num_rows == stored.metrics().num_rows == stored.point_count == 101
    undo_rewind(layout, run.run_id)
    with pytest.raises(CorruptionError):
        StoredRun(layout.run(run.run_id)).metrics("loss")


def test_positions_of_a_parent_that_went_on_past_a_fork_need_not_be_read(layout: Layout) -> None:
    with create_run(layout, Experiment("0", "Default"), {}) as run:
        for step in range(60_000):
            run.log_metric("loss", float(step), step)
    start_fork(layout, run.run_id, 50_000, {}).end()
    fork = next(stored for stored in Store(layout).runs() if stored.run_id != run.run_id)
    assert fork.visibility is not None
    (inherited,) = fork.visibility.inherited.values()
    assert (inherited.points, inherited.seen) == (50_001, 60_000)
    segment = next(layout.run(run.run_id).segments.iterdir())
    positions = pq.read_metadata(segment).row_group(1).column(1)
    with open(segment, "r+b") as file:
        file.seek(positions.data_page_offset + positions.total_compressed_size // 2)
        file.write(b"damaged here")
    assert steps(StoredRun(fork.folder)) == list(range(50_001))
    with pytest.raises(CorruptionError):
        StoredRun(fork.folder).metrics()


@given(
    st.lists(_steps, min_size=1, max_size=30), st.lists(st.tuples(_steps, st.integers(0, 40)), max_size=4), st.data()
)
def test_steps_alone_tell_what_counts_only_where_they_do(
    logged: list[int], rewinds: list[tuple[int, int]], data: st.DataObject
) -> None:
    seqs, values = np.arange(len(logged)), np.array(logged)
    hidden = [Hidden(end, step) for step, end in rewinds]
    rule = PointRule(hidden)
    for step in data.draw(st.lists(_steps, min_size=1, max_size=3)):  # forks of forks
        counting = rule.counting(seqs, values)
        counts = (values <= step) if counting is None else counting & (values <= step)
        end = int(np.flatnonzero(counts).max(initial=-1)) + 1
        if not end:
            return
        hidden.append(Hidden(end, step))
        least = min(one.step for one in PointRule(hidden).hidden)
        beyond = np.flatnonzero((values <= least) & (seqs >= end))
        rule = PointRule(hidden, end=end, seen=int(beyond[0]) if len(beyond) else len(logged))
    rule = PointRule([*hidden, *data.draw(st.just([]) | st.just([Hidden(end, 3)]))], rule.end, rule.seen)
    for first, last in itertools.combinations(range(len(logged) + 1), 2):
        part, of = seqs[first:last], values[first:last]
        limit = rule.step_limit(GroupRange("a", "a", first, last - 1, int(of.min()), int(of.max())))
        counting = rule.counting(part, of)
        if limit is not None and not rule.hides_all(
            GroupRange("a", "a", first, last - 1, int(of.min()), int(of.max()))
        ):
            assert ((of <= limit) == (True if counting is None else counting)).all()


READING = """
import sys
from mltrack.store import Store

for run in Store.open(sys.argv[1]).runs():
    assert len(run.metrics("loss")) == len(run.metrics()) == len(run.columns("loss")[0]) == run.summaries["loss"].count
    run.metric_bounds("loss")
    try:
        run.metrics("lost")
    except LookupError:
        pass
    print(run.point_count, "pandas" in sys.modules)
"""


def test_points_are_read_without_pandas_which_takes_a_good_part_of_a_second(layout: Layout) -> None:
    with create_run(layout, Experiment("0", "Default"), {}) as run:
        for step in range(LONG):
            run.log_metric("loss", 1.0, step)
    start_fork(layout, run.run_id, 4, {}).end()
    rewind_run(layout, run.run_id, 6)
    done = subprocess.run([sys.executable, "-c", READING, layout.root], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == ["5 False", "7 False"]


def test_row_groups_that_may_have_system_metrics_are_read() -> None:
    rewound, forked = PointRule([Hidden(100, 5)]), PointRule([Hidden(100, 5)], end=100)
    assert rewound.hides_all(GroupRange("acc", "loss", 0, 99, 6, 9))
    assert not rewound.hides_all(GroupRange("loss", "val", 0, 99, 6, 9))  # what lies between may be a system metric's
    assert not rewound.hides_all(GroupRange("system/cpu", "system/cpu", 0, 99, 6, 9))
    assert forked.hides_all(GroupRange("system/cpu", "system/cpu", 0, 99, 6, 9))
    assert forked.hides_all(GroupRange("acc", "loss", 100, 120, 0, 9))
    assert not rewound.hides_all(GroupRange("acc", "loss", 0, 100, 6, 9))
    assert not rewound.hides_all(GroupRange("acc", "loss", 0, 99, 5, 9))


def test_bounds_tell_up_to_which_step_the_rows_of_a_row_group_count() -> None:
    rule = PointRule([Hidden(100, 5), Hidden(300, 8)], end=200)
    limits = {(first, last): rule.step_limit(GroupRange("a", "a", first, last, 0, 9)) for first, last in RANGES}
    assert limits == {(0, 99): 5, (0, 100): None, (100, 199): 8, (100, 200): None}
    assert rule.step_limit(GroupRange("a", "a", 0, 100, 0, 5)) == 8  # no row is hidden by either
    assert PointRule([Hidden(100, 5)]).step_limit(GroupRange("a", "a", 100, 200, 0, 9)) == STEP_MAX


RANGES = [(0, 99), (0, 100), (100, 199), (100, 200)]


def test_rewind_to_is_for_a_run_that_is_resumed(layout: Layout) -> None:
    with pytest.raises(UsageError, match="for a run that is resumed"):
        mltrack.start_run(rewind_to=4)
    assert mltrack.active_run() is None


def test_a_step_that_is_not_an_integer_is_refused(layout: Layout) -> None:
    run_id = logged(3)
    with mltrack.start_run(run_id=run_id) as run:
        for step in (1.5, 1 << 64, "one"):
            with pytest.raises(InvalidMetricError):
                run.rewind(step)  # type: ignore[arg-type]
    with pytest.raises(InvalidMetricError):
        mltrack.fork_run(run_id, 1 << 64)
    assert mltrack.get_run(run_id).visibility is None
    with pytest.raises(RunStateError):
        run.rewind(1)


def test_a_rewind_from_outside_concerns_what_a_live_run_has_logged_until_then(layout: Layout) -> None:
    run = mltrack.start_run()
    for step in range(10):
        run.log_metric("loss", 1.0, step)
    rewind_run(layout, run.run_id, 4)
    run.log_metric("loss", 2.0, 9)
    assert steps(run.stored()) == [0, 1, 2, 3, 4, 9]
    assert run.info.status == "RUNNING"
    run.end()
    assert steps(run.stored()) == [0, 1, 2, 3, 4, 9]


def test_series_of_rich_values_are_rewound_with_the_points(layout: Layout) -> None:
    with mltrack.start_run() as run:
        for step in range(4):
            run.log({"h": mltrack.Histogram([step, 1, 2]), "t": mltrack.Text(str(step))}, step=step)
            run.log({"i": mltrack.Image(np.zeros((4, 4, 3), np.uint8))}, step=step)
        run.rewind(1)
        run.log({"t": mltrack.Text("again")}, step=3)
    stored = mltrack.get_run(run.run_id)
    assert [point.step for point in stored.series("h")] == [0, 1]
    assert [point.step for point in stored.series("t")] == [0, 1, 3]
    assert [point.step for point in stored.series("i")] == [0, 1]
    assert len([a for a in stored.artifacts if a.path.startswith("images/") and a.path.endswith(".png")]) == 4
    table = (stored.folder.artifacts / "series" / "texts" / "t.json").read_text()
    assert ["again" in table, '"2"' in table] == [True, False]


def test_tables_of_series_follow_a_rewind_after_the_end(layout: Layout) -> None:
    with mltrack.start_run() as run:
        for step in range(4):
            run.log({"t": mltrack.Text(f"text {step}")}, step=step)
    store = Store(layout)
    path = run.stored().folder.artifacts / "series" / "texts" / "t.json"
    assert not store.finish_series(run.run_id)
    store.rewind_run(run.run_id, 1)
    assert store.finish_series(run.run_id)
    assert "text 2" not in path.read_text()
    assert not store.finish_series(run.run_id)
    assert store.undo_rewind(run.run_id) == 1
    assert store.finish_series(run.run_id)
    assert "text 2" in path.read_text()
    assert not check_store(layout.root).findings


def test_a_fork_has_its_parents_facts_and_names_it(layout: Layout) -> None:
    with mltrack.start_run(run_name="p", tags={"team": "a", "kept": "1"}, description="why") as parent:
        parent.log_param("lr", 0.1)
        parent.log_input(mltrack.Dataset("d", "1", "local", "x"), context="training")
        for step in range(10):
            parent.log_metric("loss", float(step), step)
    with mltrack.fork_run("p", 4, tags={"team": "b"}) as fork:
        fork.log({"loss": -1.0})
        fork.log_param("lr", 0.1)
        fork.log_param("new", 1)
    stored = mltrack.get_run("p-fork")
    assert stored.run_id == fork.run_id
    assert stored.params == {"lr": "0.1", "new": "1"}
    assert {key: value for key, value in stored.tags.items() if not key.startswith("mlflow.")} == {
        "team": "b",
        "kept": "1",
        "mltrack.forkedFrom": parent.run_id,
        "mltrack.forkedAtStep": "4",
    }
    assert stored.tags["mlflow.note.content"] == "why"
    assert stored.info.parent_run_id is None
    assert [used.dataset.name for used in stored.datasets] == ["d"]
    assert steps(stored) == [0, 1, 2, 3, 4, 5]
    assert next(stored.folder.points.iterdir()).stat().st_size < 200  # its own point only


def test_what_happens_to_the_parent_does_not_change_a_fork(layout: Layout) -> None:
    parent = mltrack.start_run()
    for step in range(10):
        parent.log_metric("loss", float(step), step)
    fork = start_fork(layout, parent.run_id, 6, {})
    parent.log_metric("loss", 0.0, 2)
    rewind_run(layout, parent.run_id, 1)
    parent.end()
    fork.end()
    assert steps(fork.stored()) == [0, 1, 2, 3, 4, 5, 6]
    assert steps(parent.stored()) == [0, 1]
    rewind_run(layout, fork.run_id, 3)
    assert steps(fork.stored()) == [0, 1, 2, 3]


def test_a_run_that_forks_need_is_not_purged(layout: Layout) -> None:
    store = Store(layout)
    parent = logged(10)
    with mltrack.fork_run(parent, 5) as fork:
        pass
    with mltrack.fork_run(fork.run_id, 3) as second:
        pass
    assert store.forks(parent) == sorted([fork.run_id, second.run_id])
    with pytest.raises(RunStateError, match="was forked from"):
        store.purge_run(parent)
    assert store.run(parent).info.lifecycle_stage == "active"
    store.delete_run(parent)
    assert steps(store.run(second.run_id)) == [0, 1, 2, 3]
    with pytest.raises(RunStateError, match="is deleted"):
        mltrack.fork_run(parent, 5)
    store.purge_run(fork.run_id)  # it has no points of its own that the second one needs
    store.purge_run(second.run_id)
    store.purge_run(parent)
    assert store.run_ids() == []


def test_a_fork_without_its_parent_says_what_is_missing(layout: Layout, tmp_path: Path) -> None:
    parent = logged(10)
    with mltrack.fork_run(parent, 5) as fork:
        fork.log({"loss": 1.0})
    layout.run(parent).path.rename(tmp_path / "elsewhere")
    stored = StoredRun(layout.run(fork.run_id))
    assert [step for _, piece in stored.read_points() for step in piece.steps.tolist()] == [6]
    assert [f"copy run {parent}" in error.hint for error in stored.damage] == [True]
    with pytest.raises(CorruptionError, match="was forked from it"):
        stored.metrics("loss")
    [finding] = check_store(layout.root).findings
    assert "is missing" in finding.what
    store = Store(layout)
    assert store.sql("SELECT count(*) AS n FROM metrics").to_pylist() == [{"n": 1}]
    (tmp_path / "elsewhere").rename(layout.run(parent).path)
    assert store.sql("SELECT count(*) AS n FROM metrics WHERE run_id = ?", [fork.run_id]).to_pylist() == [{"n": 7}]
    assert store.search_runs(filter_string="attributes.run_name LIKE '%-fork'")[0].data.metrics == {"loss": 1.0}

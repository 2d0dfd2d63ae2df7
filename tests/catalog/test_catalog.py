"""The catalog is derived and disposable: whatever becomes of its file, searches give what the run folders hold."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from mltrack.catalog.catalog import Catalog
from mltrack.catalog.refresh import MANY_RUNS
from mltrack.catalog.search import RunQuery, RunRecord, find_runs
from mltrack.disk.locks import file_lock
from mltrack.entities import Dataset, DatasetInput
from mltrack.journal.points import SEAL_POINTS_MIN
from mltrack.storage.runs.sealing import seal_dead_writers
from mltrack.store import Store
from tests.support.written_runs import START_MS, write_run


def names(store: Store) -> list[str]:
    return sorted(run.info.run_name for run in store.search_runs(run_view_type="ALL"))


def catalog_file(store: Store) -> Path:
    return store.path / "catalog.duckdb"


@contextmanager
def python(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs ``code`` and is killed at the end; it says so when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


# --- the file --------------------------------------------------------------------------------------------------


def test_a_deleted_catalog_is_rebuilt(empty_store: Store) -> None:
    write_run(empty_store, name="one")
    assert names(empty_store) == ["one"]
    catalog_file(empty_store).unlink()
    assert names(empty_store) == ["one"]
    assert catalog_file(empty_store).exists()


def garbage(file: Path) -> None:
    file.write_bytes(b"no database at all" * 1000)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def scribbled_over(file: Path) -> None:
    size = file.stat().st_size
    with open(file, "r+b") as out:
        for at in range(12288, size, 4096):
            out.seek(at)
            out.write(b"\xff" * 512)


def other_version(file: Path) -> None:
    with duckdb.connect(str(file)) as con:
        con.execute("UPDATE base.meta SET value = '9999' WHERE key = 'version'")


def other_store(file: Path) -> None:
    with duckdb.connect(str(file)) as con:
        con.execute("UPDATE base.meta SET value = 'another' WHERE key = 'store_id'")


def other_tables(file: Path) -> None:
    file.unlink()
    with duckdb.connect(str(file)) as con:
        con.execute("CREATE SCHEMA base; CREATE TABLE base.meta (key INT); CREATE TABLE base.runs (a INT)")


def somebody_elses(file: Path) -> None:
    file.unlink()
    with duckdb.connect(str(file)) as con:
        con.execute("CREATE TABLE runs (a INT)")


def view_that_never_ends(file: Path) -> None:
    with duckdb.connect(str(file)) as con:
        con.execute("DROP VIEW runs; ALTER TABLE base.runs RENAME TO kept")
        con.execute("CREATE VIEW base.runs AS SELECT kept.* FROM base.kept, range(1000000000000)")


def view_of_a_file(file: Path) -> None:
    with duckdb.connect(str(file)) as con:
        con.execute(
            "DROP TABLE base.meta; CREATE VIEW base.meta AS SELECT filename key, content value FROM read_text('/x*')"
        )


def other_types(file: Path) -> None:
    with duckdb.connect(str(file)) as con:
        con.execute("DROP VIEW params; ALTER TABLE base.params ALTER value TYPE INTEGER USING 1")


SPOILT = [garbage, emptied, cut, scribbled_over, other_version, other_store, other_tables, somebody_elses]
SPOILT += [view_that_never_ends, view_of_a_file, other_types]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_damaged_catalog_is_replaced_silently(empty_store: Store, spoil: Callable[[Path], None]) -> None:
    for number in range(8):
        write_run(empty_store, name=f"run {number:02}", params={"p": str(number)}, metrics={"loss": [(0, number)]})
    before = names(empty_store)
    spoil(catalog_file(empty_store))
    assert names(empty_store) == before
    assert [run.info.run_name for run in empty_store.search_runs(filter_string="metrics.loss = 7")] == ["run 07"]
    assert empty_store.sql("SELECT count(*) FROM metrics")[0][0].as_py() == 8
    assert empty_store._index()._memory is None


def test_a_damaged_catalog_is_replaced_when_sql_is_the_first_reader(empty_store: Store) -> None:
    write_run(empty_store, name="one", metrics={"loss": [(0, 1.0)]})
    empty_store.refresh()
    scribbled_over(catalog_file(empty_store))
    assert empty_store.sql("SELECT run_name FROM runs").to_pydict() == {"run_name": ["one"]}


HOLD = """
import sys, duckdb
con = duckdb.connect(sys.argv[1])
con.execute("CREATE OR REPLACE TABLE mine AS SELECT 1")
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_catalog_that_another_tool_holds_open_is_answered_from_memory(empty_store: Store) -> None:
    write_run(empty_store, name="one")
    assert names(empty_store) == ["one"]
    with python(HOLD, catalog_file(empty_store)):
        assert names(empty_store) == ["one"]
        write_run(empty_store, name="two", metrics={"loss": [(0, 1.0)]})
        assert names(empty_store) == ["one", "two"]
        assert empty_store.sql("SELECT count(*) FROM metrics")[0][0].as_py() == 1
        assert len(os.listdir(empty_store.layout.changed)) == 1  # left for the catalog on disk
    assert names(empty_store) == ["one", "two"]
    assert os.listdir(empty_store.layout.changed) == []


def test_a_catalog_that_this_process_holds_open_is_answered_from_memory(empty_store: Store) -> None:
    write_run(empty_store, name="one")
    empty_store.refresh()
    with duckdb.connect(str(catalog_file(empty_store))):
        assert names(empty_store) == ["one"]


def test_if_the_lock_is_not_free_in_time_the_answer_comes_from_memory(empty_store: Store) -> None:
    write_run(empty_store, name="one")
    catalog = Catalog(empty_store.layout, empty_store.workspace.experiments, lock_timeout_s=0.01)
    query = RunQuery.parse()
    with file_lock(empty_store.path / "catalog.lock", timeout_s=1):
        assert len(catalog.ask(lambda con: find_runs(con, query, "runs"))) == 1
        write_run(empty_store, name="two")
        assert len(catalog.ask(lambda con: find_runs(con, query, "runs"))) == 2
    write_run(empty_store, name="three")
    assert len(catalog.ask(lambda con: find_runs(con, query, "runs"))) == 3


def test_datasets_are_the_same_from_the_file_and_from_memory(empty_store: Store) -> None:
    used = DatasetInput(Dataset("d", "1", "local", "x", profile="{}"), {"mlflow.data.context": "train", "k": ""})
    write_run(empty_store, datasets=[used, DatasetInput(Dataset("d", "2", "local", "x"))])
    from_file = empty_store.search_runs()
    catalog = Catalog(empty_store.layout, empty_store.workspace.experiments, lock_timeout_s=0.01)
    with file_lock(empty_store.path / "catalog.lock", timeout_s=1):
        from_memory = catalog.ask(lambda con: find_runs(con, RunQuery.parse(), str(empty_store.layout.runs)))
    assert from_memory == from_file
    assert from_file[0].datasets[0] == used


@pytest.fixture
def read_only(empty_store: Store, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Gives the store again, on a real read-only mount."""
    place = tmp_path / "read-only"
    place.mkdir()
    mounted = False

    def mount() -> Store:
        nonlocal mounted
        for options in (["--bind"], ["-o", "remount,ro,bind"]):
            command = ["mount", *options, str(empty_store.path), str(place)]
            done = subprocess.run(command, capture_output=True)
            if done.returncode:
                pytest.skip(f"no read-only mount can be made here: {done.stderr.decode().strip()}")
            mounted = True
        return Store.open(place)

    try:
        yield mount
    finally:
        if mounted:
            subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("has_catalog", [True, False])
def test_a_read_only_store_can_be_searched(
    empty_store: Store, read_only: Callable[[], Store], has_catalog: bool
) -> None:
    write_run(empty_store, name="one", metrics={"loss": [(0, 1.0)]})
    if has_catalog:
        empty_store.refresh()
        write_run(empty_store, name="two", params={"p": "1"})
    reader = read_only()
    with pytest.raises(OSError):
        (reader.path / "probe").touch()
    assert names(reader) == (["one", "two"] if has_catalog else ["one"])
    assert reader.sql("SELECT count(*) FROM metrics")[0][0].as_py() == 1
    write_run(empty_store, name="zzz")  # by someone who may write
    assert names(reader)[-1] == "zzz"


def fill(path: Path) -> None:
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        while True:
            os.write(fd, bytes(4096))
    except OSError:
        pass
    finally:
        os.close(fd)


def test_a_store_on_a_full_disk_can_be_searched(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no small disk can be made here: {done.stderr.decode().strip()}")
    try:
        store = Store.create(place / "store")
        for number in range(20):
            write_run(store, name=f"{number:02}", metrics={"loss": [(0, number)]})
        fill(place / "filler")
        assert len(names(store)) == 20
        assert store.sql("SELECT count(*) AS n FROM metrics").to_pydict() == {"n": [20]}
        assert len(os.listdir(store.layout.changed)) == 20
        (place / "filler").unlink()
        assert len(names(store)) == 20
        assert os.listdir(store.layout.changed) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_the_catalog_holds_no_absolute_path(empty_store: Store, tmp_path: Path) -> None:
    run_id = write_run(empty_store, name="one")
    empty_store.refresh()
    moved = shutil.copytree(empty_store.path, tmp_path / "elsewhere")
    found = Store.open(moved).search_runs()[0]
    assert found.info.artifact_uri == str(moved / "runs" / run_id / "artifacts")
    assert str(empty_store.path).encode() not in (moved / "catalog.duckdb").read_bytes()


# --- what changed ----------------------------------------------------------------------------------------------


def test_new_runs_and_removed_runs_are_noticed(empty_store: Store) -> None:
    one = write_run(empty_store, name="one", params={"p": "1"}, tags={"t": "1"}, metrics={"loss": [(0, 1.0)]})
    assert names(empty_store) == ["one"]
    write_run(empty_store, name="two")
    assert names(empty_store) == ["one", "two"]
    shutil.rmtree(empty_store.layout.run(one).path)
    assert names(empty_store) == ["two"]
    for view in ("params", "tags", "metrics", "latest_metrics"):
        assert empty_store.sql(f"SELECT * FROM {view}").num_rows == 0
    assert list(empty_store.heads()) != [one]


def test_a_mark_is_removed_once_its_writer_is_read_to_the_end(empty_store: Store) -> None:
    write_run(empty_store)
    assert len(os.listdir(empty_store.layout.changed)) == 1
    empty_store.refresh()
    assert os.listdir(empty_store.layout.changed) == []


def test_an_orphaned_mark_is_removed_after_a_day(empty_store: Store) -> None:
    run_id = write_run(empty_store)
    fresh, old = (empty_store.layout.changed / f"{run_id}.{digit * 16}" for digit in "ab")
    gone = empty_store.layout.changed / f"{'0' * 32}.{'c' * 16}"
    for mark in (fresh, old, gone):
        mark.touch()
    for mark in (old, gone):
        os.utime(mark, (0, 0))
    empty_store.refresh()
    assert os.listdir(empty_store.layout.changed) == [fresh.name]


def test_additions_to_a_known_run_are_noticed_by_their_mark(empty_store: Store) -> None:
    run_id = write_run(empty_store, tags={"note": "old"}, metrics={"loss": [(0, 1.0)], "acc": [(0, 0.5)]})
    empty_store.refresh()
    write_run(empty_store, run_id=run_id, role="resume", tags={"note": "new"}, metrics={"loss": [(1, 0.25), (2, 4.0)]})
    found = empty_store.search_runs()[0]
    assert found.data.tags == {"note": "new"}
    assert found.data.metrics == {"loss": 4.0, "acc": 0.5}
    assert latest(empty_store) == {"acc": (0.5, 0, 0.5, 0.5, 1), "loss": (4.0, 2, 0.25, 4.0, 3)}


def latest(store: Store) -> dict[str, tuple[float, ...]]:
    table = store.sql("SELECT key, value, step, min, max, count FROM latest_metrics ORDER BY key")
    return {row[0]: tuple(row[1:]) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)}


def test_additions_that_a_copying_tool_made_without_a_mark_are_noticed(empty_store: Store, tmp_path: Path) -> None:
    run_id = write_run(empty_store, metrics={"loss": [(0, 1.0)]})
    away = shutil.copytree(empty_store.path, tmp_path / "away")
    empty_store.refresh()
    write_run(Store.open(away), run_id=run_id, role="resume", tags={"from": "away"}, metrics={"loss": [(5, 0.5)]})
    for source in (away / "runs" / run_id).rglob("*"):
        if source.is_file():
            target = empty_store.layout.run(run_id).path / source.relative_to(away / "runs" / run_id)
            shutil.copy2(source, target.with_suffix(".part"))
            os.replace(target.with_suffix(".part"), target)
    found = Store(empty_store.layout).search_runs()[0]
    assert found.data.tags == {"from": "away"}
    assert found.data.metrics == {"loss": 0.5}


def test_replacing_a_run_by_another_copy_is_noticed(empty_store: Store, tmp_path: Path) -> None:
    run_id = write_run(empty_store, metrics={"loss": [(0, 1.0)]})
    old = shutil.copytree(empty_store.layout.run(run_id).path, tmp_path / "old")
    write_run(empty_store, run_id=run_id, role="resume", tags={"t": "1"}, metrics={"loss": [(9, 9.0)]})
    empty_store.refresh()
    shutil.rmtree(empty_store.layout.run(run_id).path)
    shutil.copytree(old, empty_store.layout.run(run_id).path)
    found = Store(empty_store.layout).search_runs()[0]
    assert (found.data.tags, found.data.metrics) == ({}, {"loss": 1.0})
    assert empty_store.sql("SELECT value FROM metrics").to_pydict() == {"value": [1.0]}


def test_points_overwritten_in_place_are_noticed_by_a_full_refresh(empty_store: Store) -> None:
    run_id = write_run(empty_store, metrics={"loss": [(0, 1.0)]})
    empty_store.refresh()
    points = next(empty_store.layout.run(run_id).points.iterdir())
    data = bytearray(points.read_bytes())
    data[64 + 16 : 64 + 24] = b"\0" * 8
    points.write_bytes(data)
    empty_store.refresh(full=True)
    assert empty_store.search_runs()[0].data.metrics == {"loss": 0.0}


def test_a_folder_without_a_start_is_not_a_run_until_it_has_one(empty_store: Store) -> None:
    run_id = write_run(empty_store, name="whole", mark=False)
    events = next(empty_store.layout.run(run_id).events.iterdir())
    text = events.read_bytes()
    events.write_bytes(b"")
    assert names(empty_store) == []
    events.write_bytes(text)
    os.utime(events.parent)
    assert names(Store(empty_store.layout)) == ["whole"]


def test_an_unreadable_run_leaves_the_others_usable(empty_store: Store) -> None:
    write_run(empty_store, name="good")
    bad = write_run(empty_store, name="bad", mark=False)
    shutil.rmtree(empty_store.layout.run(bad).events)
    empty_store.layout.run(bad).events.write_text("a file where a folder should be")
    assert names(empty_store) == ["good"]
    assert list(empty_store._index().unreadable) == [bad]


def test_a_renamed_experiment_is_noticed(empty_store: Store) -> None:
    experiment = empty_store.workspace.create("first")
    write_run(empty_store, experiment=(experiment.experiment_id, "first"))
    assert len(empty_store.search_runs(experiment_names=["first"])) == 1
    empty_store.workspace.rename(experiment.experiment_id, "second")
    assert [run.info.experiment_name for run in empty_store.search_runs(experiment_names=["second"])] == ["second"]


def test_sealing_by_another_changes_no_answer(empty_store: Store) -> None:
    many = [(step, float(step)) for step in range(SEAL_POINTS_MIN + 10)]
    run_id = write_run(empty_store, metrics={"loss": many})
    total = sum(value for _, value in many)
    for _ in range(2):
        assert latest(empty_store)["loss"] == (many[-1][1], many[-1][0], 0.0, many[-1][1], len(many))
        assert empty_store.sql("SELECT sum(value), count(*) FROM metrics").to_pylist() == [
            {'sum("value")': total, "count_star()": len(many)}
        ]
        run = empty_store.run(run_id)
        seal_dead_writers(run.folder, run.state)
    assert Store(empty_store.layout).sql("SELECT sum(value) AS s FROM metrics").to_pydict() == {"s": [total]}


# --- live runs, crashed runs, many processes -------------------------------------------------------------------

RECORD = """
import sys, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run(run_name="live")
step = 0
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        run.log_metric("loss", float(step), step=step)
        step += 1
    run.set_tag("steps", str(step))
    print(step, flush=True)
"""


def log(process: subprocess.Popen[str], points: int) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{points}\n")
    process.stdin.flush()
    process.stdout.readline()


def test_a_live_run_is_seen_up_to_the_last_call_that_returned(empty_store: Store) -> None:
    with python(RECORD, empty_store.path) as process:
        for total in (1, 3, 5003):
            log(process, total - sum(head.points for head in empty_store.heads().values()))
            found = empty_store.search_runs(filter_string="status = 'RUNNING'")[0]
            assert found.info.live
            assert found.data.metrics == {"loss": total - 1}
            assert found.data.tags["steps"] == str(total)
            assert empty_store.sql("SELECT count(*) AS n FROM metrics").to_pydict() == {"n": [total]}
            assert empty_store.heads()[found.run_id] == empty_store.run(found.run_id).head()
            assert len(os.listdir(empty_store.layout.changed)) == 1


def test_a_killed_run_shows_as_crashed_with_everything_it_logged(empty_store: Store) -> None:
    with python(RECORD, empty_store.path) as process:
        log(process, 10)
        assert empty_store.search_runs()[0].info.status == "RUNNING"
        log(process, 7)
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = empty_store.search_runs()[0]
    assert (found.info.status, found.info.crashed, found.info.live) == ("FAILED", True, False)
    assert found.data.metrics == {"loss": 16.0}
    assert found.info == empty_store.run(found.run_id).info
    assert empty_store.sql("SELECT count(*) AS n FROM metrics").to_pydict() == {"n": [17]}
    assert os.listdir(empty_store.layout.changed) == []


SEARCH = """
import sys, json
from mltrack.store import Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
seen = [len(store.search_runs()) for _ in range(10)]
print(json.dumps(seen), flush=True)
"""


@pytest.mark.slow
def test_processes_that_refresh_concurrently_all_see_every_run(empty_store: Store) -> None:
    for number in range(60):
        write_run(empty_store, name=f"run {number}", metrics={"loss": [(0, number)]})
    with (
        python(SEARCH, empty_store.path) as one,
        python(SEARCH, empty_store.path) as two,
        python(SEARCH, empty_store.path) as three,
    ):
        for process in (one, two, three):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in (one, two, three):
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == [60] * 10
    assert len(empty_store.search_runs()) == 60
    assert empty_store.sql("SELECT count(*) AS n FROM metrics").to_pydict() == {"n": [60]}


def test_a_forked_child_opens_its_own_catalog(empty_store: Store) -> None:
    write_run(empty_store, name="one")
    with python(HOLD, catalog_file(empty_store)):
        assert names(empty_store) == ["one"]  # so that the parent has a catalog in memory
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, str(len(empty_store.search_runs())).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 10) == b"1"
        os.close(reading)
        os.close(writing)


# --- the same as reading every folder --------------------------------------------------------------------------


@pytest.mark.slow
def test_two_hundred_random_runs_equal_what_their_folders_hold(empty_store: Store) -> None:
    draw = random.Random(11)
    ids: list[str] = []
    for number in range(200):
        resumed = draw.choice(ids) if ids and draw.random() < 0.2 else None
        keys = draw.sample(["loss", "acc", "größe", "x/y"], draw.randrange(4))
        run_id = write_run(
            empty_store,
            run_id=resumed,
            role="resume" if resumed else "create",
            name=f"run {number % 50}",
            params={} if resumed else {key: str(draw.randrange(5)) for key in ("a", "b")},
            tags={"t": str(draw.randrange(3)), "lone": "\ud800"} if draw.random() < 0.5 else {},
            metrics={key: [(draw.randrange(-3, 9), draw.gauss(0, 1)) for _ in range(9)] for key in keys},
            datasets=[
                DatasetInput(Dataset(draw.choice("abc"), "1", "local", "x", "{}"), {"mlflow.data.context": "train"})
                for _ in range(draw.randrange(3))
            ],
            start_ms=START_MS + number,
            end_ms=START_MS + 500 + number,
            status=draw.choice(["FINISHED", "FAILED"]),
            stage="deleted" if draw.random() < 0.1 else "active",
        )
        ids += [] if resumed else [run_id]
        if draw.random() < 0.1:
            empty_store.refresh()
    found = {run.run_id: run for run in empty_store.search_runs(run_view_type="ALL", max_results=500)}
    runs = list(empty_store.runs())
    assert len(found) == len(runs) == len(ids)
    for run in runs:
        record = found[run.run_id]
        assert record.info == run.info
        assert record.data.params == run.params
        assert record.datasets == tuple(run.datasets)
        assert record.data.metrics == {key: summary.value for key, summary in run.summaries.items()}
        assert {**record.data.tags, "lone": ""} == {**run.tags, "lone": ""}
    assert empty_store.heads() == {run.run_id: run.head() for run in runs}

    def wanted(record: RunRecord) -> bool:
        return record.data.metrics.get("loss", 9.0) < 0.1 and record.data.params["a"] != "3"

    expected = sorted(run_id for run_id, record in found.items() if wanted(record))
    answer = empty_store.search_runs(filter_string="metrics.loss < 0.1 and params.a != '3'", run_view_type="ALL")
    assert sorted(run.run_id for run in answer) == expected
    assert expected


@pytest.mark.slow
def test_that_very_many_runs_are_read_is_said_before(empty_store: Store) -> None:
    for _ in range(MANY_RUNS - 1):
        write_run(empty_store)
    said: list[int] = []
    empty_store.on_reading = said.append
    assert len(empty_store.search_runs(max_results=2)) == 2
    assert said == []
    (empty_store.path / "catalog.duckdb").unlink()
    write_run(empty_store)
    again = Store(empty_store.layout)
    again.on_reading = said.append
    again.search_runs(max_results=1)
    again.search_runs(max_results=1)
    assert said == [MANY_RUNS]

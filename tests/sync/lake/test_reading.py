"""Reading a lake gives what the stores that pushed to it give, and pulled runs are themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

import mltrack
from mltrack.entities import RunData
from mltrack.errors import FilterError, NotFoundError, UsageError
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.alerts import append_action, append_alert
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.selection import Selection
from tests.support.command_line import Cli

FILTERS = [
    "",
    "metrics.loss < 0.2",
    "params.opt = 'adam' and metrics.acc >= 0.5",
    "tags.team LIKE 'b%'",
    "attributes.run_name = 'run 2'",
    "dataset.name = 'mnist'",
]
QUERIES = [
    "SELECT run_name, status, lifecycle_stage, user_id, live, start_time, end_time FROM runs ORDER BY run_name",
    "SELECT run_id, key, value FROM params ORDER BY ALL",
    "SELECT run_id, key, value FROM tags ORDER BY ALL",
    "SELECT * FROM latest_metrics ORDER BY run_id, key",
    "SELECT run_id, key, step, time, value FROM metrics ORDER BY run_id, key, time",
    "SELECT metric, count(*) AS n, round(sum(value), 6) AS s FROM metrics WHERE metric = 'acc' GROUP BY metric",
    "SELECT run_id, key, step, value FROM metrics WHERE value = 0.5 OR value IN (0.1, 0.25) ORDER BY ALL",
    "SELECT count(*) AS n FROM metrics WHERE value < 0.3",
    "SELECT count(*) AS n FROM metrics WHERE value > 0.3 AND step < 9",
    "SELECT run_id, path, size, sha256, time FROM artifacts ORDER BY ALL",
    "SELECT run_id, name, digest, context, source FROM datasets ORDER BY ALL",
    "SELECT name, lifecycle_stage FROM experiments ORDER BY name",
    "SELECT * FROM alerts",
]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Remote]:
    """A store with some runs, and a lake that has them."""
    folder = tmp_path_factory.mktemp("pushed")
    mltrack.set_store(folder / "store")
    mltrack.set_experiment("reading")
    for number in range(4):
        with mltrack.start_run(run_name=f"run {number}") as run:
            mltrack.log_params({"opt": "adam" if number % 2 else "sgd", "number": number})
            mltrack.set_tags({"team": "blue" if number else "red", "gone": "x"})
            mltrack.delete_tag("gone")
            for step in range(20):
                run.log({"loss": 1 / (step + 1 + number), "acc": step / 20}, step)
            mltrack.log_metric("loss", float("nan"), step=3)
            mltrack.log_text(f"text {number}", "a/notes.txt")
            run.log_input(
                mltrack.Dataset("mnist" if number else "cifar", "1", "local", "{}"), "training", {"fold": "1"}
            )
            run.log({"weights": mltrack.Histogram([1.0, 2.0, float(number)])}, step=1)
    mltrack.set_store(None)
    store = Store.open(folder / "store")
    store.delete_run(store.resolve("run 3"))
    alert = append_alert(
        store.layout,
        store.resolve("run 1"),
        rule="high",
        condition="loss > 1",
        message="loss is 2",
        episode=1,
        actions=["tag", "webhook"],
        point=("loss", 3, 2.0),
    )
    assert alert is not None
    append_action(store.layout, store.resolve("run 1"), alert.alert_id, "webhook", "done")
    remote = Remotes(store).add("lake", f"delta:{folder / 'lake'}")
    push(store, remote)
    return store, remote


def contents(data: RunData) -> str:
    """Params, tags and metrics in the order of their keys; NaN equals itself."""
    return repr([sorted(each.items()) for each in (data.params, data.tags, data.metrics)])


@pytest.mark.parametrize("text", FILTERS)
def test_searches_find_what_the_store_finds(pushed: tuple[Store, Remote], text: str) -> None:
    store, remote = pushed
    with mltrack.Lake(remote.url) as lake:
        for view in ("ACTIVE_ONLY", "ALL"):
            there = lake.search_runs(filter_string=text, run_view_type=view, order_by=["metrics.loss DESC"])
            here = store.search_runs(filter_string=text, run_view_type=view, order_by=["metrics.loss DESC"])
            assert [run.run_id for run in there] == [run.run_id for run in here]
            assert [contents(run.data) for run in there] == [contents(run.data) for run in here]
            assert {run.info.artifact_uri for run in there} <= {""}  # there is no folder of a run
        with pytest.raises(FilterError):
            lake.search_runs(filter_string="metrics.loss <")


def test_a_search_gives_the_aggregates_that_the_store_gives(pushed: tuple[Store, Remote]) -> None:
    store, remote = pushed
    asked = ["min(loss)", "max(acc)", "count(loss)", "mean(loss)"]
    with mltrack.Lake(remote.url) as lake:
        there = lake.search_runs(aggregates=asked, filter_string="min(loss) < 1", order_by=["max(acc)"])
        here = store.search_runs(aggregates=asked, filter_string="min(loss) < 1", order_by=["max(acc)"])
    assert [(run.run_id, repr(run.aggregates)) for run in there] == [(run.run_id, repr(run.aggregates)) for run in here]
    assert len(here[0].aggregates) == 4


@pytest.mark.parametrize("query", QUERIES)
def test_queries_give_what_the_store_gives(pushed: tuple[Store, Remote], query: str) -> None:
    store, remote = pushed
    with mltrack.Lake(remote.url) as lake:
        assert repr(lake.sql(query).to_pylist()) == repr(store.sql(query).to_pylist())


def test_a_query_can_change_nothing_and_open_no_file(pushed: tuple[Store, Remote]) -> None:
    _, remote = pushed
    with mltrack.Lake(remote.url) as lake:
        for query in ("DELETE FROM runs", "SELECT * FROM read_csv('/etc/passwd')", "SELECT 1; SELECT 2"):
            with pytest.raises(UsageError):
                lake.sql(query)
        assert lake.sql("SELECT count(*) AS n FROM runs WHERE run_name = ?", ["run 1"]).to_pylist() == [{"n": 1}]


def test_the_points_of_a_run_are_those_of_the_store(pushed: tuple[Store, Remote]) -> None:
    store, remote = pushed
    with mltrack.Lake(remote.url) as lake:
        run, mine = lake.run("run 1"), store.run("run 1")
        for key in ("loss", "acc"):
            assert repr(run.metrics(key).to_pylist()) == repr(mine.metrics(key).to_pylist())
            assert run.metrics(key).schema == mine.metrics(key).schema
        assert run.metrics().num_rows == mine.metrics().num_rows
        assert run.params == mine.params
        assert run.artifacts == mine.artifacts
        assert run.read_artifact("a/notes.txt") == b"text 1"
        assert lake.run(run.run_id[:8]).run_id == run.run_id
        for error in (lambda: run.metrics("no"), lambda: lake.run("no"), lambda: run.read_artifact("no")):
            with pytest.raises(NotFoundError):
                error()
    with pytest.raises(NotFoundError):
        mltrack.Lake(remote.url + "-none")


def test_a_run_is_the_same_before_and_after_a_search(pushed: tuple[Store, Remote]) -> None:
    store, remote = pushed
    with mltrack.Lake(remote.url) as lake:
        before = [contents(lake.run(name).data) for name in ("run 1", "run 2", "run 1")]
        found = {run.info.run_name: contents(run.data) for run in lake.search_runs()}
        assert before == [found[name] for name in ("run 1", "run 2", "run 1")]
        assert contents(lake.run("run 2").data) == found["run 2"]
        assert len(lake.sql("SELECT * FROM params")) == len(store.sql("SELECT * FROM params"))


def test_sql_on_the_command_line(pushed: tuple[Store, Remote], cli: Cli) -> None:
    store, remote = pushed
    query = "SELECT count(*) AS n FROM metrics"
    for args in (["--store", str(store.path), "sql", "--remote", "lake"], ["sql", "--remote", remote.url]):
        assert cli(*args, query, "--json").json == [{"n": 4 * 41}]


# --- pull ---


@pytest.mark.slow
def test_pulled_runs_are_themselves(pushed: tuple[Store, Remote], tmp_path: Path) -> None:
    store, remote = pushed
    other = Store.create(tmp_path / "other")
    there = Remotes(other).add("lake", remote.url)
    said = pull(other, there, dry_run=True)
    report = pull(other, there)
    assert (report.runs, report.created, report.points, report.artifacts) == (4, 4, 4 * 41, 8)
    assert (said.runs, said.created, said.points) == (4, 4, 4 * 41)
    assert report.complete
    assert report.artifact_bytes > 4 * len("text 0")
    for run_id in store.run_ids():
        a, b = store.run(run_id), other.run(run_id)
        assert (a.head(), a.params, a.tags, a.artifacts) == (b.head(), b.params, b.tags, b.artifacts)
        assert repr(a.metrics("loss").to_pylist()) == repr(b.metrics("loss").to_pylist())
        assert a.read_events() == b.read_events()
        assert a.series_kinds() == b.series_kinds() == {"weights": "histogram"}
    assert check_store(other.path).findings == []
    again = pull(other, there)
    assert (again.runs, again.points, again.artifacts) == (0, 0, 0)
    assert push(other, there).points == 0
    assert verify(other, there, selection=Selection(runs=tuple(store.run_ids()))).same


@pytest.mark.slow
def test_a_pull_brings_what_is_selected_and_later_what_is_new(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "store")
    with mltrack.start_run(run_name="first") as run:
        run.log_series("loss", [float(step) for step in range(6000)])
    with mltrack.start_run(run_name="second"):
        mltrack.log_metric("loss", 1.0)
    store = Store.open(tmp_path / "store")
    remote = Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}")
    push(store, remote)
    other = Store.create(tmp_path / "other")
    there = Remotes(other).add("lake", remote.url)
    pull(other, there, selection=Selection(runs=("first",)))
    assert other.run_ids() == [run.info.run_id]
    with mltrack.start_run(run_id=run.info.run_id):
        mltrack.log_metric("loss", -1.0, step=7000)
    mltrack.set_store(None)
    push(store, remote)
    report = pull(other, there, selection=Selection(runs=("first",)))
    assert (report.runs, report.created, report.points) == (1, 0, 1)
    assert other.run("first").metrics("loss") == store.run("first").metrics("loss")
    assert check_store(other.path).findings == []

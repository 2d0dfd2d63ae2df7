"""What was recorded arrives: equal contents on both sides, once."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import mltrack
from mltrack.storage.runs.edit import set_stage, set_tag
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, Selection, push
from tests.support.both_sides import assert_equal
from tests.support.proxy import FaultyProxy
from tests.support.server import MlflowServer, params_of, tags_of


def record_one(points: int = 2500) -> str:
    with mltrack.start_run(run_name="Übung 1", tags={"team": "視覚", "empty": ""}) as run:
        mltrack.log_params({"lr": 0.1, "layers": [1, 2], "none": "", "long": "x" * 6000})
        for step in range(points):
            mltrack.log_metric("loss", math.sin(step), step=step)
            if step % 10 == 0:
                mltrack.log_metrics({"val/acc": step / points, "größe": -0.0}, step=-step)
        mltrack.log_metric("odd", math.nan, step=-5)
        mltrack.log_metric("odd", math.inf, step=-4)
        mltrack.log_metric("odd", -math.inf, step=2**62)
        mltrack.log_metric("odd", 5e-324, step=0, timestamp=0)
        mltrack.log_text("hello", "notes/a b.txt")
        mltrack.log_dict({"a": 1}, "größe.json")
        return run.run_id


def test_a_run_arrives_with_all_its_data(store: Store, server: MlflowServer, remote: Remote, experiment: str) -> None:
    record_one()
    with mltrack.start_run(run_name="series") as run:
        run.log_series("many", np.random.default_rng(1).normal(size=3000).astype(np.float64))
    report = push(store, remote)
    assert_equal(store, server, experiment)
    assert report.complete
    assert (report.runs, report.created, report.artifacts, report.params) == (2, 2, 2, 4)
    assert report.points == sum(head.points for head in (run.head() for run in store.runs())) - report.collapsed


def test_syncing_again_sends_nothing(store: Store, proxy: FaultyProxy, spoiled: Remote) -> None:
    record_one(50)
    push(store, spoiled)
    before = len(proxy.seen)
    again = push(store, spoiled)
    assert len(proxy.seen) == before
    assert (again.runs, again.points, again.requests) == (0, 0, 0)


def test_a_small_run_takes_few_requests(store: Store, proxy: FaultyProxy, spoiled: Remote) -> None:
    with mltrack.start_run():
        mltrack.log_param("a", 1)
        mltrack.log_metric("m", 1.0)
    push(store, spoiled)
    names = [seen.path.rpartition("/mlflow/")[2] for seen in proxy.seen]
    assert names == [
        "experiments/search",
        "experiments/search",
        "experiments/get-by-name",
        "experiments/create",
        "experiments/get",
        "runs/search",
        "runs/create",
        "runs/log-batch",
        "runs/update",
    ]


def test_nested_runs_keep_their_parent_even_if_only_the_child_is_selected(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    with mltrack.start_run(run_name="parent") as parent:
        mltrack.log_metric("m", 1.0)
        with mltrack.start_run(run_name="child", nested=True) as child:
            mltrack.log_metric("m", 2.0)
            with mltrack.start_run(run_name="grandchild", nested=True) as grandchild:
                mltrack.log_metric("m", 3.0)
    push(store, remote, selection=Selection(runs=(grandchild.run_id,)))
    there = server.runs(experiment)
    parent_id, child_id = (there[run.run_id]["info"]["run_id"] for run in (parent, child))
    assert tags_of(there[grandchild.run_id])["mlflow.parentRunId"] == child_id
    assert tags_of(there[child.run_id])["mlflow.parentRunId"] == parent_id
    push(store, remote)
    assert_equal(store, server, experiment)


def test_a_live_run_grows_on_the_remote_and_finishes_when_it_ends(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    run = mltrack.start_run(run_name="live")
    for step in range(1500):
        run.log_metric("m", step, step=step)
        if step % 500 == 0:
            push(store, remote)
    run.log_param("late", 1)
    run.set_tag("mood", "good")
    push(store, remote)
    assert server.runs(experiment)[run.run_id]["info"]["status"] == "RUNNING"
    assert_equal(store, server, experiment)
    assert push(store, remote).requests == 0
    mltrack.end_run()
    push(store, remote)
    assert server.runs(experiment)[run.run_id]["info"]["status"] == "FINISHED"
    assert_equal(store, server, experiment)
    with mltrack.start_run(run_id=run.run_id):
        mltrack.log_metric("m", 0.5, step=9999)
        mltrack.set_tag("mood", "better")
        push(store, remote)
        assert server.runs(experiment)[run.run_id]["info"]["status"] == "RUNNING"
    push(store, remote)
    assert_equal(store, server, experiment)


def test_a_crashed_run_arrives_as_failed_with_the_reason(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    script = (
        "import mltrack, os, signal, sys\n"
        "mltrack.set_store(sys.argv[1]); mltrack.set_experiment(sys.argv[2]); mltrack.start_run(run_name='c')\n"
        "[mltrack.log_metric('m', i, step=i) for i in range(100)]\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(store.path), experiment], env=os.environ)
    push(store, remote)
    (run,) = server.runs(experiment).values()
    assert run["info"]["status"] == "FAILED"
    assert tags_of(run)["mltrack.crashed"] == "true"
    assert_equal(store, server, experiment)


def test_runs_are_deleted_and_restored_on_the_remote_and_deleted_ones_never_sent(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    with mltrack.start_run() as kept:
        mltrack.log_metric("m", 1.0)
    with mltrack.start_run() as never:
        mltrack.log_metric("m", 1.0)
    set_stage(store.layout, never.run_id, "deleted")
    push(store, remote)
    assert server.runs(experiment).keys() == {kept.run_id}
    set_stage(store.layout, kept.run_id, "deleted")
    push(store, remote)
    assert server.runs(experiment, "ACTIVE_ONLY") == {}
    set_stage(store.layout, kept.run_id, "active")
    set_tag(store.layout, kept.run_id, "back", "yes")
    push(store, remote)
    assert_equal(store, server, experiment)


def test_tags_are_changed_and_deleted(store: Store, server: MlflowServer, remote: Remote, experiment: str) -> None:
    with mltrack.start_run() as run:
        mltrack.set_tags({"a": "1", "b": "1", "c": "1"})
    push(store, remote)
    set_tag(store.layout, run.run_id, "a", "2")
    set_tag(store.layout, run.run_id, "b", None)
    set_tag(store.layout, run.run_id, "never there", None)
    set_tag(store.layout, run.run_id, "mlflow.runName", "new name")
    push(store, remote)
    assert_equal(store, server, experiment)


def test_equal_points_within_a_millisecond_are_sent_once_and_counted(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    with mltrack.start_run():
        for value in (1.0, 1.0, 2.0, math.nan, math.nan, 0.0, -0.0):
            mltrack.log_metric("m", value, step=3, timestamp=1_700_000_000_000)
    report = push(store, remote)
    assert (report.points, report.collapsed) == (4, 3)
    assert_equal(store, server, experiment)


def test_many_params_and_metric_names_are_split_into_several_requests(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    with mltrack.start_run():
        mltrack.log_params({f"p{n}": "v" * 50 for n in range(250)})
        mltrack.set_tags({f"t{n}": n for n in range(250)})
        mltrack.log_metrics({f"metric {n}": float(n) for n in range(1500)})
    push(store, spoiled)
    (run,) = server.runs(experiment).values()
    assert len(params_of(run)) == 250
    assert {f"t{n}": str(n) for n in range(250)}.items() <= tags_of(run).items()
    assert {m["key"]: m["value"] for m in run["data"]["metrics"]} == {f"metric {n}": float(n) for n in range(1500)}
    assert proxy.count("log-batch") == 4


def test_a_changed_artifact_is_sent_again_and_an_unchanged_one_is_not(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, tmp_path: Path
) -> None:
    with mltrack.start_run():
        mltrack.log_text("one", "a.txt")
        mltrack.log_text("two", "b.txt")
        push(store, spoiled)
        mltrack.log_text("another one", "a.txt")
    report = push(store, spoiled)
    assert report.artifacts == 1
    assert sum(seen.method == "PUT" for seen in proxy.seen) == 3
    assert_equal(store, server, experiment)


def test_a_file_that_differs_from_its_record_is_reported_and_not_sent(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    with mltrack.start_run() as run:
        mltrack.log_text("good", "good.txt")
        mltrack.log_text("was", "bad.txt")
    path = store.run(run.run_id).artifact_path("bad.txt")
    path.write_text("is")
    report = push(store, spoiled)
    assert report.artifacts == 1
    assert "bad.txt" in report.problems[0]
    path.write_text("was")
    assert push(store, spoiled).complete
    assert_equal(store, server, experiment)


def test_a_dry_run_counts_what_a_push_then_sends_and_makes_no_request(
    store: Store, proxy: FaultyProxy, spoiled: Remote
) -> None:
    record_one(100)
    told = push(store, spoiled, dry_run=True)
    assert proxy.seen == []
    sent = push(store, spoiled)
    for count in ("runs", "created", "params", "artifacts", "artifact_bytes"):
        assert getattr(told, count) == getattr(sent, count)
    assert told.points == sent.points + sent.collapsed


def test_selection_by_experiment_and_filter(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    with mltrack.start_run(run_name="here"):
        mltrack.log_param("kind", "a")
    with mltrack.start_run(run_name="not"):
        mltrack.log_param("kind", "b")
    mltrack.set_experiment(f"{experiment} other")
    with mltrack.start_run(run_name="elsewhere"):
        mltrack.log_param("kind", "a")
    push(store, remote, selection=Selection(experiments=(experiment,), filter="params.kind = 'a'"))
    assert [run["info"]["run_name"] for run in server.runs(experiment).values()] == ["here"]


def test_experiment_tags_arrive_and_change(store: Store, server: MlflowServer, remote: Remote, experiment: str) -> None:
    mltrack.set_experiment_tag("owner", "me")
    with mltrack.start_run():
        mltrack.log_metric("m", 1.0)
    push(store, remote)
    mltrack.set_experiment_tag("owner", "you")
    with mltrack.start_run():
        mltrack.log_metric("m", 1.0)
    push(store, remote)
    tags = server.get("experiments/get-by-name", experiment_name=experiment)["experiment"]["tags"]
    assert {"key": "owner", "value": "you"} in tags


def test_params_of_several_writers_of_one_run_arrive_as_the_fold_has_them(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    with mltrack.start_run() as run:
        mltrack.log_metric("m", 1.0, step=1)
    with mltrack.start_run(run_id=run.run_id):
        mltrack.log_metric("m", 2.0, step=0)
        mltrack.log_param("second", 1)
    push(store, remote)
    assert_equal(store, server, experiment)
    assert params_of(server.runs(experiment)[run.run_id]) == {"second": "1"}


def test_files_are_written_straight_to_the_artifact_root_if_the_server_does_not_proxy_them(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, tmp_path: Path
) -> None:
    root = tmp_path / "shared folder"
    root.mkdir()
    server.post("experiments/create", name=experiment, artifact_location=root.as_uri())
    remote = Remotes(store).share_folder(remote.name, str(root))
    with mltrack.start_run() as run:
        mltrack.log_text("direct", "deep/er/f.txt")
    assert push(store, remote).artifacts == 1
    there = server.runs(experiment)[run.run_id]["info"]["run_id"]
    assert (root / there / "artifacts" / "deep" / "er" / "f.txt").read_text() == "direct"

"""What a real server has arrives in the store, once."""

from __future__ import annotations

import hashlib
import math

import pytest

import mltrack
from mltrack.errors import FilterError, NotFoundError
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.edit import set_tag
from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from tests.support.both_sides import local_points, remote_points
from tests.support.fake_mlflow import FakeMlflow
from tests.support.proxy import FaultyProxy
from tests.support.server import MlflowServer
from tests.support.server_content import log_points, make_run, put_file, series

ODD = [
    ("odd", -5, 0, math.nan),
    ("odd", -4, 1, math.inf),
    ("odd", 2**62, 2, -math.inf),
    ("odd", 0, 3, 5e-324),
    ("größe/x", 0, 4, -0.0),
]


def only_run(store: Store) -> str:
    (run_id,) = store.run_ids()
    return run_id


def assert_points(store: Store, server: MlflowServer, run_id: str, remote_id: str) -> None:
    there = server.get("runs/get", run_id=remote_id)["run"]
    keys = {metric["key"] for metric in there["data"].get("metrics", [])}
    assert local_points(store, run_id) == remote_points(server, there, keys)
    assert sum(each.count for each in store.run(run_id).summaries.values()) == len(local_points(store, run_id))


def test_a_run_arrives_with_its_original_times_params_tags_and_points(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, experiment: str, mine: Selection
) -> None:
    there = make_run(
        server,
        experiment_id,
        points=[*series("m", 1500), *ODD],
        params={"lr": "0.1", "none": ""},
        tags={"team": "視覚"},
        status="KILLED",
    )
    report = pull(store, remote, selection=mine)
    assert (report.runs, report.created, report.points, report.complete) == (1, 1, 1505, True)
    run = store.run(only_run(store))
    info = run.info
    assert (info.run_name, info.experiment_name, info.user_id) == ("theirs", experiment, "ada")
    assert (info.start_time, info.end_time, info.status, info.crashed) == (1000, 2000, "KILLED", False)
    assert run.params == {"lr": "0.1", "none": ""}
    assert run.tags.items() >= {"team": "視覚", "mltrack.origin": server.url, "mltrack.origin.run_id": there}.items()
    assert store.workspace.get(info.experiment_id).tags["team"] == "視覚"
    assert_points(store, server, run.run_id, there)
    assert check_store(store.path).sound
    assert [record.run_id for record in store.search_runs(filter_string="params.lr = '0.1'")] == [run.run_id]


def test_a_second_pull_of_unchanged_things_asks_for_a_page_of_each_kind(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment_id: str, mine: Selection
) -> None:
    for n in range(3):
        make_run(server, experiment_id, name=f"run {n}", points=series("m", 5))
    pull(store, spoiled, selection=mine)
    before = len(proxy.seen)
    again = pull(store, spoiled, selection=mine)
    assert (again.runs, again.points) == (0, 0)
    calls = [seen.path.rpartition("/mlflow/")[2] for seen in proxy.seen[before:]]
    assert calls[:4] == ["experiments/search", "experiments/search", "runs/search", "logged-models/search"]
    assert set(calls[4:]) | {"model-versions/search"} == {  # only where there are models
        "registered-models/search",
        "model-versions/search",
        "traces/search",
        "webhooks",
        "datasets/search",
        "scorers/list",
        "label-schemas/list",
        "issues/search",
        "review-queues/list",
        "gateway/endpoints/list",
    }


def test_what_was_pulled_from_a_server_is_not_sent_back_to_it(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment_id: str, mine: Selection
) -> None:
    make_run(server, experiment_id, points=series("m", 50), params={"a": "1"})
    pull(store, spoiled, selection=mine)
    before = len(proxy.seen)
    assert push(store, spoiled).complete
    assert len(proxy.seen) == before
    set_tag(store.layout, only_run(store), "mine", "new")
    report = push(store, spoiled)
    assert (report.runs, report.created, report.tags, report.points) == (1, 0, 1, 0)


def test_a_live_run_continues_after_its_last_pulled_point(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    there = make_run(server, experiment_id, points=series("m", 700), status="RUNNING")
    assert pull(store, remote, selection=mine).points == 700
    run_id = only_run(store)
    assert (store.run(run_id).info.status, store.run(run_id).info.live) == ("RUNNING", False)
    log_points(server, there, [*series("m", 300, first=700), ("other", 0, 5, 1.0)])
    assert pull(store, remote, selection=mine).points == 301
    server.post("runs/update", run_id=there, status="FINISHED", end_time=7000)
    assert pull(store, remote, selection=mine).points == 0
    assert (store.run(run_id).info.status, store.run(run_id).info.end_time) == ("FINISHED", 7000)
    assert_points(store, server, run_id, there)


def test_a_late_point_with_an_earlier_time_is_pulled_once_the_run_has_ended(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    there = make_run(server, experiment_id, points=series("m", 100), status="RUNNING")
    pull(store, remote, selection=mine)
    log_points(server, there, [("m", 3, 1, 0.25), ("m", 3, 1050, 0.75)])
    server.post("runs/update", run_id=there, status="FINISHED", end_time=7000)
    assert pull(store, remote, selection=mine).points == 2
    assert_points(store, server, only_run(store), there)


def test_a_run_that_mltrack_pushed_comes_back_as_itself_in_another_store(
    store: Store, server: MlflowServer, remote: Remote, mine: Selection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with mltrack.start_run(run_name="parent") as parent, mltrack.start_run(run_name="child", nested=True) as child:
        mltrack.log_param("a", 1)
        for step in range(20):
            mltrack.log_metric("m", step / 3, step=step)
    push(store, remote)
    other = Store.create(tmp_path_factory.mktemp("other") / "store")
    elsewhere = Remote("there", server.url)
    assert pull(other, elsewhere, selection=mine).created == 2
    assert sorted(other.run_ids()) == sorted(store.run_ids())
    run = other.run(child.run_id)
    assert run.info.parent_run_id == parent.run_id
    assert run.info.experiment_id == store.run(child.run_id).info.experiment_id
    assert local_points(other, child.run_id) == local_points(store, child.run_id)
    assert "mltrack.origin" not in run.tags
    assert "mltrack.run_id" not in run.tags
    assert verify(other, elsewhere).same


def test_a_run_recorded_here_stays_complete_and_gets_what_others_added_on_the_server(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, mine: Selection
) -> None:
    with mltrack.start_run(tags={"team": "a"}) as run:
        for step in range(10):
            mltrack.log_metric("m", step / 3, step=step)
        mltrack.log_metric("m", math.inf, step=10)
    push(store, remote)
    assert pull(store, remote, selection=mine).points == 0
    there = server.runs(experiment)[run.run_id]["info"]["run_id"]
    set_tag(store.layout, run.run_id, "mine", "here")
    log_points(server, there, [("m", 11, 4 * 10**12, 0.5), ("theirs", 0, 5, 1.0)])
    server.post("runs/set-tag", run_id=there, key="review", value="good")
    server.post("runs/set-tag", run_id=there, key="team", value="b")
    report = pull(store, remote, selection=mine)
    assert (report.runs, report.created, report.points) == (1, 0, 2)
    found = store.run(run.run_id)
    assert (found.tags["team"], found.tags["review"], found.tags["mine"]) == ("a", "good", "here")
    assert found.summaries["m"].count == 12
    assert found.summaries["theirs"].count == 1
    sent = push(store, remote)
    assert (sent.tags, sent.points) == (1, 0)


def test_tags_changed_or_removed_on_the_server_change_locally_unless_they_were_set_locally(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    there = make_run(server, experiment_id, tags={"a": "1", "b": "1", "c": "1"})
    pull(store, remote, selection=mine)
    run_id = only_run(store)
    set_tag(store.layout, run_id, "a", "mine")
    for key in ("a", "b"):
        server.post("runs/set-tag", run_id=there, key=key, value="2")
    server.post("runs/delete-tag", run_id=there, key="c")
    pull(store, remote, selection=mine)
    tags = store.run(run_id).tags
    assert (tags["a"], tags["b"], "c" in tags) == ("mine", "2", False)


def test_a_run_deleted_and_restored_on_the_server_is_deleted_and_restored_locally(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    there = make_run(server, experiment_id, points=series("m", 5))
    server.post("runs/delete", run_id=there)
    assert pull(store, remote, selection=mine).points == 5
    assert store.run(only_run(store)).info.lifecycle_stage == "deleted"
    server.post("runs/restore", run_id=there)
    pull(store, remote, selection=mine)
    assert store.run(only_run(store)).info.lifecycle_stage == "active"


def test_without_its_ledger_a_pull_duplicates_nothing_and_a_sync_creates_no_second_run(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    make_run(server, experiment_id, points=series("m", 60), params={"a": "1"})
    pull(store, remote, selection=mine)
    (store.layout.remote(remote.name) / "ledger.jsonl").unlink()
    report = pull(store, remote, selection=mine)
    assert (report.points, report.created) == (0, 0)
    assert store.run(only_run(store)).summaries["m"].count == 60
    assert push(store, remote).created == 0


def test_all_runs_of_a_server_can_be_moved_to_another_server(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    parent = make_run(server, experiment_id, name="parent", points=series("m", 1200))
    make_run(server, experiment_id, name="child", tags={"mlflow.parentRunId": parent}, params={"a": "1"}, points=ODD)
    pull(store, remote, selection=mine)
    new, elsewhere = FakeMlflow(), Remote("new", "http://new.invalid")
    report = push(store, elsewhere, http=new)
    assert (report.created, report.complete) == (2, True)
    compared = verify(store, elsewhere, http=new)
    assert compared.same
    assert compared.points == 1205


def test_runs_are_chosen_by_id_by_name_and_by_the_servers_filter(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, experiment: str
) -> None:
    one = make_run(server, experiment_id, name=f"one of {experiment}", params={"lr": "1"})
    make_run(server, experiment_id, name=f"two of {experiment}", params={"lr": "2"})
    assert pull(store, remote, selection=Selection(runs=(one,))).created == 1
    found = pull(store, remote, selection=Selection(experiments=(experiment,), filter="params.lr = '2'"))
    assert found.created == 1
    for name in (f"one of {experiment}", only_id_of(store, f"one of {experiment}")):
        assert pull(store, remote, selection=Selection(runs=(name,))).created == 0
    for selection in (Selection(runs=("ghost",)), Selection(runs=("f" * 32,)), Selection(experiments=("ghost",))):
        with pytest.raises(NotFoundError, match=r"ghost|fff"):
            pull(store, remote, selection=selection)
    with pytest.raises(FilterError, match="refuses the filter"):
        pull(store, remote, selection=Selection(experiments=(experiment,), filter="nonsense ="))


def only_id_of(store: Store, name: str) -> str:
    (found,) = store.search_runs(filter_string=f"attributes.run_name = '{name}'")
    return found.run_id


def test_a_dry_run_lists_what_a_pull_would_bring_and_writes_nothing(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    make_run(server, experiment_id, points=series("m", 5))
    report = pull(store, remote, selection=mine, dry_run=True)
    assert (report.dry_run, report.runs, report.created) == (True, 1, 1)
    assert store.run_ids() == []


def test_files_are_pulled_with_their_content_and_later_only_new_ones(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    there = make_run(server, experiment_id, status="RUNNING")
    files = {"a.txt": b"a" * 1000, "größe/b c.bin": bytes(range(256)) * 5000, "größe/deep/er/empty": b""}
    for path, content in files.items():
        put_file(server, there, path, content)
    report = pull(store, remote, selection=mine)
    assert (report.artifacts, report.artifact_bytes, report.complete) == (3, 1_281_000, True)
    run_id = only_run(store)
    run = store.run(run_id)
    assert {a.path: run.artifact_path(a.path).read_bytes() for a in run.artifacts} == files
    assert {a.path: a.sha256 for a in run.artifacts} == {p: hashlib.sha256(c).hexdigest() for p, c in files.items()}
    put_file(server, there, "a.txt", b"longer" * 1000)
    put_file(server, there, "new.txt", b"new")
    server.post("runs/update", run_id=there, status="FINISHED", end_time=7000)
    assert pull(store, remote, selection=mine).artifacts == 2
    assert store.run(run_id).artifact_path("a.txt").read_bytes() == b"longer" * 1000
    assert check_store(store.path).findings == []
    assert push(store, remote).artifacts == 0


def test_large_files_are_skipped_if_requested_and_pulled_later(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    there = make_run(server, experiment_id)
    put_file(server, there, "small", b"x" * 10)
    put_file(server, there, "large", b"x" * 1000)
    assert pull(store, remote, selection=mine, artifact_bytes_max=0).artifacts == 0
    report = pull(store, remote, selection=mine, artifact_bytes_max=100)
    assert (report.artifacts, report.skipped_artifacts) == (1, 1)
    assert pull(store, remote, selection=mine, artifact_bytes_max=100).skipped_artifacts == 0
    assert pull(store, remote, selection=mine).artifacts == 1
    assert pull(store, remote, selection=mine).artifacts == 0


def test_new_files_of_a_run_that_goes_on_come_though_it_looks_the_same(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    run_id = make_run(server, experiment_id, points=series("m", 5), status="RUNNING")
    pull(store, remote, selection=mine)
    put_file(server, run_id, "late.txt", b"late")
    report = pull(store, remote, selection=mine)
    assert (report.runs, report.artifacts, report.points) == (1, 1, 0)
    again = pull(store, remote, selection=mine)
    assert (again.runs, again.artifacts) == (0, 0)


def test_a_file_and_a_point_that_do_not_show_come_where_everything_is_looked_at_again(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    run_id = make_run(server, experiment_id, points=series("m", 5))
    pull(store, remote, selection=mine)
    put_file(server, run_id, "late.txt", b"late")
    log_points(server, run_id, [("m", 2, 1001, 0.25)])
    assert pull(store, remote, selection=mine).runs == 0
    report = pull(store, remote, selection=mine, recheck=True)
    assert (report.runs, report.artifacts, report.points) == (1, 1, 1)
    assert_points(store, server, only_run(store), run_id)
    again = pull(store, remote, selection=mine, recheck=True)
    assert (again.runs, again.artifacts, again.points) == (0, 0, 0)

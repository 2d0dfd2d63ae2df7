"""What came from a server is found again on that very server, also without a ledger, and never created twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.mlflow.plan.origin import Origin, remote_tags
from tests.support.fake_mlflow import FakeMlflow
from tests.support.server import MlflowServer
from tests.support.server_content import make_model, make_run, put_file, series


def lose_ledger(store: Store, remote: Remote) -> None:
    (store.layout.remote(remote.name) / "ledger.jsonl").unlink()


def counts(server: MlflowServer, experiment_id: str) -> tuple[int, int, int]:
    """How many runs and logged models the experiment has, and how many experiments there are."""
    runs = server.post("runs/search", experiment_ids=[experiment_id], run_view_type="ALL").get("runs", [])
    models = server.post("logged-models/search", experiment_ids=[experiment_id]).get("models", [])
    every = server.post("experiments/search", view_type="ALL", max_results=50_000)["experiments"]
    return len(runs), len(models), len(every)


def fill(server: MlflowServer, experiment_id: str) -> str:
    """A run in a run, with points and a file, and a model of it; the id of the inner one."""
    outer = make_run(server, experiment_id, name="outer")
    tags = {"mlflow.parentRunId": outer, "team": "a"}
    inner = make_run(server, experiment_id, params={"a": "1"}, tags=tags, points=series("m", 40))
    put_file(server, inner, "notes.txt", b"some words")
    make_model(server, experiment_id, inner, params={"depth": "3"}, tags={"kind": "tree"})
    return inner


def test_without_its_ledger_a_sync_creates_nothing_that_came_from_the_server(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    fill(server, experiment_id)
    assert pull(store, remote, selection=mine).complete
    before = counts(server, experiment_id)
    lose_ledger(store, remote)
    report = push(store, remote)
    assert report.complete, report
    assert (report.created, report.points) == (0, 0)
    assert counts(server, experiment_id) == before == (2, 1, before[2])
    (run,) = server.post("runs/search", experiment_ids=[experiment_id], filter="params.a = '1'")["runs"]
    assert not [tag for tag in run["data"]["tags"] if tag["key"].startswith("mltrack.")]
    assert verify(store, remote).differences == ()
    again = pull(store, remote, selection=mine)
    assert (again.created, again.points, again.artifacts) == (0, 0, 0)


def test_an_experiment_that_was_renamed_on_its_server_is_not_created_again(
    tmp_path: Path, server: MlflowServer, experiment_id: str, experiment: str, mine: Selection
) -> None:
    store, remote = Store.create(tmp_path / "fresh"), Remote("there", server.url)
    make_run(server, experiment_id)
    pull(store, remote, selection=mine)
    before = counts(server, experiment_id)
    server.post("experiments/update", experiment_id=experiment_id, new_name=f"{experiment} renamed")
    lose_ledger(store, remote)
    assert push(store, remote).created == 0
    assert counts(server, experiment_id) == before


def test_on_another_server_it_is_created_and_found_the_next_time(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    fill(server, experiment_id)
    pull(store, remote, selection=mine)
    new, elsewhere = FakeMlflow(), Remote("new", "http://new.invalid")
    assert push(store, elsewhere, http=new).created == 2
    lose_ledger(store, elsewhere)
    again = push(store, elsewhere, http=new)
    assert (again.created, again.complete) == (0, True), again
    assert (len(new.runs), len(new.logged.held), len(new.experiments)) == (2, 1, 1)
    assert all("mltrack.run_id" in run.tags for run in new.runs.values())
    assert {run.tags["mltrack.origin"] for run in new.runs.values()} == {server.url}
    assert verify(store, elsewhere, http=new).same


def test_a_server_in_memory_is_asked_for_the_run_before_one_is_created(store: Store) -> None:
    fake, old = FakeMlflow(), Remote("old", "http://old.invalid")
    experiment = fake.make_experiment("theirs")
    run_id = fake.make_run(experiment, tags={"a": "1"}, points=[("m", 0, 5, 1.0)])
    pull(store, old, http=fake)
    lose_ledger(store, old)
    fake.calls.clear()
    report = push(store, old, http=fake)
    assert (report.created, list(fake.runs)) == (0, [run_id])
    assert "runs/create" not in [call for call, _ in fake.calls]
    assert fake.runs[run_id].tags == {"a": "1", "mlflow.runName": "theirs"}


@pytest.mark.parametrize(
    ("remote_id", "url", "known"),
    [
        ("0123456789abcdef0123456789abcdef", "http://elsewhere", True),
        ("m-0123456789abcdef0123456789abcdef", "http://elsewhere", True),
        ("clever_name_1", "http://lab:5000/mlflow/", True),
        ("clever_name_1", "http://user@LAB:5000/mlflow", True),
        ("clever_name_1", "http://elsewhere", False),
        ("", "http://lab:5000/mlflow", False),
    ],
)
def test_an_id_that_is_not_random_counts_only_on_its_own_server(remote_id: str, url: str, known: bool) -> None:
    tags = {"mltrack.origin": url, "mltrack.origin.run_id": remote_id}
    found = Origin("http://lab:5000/mlflow").own_id(tags, "mltrack.origin.run_id")
    assert found == (remote_id if known else "")


def test_tags_that_name_the_origin_go_to_other_servers_only() -> None:
    tags = {"a": "1", "mltrack.origin": "http://lab", "mltrack.origin.run_id": "r1"}
    own = {"mltrack.run_id": "f" * 32}
    assert remote_tags(tags, "r1", "mltrack.origin.run_id", own) == {"a": "1"}
    assert remote_tags(tags, "r2", "mltrack.origin.run_id", own) == {**tags, **own}
    assert remote_tags(tags, "", "mltrack.origin.run_id") == tags

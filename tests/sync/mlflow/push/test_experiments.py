"""Experiments without runs arrive, with their tags, and what is set later follows."""

from __future__ import annotations

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, Selection, pull, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.status import status_of
from tests.support.server import MlflowServer


def test_an_experiment_without_runs_arrives_with_its_tags_and_so_do_later_ones(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    made = next(each.experiment_id for each in store.experiments() if each.name == experiment)
    assert push(store, remote).requests == 0
    store.workspace.set_tag(made, "team", "a")
    assert status_of(store, remote).pending_experiments == 1
    assert push(store, remote, dry_run=True).experiments == 1
    assert [each.subject for each in verify(store, remote).differences] == [f"experiment {experiment}"]
    report = push(store, remote)
    assert (report.complete, report.experiments, report.runs) == (True, 1, 0)
    there = server.get("experiments/get-by-name", experiment_name=experiment)["experiment"]
    assert {tag["key"]: tag["value"] for tag in there["tags"]}["team"] == "a"
    assert push(store, remote).requests == 0
    store.workspace.set_tag(made, "team", "b")
    assert push(store, remote).complete
    there = server.get("experiments/get-by-name", experiment_name=experiment)["experiment"]
    assert {tag["key"]: tag["value"] for tag in there["tags"]}["team"] == "b"
    assert (push(store, remote).requests, status_of(store, remote).pending_experiments) == (0, 0)
    assert verify(store, remote).differences == ()


def test_a_tag_that_is_removed_is_removed_on_the_server_and_does_not_come_back(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    mine = Selection(experiments=(experiment,))
    mltrack.set_experiment_tag("team", "a")
    mltrack.set_experiment_tag("stays", "b")
    mltrack.start_run().end()
    push(store, remote)
    there = server.get("experiments/get-by-name", experiment_name=experiment)["experiment"]
    server.post("experiments/set-experiment-tag", experiment_id=there["experiment_id"], key="theirs", value="c")
    mltrack.delete_experiment_tag("team")
    pull(store, remote, selection=mine)
    assert "team" not in next(each.tags for each in store.experiments() if each.name == experiment)
    assert [each.thing for each in verify(store, remote).differences] == ["tag 'team'"]
    assert push(store, remote).complete
    there = server.get("experiments/get-by-name", experiment_name=experiment)["experiment"]
    assert {"stays", "theirs"} <= {tag["key"] for tag in there["tags"]}
    assert "team" not in {tag["key"] for tag in there["tags"]}
    assert (push(store, remote).requests, status_of(store, remote).pending_experiments) == (0, 0)
    assert verify(store, remote).differences == ()
    server.post("experiments/set-experiment-tag", experiment_id=there["experiment_id"], key="team", value="d")
    pull(store, remote, selection=mine)
    assert next(each.tags for each in store.experiments() if each.name == experiment)["team"] == "d"


def test_an_experiment_that_is_deleted_on_the_remote_is_rejected_until_it_is_restored(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    made = server.post("experiments/create", name=experiment)["experiment_id"]
    server.post("experiments/delete", experiment_id=made)
    mltrack.set_experiment_tag("team", "a")
    assert [item.kind for item in push(store, remote).rejected] == ["experiment"]
    assert [item.kind for item in push(store, remote).rejected] == ["experiment"]
    server.post("experiments/restore", experiment_id=made)
    assert push(store, remote, retry_rejected=True).complete


def test_an_experiment_without_runs_that_was_pulled_is_not_pending(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    server.post("experiments/create", name=f"{experiment} too", tags=[{"key": "team", "value": "a"}])
    pull(store, remote, selection=Selection(experiments=(f"{experiment} too",)))
    assert f"{experiment} too" in [each.name for each in store.experiments()]
    assert push(store, remote).requests == 0


def test_a_pulled_tag_is_not_sent_over_a_newer_one(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    mltrack.set_experiment_tag("team", "a")
    push(store, remote)
    made = server.experiment_id(experiment)
    server.post("experiments/set-experiment-tag", experiment_id=made, key="owner", value="me")
    pull(store, remote, selection=Selection(experiments=(experiment,)))
    assert next(each for each in store.experiments() if each.name == experiment).tags["owner"] == "me"
    assert status_of(store, remote).pending_experiments == 0
    server.post("experiments/set-experiment-tag", experiment_id=made, key="owner", value="you")
    push(store, remote)
    there = server.get("experiments/get-by-name", experiment_name=experiment)["experiment"]
    assert {tag["key"]: tag["value"] for tag in there["tags"]}["owner"] == "you"

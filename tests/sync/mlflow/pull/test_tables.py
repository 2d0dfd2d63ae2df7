"""Evaluation datasets, scorers and label schemas of a server: each comes once, and does not go back."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.genai.label_schemas import InputCategorical, LabelSchemaType

from mltrack.mlflow_plugin.tables_reader import read_records, read_tables
from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.mlflow.api.tables import TablesClient
from mltrack_sync.mlflow.provider import MlflowWorkspace
from mltrack_sync.remotes.config import Remotes
from mltrack_sync.remotes.ledgers import ledger_path
from tests.support.proxy import Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer
from tests.support.tables import client_of, judge


def fill(server: MlflowServer, experiment: str) -> str:
    """One of each on the server; returns the experiment's id there."""
    rest = client_of(server)
    home = rest.create_experiment(experiment, None, [])
    dataset = rest.create_dataset(f"questions of {experiment}", tags={"team": "a"}, experiment_ids=[home])
    rest.upsert_dataset_records(dataset.dataset_id, [{"inputs": {"q": n}, "tags": {"n": str(n)}} for n in range(300)])
    for words in ("first", "second"):
        rest.register_scorer(home, "short", judge(words))
    answers = InputCategorical(options=["yes", "no"])
    rest.create_label_schema(home, name="good", type=LabelSchemaType.FEEDBACK, input=answers, instruction="look")
    return str(home)


def held(store: Store) -> dict[str, Any]:
    found = read_tables(store)
    (dataset,) = found.datasets
    return {
        "name": dataset.name,
        "team": dataset.tags["team"],
        "homes": [store.workspace.get(each).name for each in dataset.experiment_ids],
        "records": sorted(row["inputs"]["q"] for row in read_records(store, dataset.dataset_id)),
        "scorers": [[json.loads(text)["description"] for text in each.versions] for each in found.scorers],
        "schemas": [(each.name, each.kind, each.input["options"]) for each in found.schemas],
    }


def whole(experiment: str) -> dict[str, Any]:
    return {
        "name": f"questions of {experiment}",
        "team": "a",
        "homes": [experiment],
        "records": list(range(300)),
        "scorers": [["first", "second"]],
        "schemas": [("good", "feedback", ["yes", "no"])],
    }


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """A store without the experiment."""
    return Store.create(tmp_path / "other" / ".mltrack")


@pytest.mark.slow
def test_they_come_once_and_what_is_new_later(
    other: Store, server: MlflowServer, experiment: str, mine: Selection
) -> None:
    fill(server, experiment)
    lab = Remotes(other).add("lab", server.url)
    assert pull(other, lab, selection=mine, dry_run=True).evaluation_items == 3
    assert pull(other, lab, selection=mine).evaluation_items == 3
    assert held(other) == whole(experiment)
    assert pull(other, lab, selection=mine).evaluation_items == 0
    assert push(other, lab).evaluation_items == 0
    (dataset,) = read_tables(other).datasets
    TrackingStore(f"mltrack://{other.path}").upsert_dataset_records(dataset.dataset_id, [{"inputs": {"q": 300}}])
    assert push(other, lab).evaluation_items == 1
    third = Remotes(other).add("again", f"{server.url}/")
    assert pull(other, third, selection=mine).evaluation_items <= 1
    assert held(other) == {**whole(experiment), "records": list(range(301))}


@pytest.mark.slow
def test_a_pull_that_breaks_off_at_any_request_brings_nothing_twice(
    other: Store, server: MlflowServer, proxy: FaultyProxy, experiment: str, mine: Selection
) -> None:
    fill(server, experiment)
    lab = Remotes(other).add("lab", proxy.url)
    policy = RetryPolicy(attempts_max=1, sleep=lambda seconds: None)
    lost: set[str] = set()

    def fault(seen: Seen) -> Fault:
        if "/3.0/mlflow/" in seen.path and f"{seen.path} {seen.number}" not in lost and len(lost) < 30:
            lost.add(f"{seen.path} {seen.number}")
            return LoseAnswer()
        return None

    proxy.fault = fault
    for _ in range(60):
        try:
            if pull(other, lab, selection=mine, policy=policy).complete:
                break
        except RemoteUnavailableError:
            continue
    assert len(lost) > 5
    assert held(other) == whole(experiment)


@pytest.mark.slow
def test_what_was_pushed_from_here_is_found_again(
    store: Store, remote: Remote, server: MlflowServer, experiment: str, mine: Selection
) -> None:
    tracking = TrackingStore(f"mltrack://{store.path}")
    home = str(tracking.get_experiment_by_name(experiment).experiment_id)
    tracking.create_dataset("questions", tags={"team": "a"}, experiment_ids=[home])
    tracking.register_scorer(home, "short", judge("first"))
    push(store, remote)
    pull(store, remote, selection=mine)
    found = read_tables(store)
    assert (len(found.datasets), [len(each.versions) for each in found.scorers]) == (1, [1])
    assert push(store, remote).evaluation_items == 0


@pytest.mark.slow
def test_what_was_pulled_is_found_on_its_server_without_a_ledger(
    other: Store, server: MlflowServer, experiment: str, mine: Selection
) -> None:
    home, rest = fill(server, experiment), client_of(server)
    lab = Remotes(other).add("lab", server.url)
    pull(other, lab, selection=mine)
    ledger_path(other, lab).unlink()
    assert push(other, lab).evaluation_items == 3
    assert len(rest.search_datasets(experiment_ids=[home])) == 1
    assert len(rest.list_scorer_versions(home, "short")) == 2


@pytest.mark.slow
def test_what_was_changed_on_both_sides_before_a_pull_goes_with_the_next_push(
    store: Store, remote: Remote, server: MlflowServer, experiment: str, mine: Selection
) -> None:
    tracking, rest = TrackingStore(f"mltrack://{store.path}"), client_of(server)
    home = str(tracking.get_experiment_by_name(experiment).experiment_id)
    here = tracking.create_dataset("questions", tags={"team": "a"}, experiment_ids=[home]).dataset_id
    tracking.register_scorer(home, "short", judge("first"))
    push(store, remote)
    there = str(rest.get_experiment_by_name(experiment).experiment_id)
    dataset = rest.search_datasets(experiment_ids=[there])[0].dataset_id
    for side, place, known, words in ((tracking, home, here, "ours"), (rest, there, dataset, "theirs")):
        side.upsert_dataset_records(known, [{"inputs": {"q": words}}])
        side.register_scorer(place, "short", judge(words))
    pull(store, remote, selection=mine)
    assert sorted(row["inputs"]["q"] for row in read_records(store, here)) == ["ours", "theirs"]
    push(store, remote)
    client = TablesClient(Transport(MlflowWorkspace(server.url, environ={}), policy=RetryPolicy(), connections_max=1))
    with contextlib.closing(client.transport):
        records = [row["inputs"]["q"] for page in client.records(dataset) for row in page]
        versions = [json.loads(text)["description"] for text in client.scorer_versions(there, "short")]
    assert (sorted(records), versions) == (["ours", "theirs"], ["first", "theirs", "ours"])


@pytest.mark.slow
def test_a_record_that_was_changed_here_stays_and_the_pull_says_so(
    store: Store, remote: Remote, server: MlflowServer, experiment: str, mine: Selection
) -> None:
    tracking, rest = TrackingStore(f"mltrack://{store.path}"), client_of(server)
    home = str(tracking.get_experiment_by_name(experiment).experiment_id)
    here = tracking.create_dataset("questions", experiment_ids=[home]).dataset_id
    tracking.upsert_dataset_records(here, [{"inputs": {"q": n}, "expectations": {"a": "first"}} for n in range(3)])
    push(store, remote)
    there = str(rest.get_experiment_by_name(experiment).experiment_id)
    dataset = rest.search_datasets(experiment_ids=[there])[0].dataset_id
    tracking.upsert_dataset_records(here, [{"inputs": {"q": 0}, "expectations": {"a": "ours"}}])
    rest.upsert_dataset_records(dataset, [{"inputs": {"q": n}, "expectations": {"a": "theirs"}} for n in range(2)])
    (note,) = pull(store, remote, selection=mine).notes
    assert 'a record was changed here, it stays as it is: {"q": 0}' in note
    whole = {0: "ours", 1: "theirs", 2: "first"}
    assert {row["inputs"]["q"]: row["expectations"]["a"] for row in read_records(store, here)} == whole
    push(store, remote)
    client = TablesClient(Transport(MlflowWorkspace(server.url, environ={}), policy=RetryPolicy(), connections_max=1))
    with contextlib.closing(client.transport):
        records = [row for page in client.records(dataset) for row in page]
    assert {row["inputs"]["q"]: row["expectations"]["a"] for row in records} == whole


@pytest.mark.slow
def test_what_the_server_changed_of_a_schema_and_of_tags_comes_unless_it_was_changed_here(
    store: Store, remote: Remote, server: MlflowServer, experiment: str, mine: Selection
) -> None:
    tracking, rest = TrackingStore(f"mltrack://{store.path}"), client_of(server)
    home = str(tracking.get_experiment_by_name(experiment).experiment_id)
    here = tracking.create_dataset("questions", tags={"team": "a", "old": "1"}, experiment_ids=[home]).dataset_id
    answers = InputCategorical(options=["yes", "no"])
    schemas = [
        tracking.create_label_schema(home, name=name, type=LabelSchemaType.FEEDBACK, input=answers).schema_id
        for name in ("left", "touched")
    ]
    push(store, remote)
    there = str(rest.get_experiment_by_name(experiment).experiment_id)
    dataset = rest.search_datasets(experiment_ids=[there])[0].dataset_id
    rest.set_dataset_tags(dataset, {"team": "theirs"})
    rest.delete_dataset_tag(dataset, "old")
    for name in ("left", "touched"):
        rest.update_label_schema(rest.get_label_schema_by_name(there, name).schema_id, instruction="theirs")
    tracking.update_label_schema(schemas[1], instruction="ours")
    (note,) = pull(store, remote, selection=mine).notes
    assert "label schema 'touched' was changed here" in note
    assert {each.name: each.instruction for each in read_tables(store).schemas} == {"left": "theirs", "touched": "ours"}
    tags = tracking.get_dataset(here).tags
    assert (tags["team"], "old" in tags) == ("theirs", False)
    assert push(store, remote).evaluation_items == 1
    assert rest.get_label_schema_by_name(there, "touched").instruction == "ours"
    assert pull(store, remote, selection=mine).evaluation_items == 0

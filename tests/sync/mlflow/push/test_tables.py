"""Evaluation datasets, scorers and label schemas: each is on the server once, as it is here."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from mlflow.genai.label_schemas import InputCategorical, InputPassFail, InputText, LabelSchemaType

from mltrack.mlflow_plugin.tables_reader import StoredRecord, Tables, read_tables, stored_records
from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.ledger.tables import TableEntry
from mltrack_sync.mlflow.api.tables import TablesClient
from mltrack_sync.mlflow.plan.pending_tables import deleted_here
from mltrack_sync.mlflow.provider import MlflowWorkspace
from mltrack_sync.mlflow.push.records import RECORDS_BYTES_MAX, RECORDS_MAX, batches, is_changed
from mltrack_sync.status import status_of
from tests.support.fake_mlflow import FakeMlflow
from tests.support.killing import killed_at_requests
from tests.support.proxy import Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer
from tests.support.syncers import Syncers
from tests.support.tables import judge

OUTPUTS: tuple[Any, ...] = ({"said": "a"}, {"said": 0}, {"said": ["a"]})


@pytest.fixture
def tracking(store: Store) -> TrackingStore:
    return TrackingStore(f"mltrack://{store.path}")


@pytest.fixture
def there(server: MlflowServer) -> Iterator[TablesClient]:
    """The server's own answers."""
    transport = Transport(MlflowWorkspace(server.url, environ={}), policy=RetryPolicy(), connections_max=1)
    yield TablesClient(transport)
    transport.close()


def fill(tracking: TrackingStore, experiment: str) -> str:
    """One of each; returns the experiment's id."""
    home = str(tracking.get_experiment_by_name(experiment).experiment_id)
    dataset = tracking.create_dataset(f"questions of {experiment}", tags={"team": "a"}, experiment_ids=[home])
    records: list[dict[str, Any]] = [
        {"inputs": {"q": n}, "expectations": {"a": n * 2}, "tags": {"n": str(n)}} for n in range(3)
    ]
    source = {"source_type": "TRACE", "source_data": {"trace_id": "tr-1"}}
    for record, outputs in zip(records, OUTPUTS, strict=True):
        record["outputs"] = outputs
    tracking.upsert_dataset_records(dataset.dataset_id, [*records, {"inputs": {"q": "traced"}, "source": source}])
    for text in ("first", "second", "first"):
        tracking.register_scorer(home, "short", judge(text))
    for name, kind, answer in (
        ("good", LabelSchemaType.FEEDBACK, InputCategorical(options=["yes", "no"])),
        ("passed", LabelSchemaType.FEEDBACK, InputPassFail(positive_label="Pass", negative_label="Fail")),
        ("answer", LabelSchemaType.EXPECTATION, InputText()),
    ):
        tracking.create_label_schema(home, name=name, type=kind, input=answer, instruction="look closely")
    return home


def held(there: TablesClient, server: MlflowServer, experiment: str) -> dict[str, Any]:
    """What the server has of them."""
    home = server.experiment_id(experiment)
    datasets = list(there.datasets([home]))
    records = [row for each in datasets for page in there.records(each.dataset_id) for row in page]
    fields = ("inputs", "outputs", "expectations", "tags", "source")
    return {
        "datasets": [(each.name, each.tags["team"]) for each in datasets],
        "records": [{key: row[key] for key in fields if row.get(key) not in (None, {})} for row in records],
        "scorers": [json.loads(text)["description"] for text in there.scorer_versions(home, "short")],
        "schemas": {each.name: (each.fields["type"], sorted(each.fields["input"])) for each in there.schemas(home)},
    }


WHOLE = {
    "records": [
        *(
            {"inputs": {"q": n}, "outputs": outputs, "expectations": {"a": n * 2}, "tags": {"n": str(n)}}
            for n, outputs in enumerate(OUTPUTS)
        ),
        {"inputs": {"q": "traced"}, "source": {"source_type": "TRACE", "source_data": {"trace_id": "tr-1"}}},
    ],
    "scorers": ["first", "second", "first"],
    "schemas": {
        "good": ("FEEDBACK", ["categorical"]),
        "passed": ("FEEDBACK", ["pass_fail"]),
        "answer": ("EXPECTATION", ["text"]),
    },
}


def assert_whole(there: TablesClient, server: MlflowServer, experiment: str) -> None:
    found = held(there, server, experiment)
    assert found.pop("datasets") == [(f"questions of {experiment}", "a")]
    found["records"].sort(key=lambda row: str(row["inputs"]["q"]))
    assert found == WHOLE


@pytest.mark.slow
def test_they_arrive_once_and_follow_changes(
    store: Store,
    tracking: TrackingStore,
    server: MlflowServer,
    remote: Remote,
    experiment: str,
    there: TablesClient,
) -> None:
    home = fill(tracking, experiment)
    assert status_of(store, remote).pending_evaluation_items == 5
    report = push(store, remote)
    assert (report.complete, report.evaluation_items) == (True, 5)
    assert_whole(there, server, experiment)
    assert status_of(store, remote).pending_evaluation_items == 0
    assert push(store, remote).requests == 0
    (dataset,) = tracking.search_datasets(experiment_ids=[home])
    tracking.upsert_dataset_records(dataset.dataset_id, [{"inputs": {"q": "late"}}])
    tracking.set_dataset_tags(dataset.dataset_id, {"team": "b"})
    tracking.register_scorer(home, "short", judge("third"))
    schema = tracking.get_label_schema_by_name(home, "good")
    tracking.update_label_schema(schema.schema_id, input=InputCategorical(options=["yes", "no", "maybe"]))
    assert push(store, remote).evaluation_items == 3
    found = held(there, server, experiment)
    assert found["datasets"] == [(f"questions of {experiment}", "b")]
    assert (len(found["records"]), found["scorers"][-1]) == (5, "third")
    (good,) = [each for each in there.schemas(server.experiment_id(experiment)) if each.name == "good"]
    assert good.fields["input"]["categorical"]["options"] == ["yes", "no", "maybe"]


@pytest.mark.slow
def test_a_version_made_after_another_was_deleted_arrives(
    store: Store,
    tracking: TrackingStore,
    server: MlflowServer,
    remote: Remote,
    experiment: str,
    there: TablesClient,
) -> None:
    home = fill(tracking, experiment)
    push(store, remote)
    tracking.delete_scorer(home, "short", version=2)
    push(store, remote)
    tracking.register_scorer(home, "short", judge("fourth"))
    push(store, remote)
    assert held(there, server, experiment)["scorers"] == ["first", "first", "fourth"]
    tracking.delete_scorer(home, "short")
    push(store, remote)
    assert held(there, server, experiment)["scorers"] == []


@pytest.mark.slow
def test_a_push_sends_the_records_that_were_changed_here_and_no_others(
    store: Store,
    tracking: TrackingStore,
    server: MlflowServer,
    remote: Remote,
    experiment: str,
    there: TablesClient,
) -> None:
    home = str(tracking.get_experiment_by_name(experiment).experiment_id)
    mine = tracking.create_dataset("questions", experiment_ids=[home]).dataset_id
    tracking.upsert_dataset_records(mine, [{"inputs": {"q": n}, "expectations": {"a": "first"}} for n in range(3)])
    push(store, remote)
    (dataset,) = there.datasets([server.experiment_id(experiment)])
    there.put_records(dataset.dataset_id, [{"inputs": {"q": 1}, "expectations": {"a": "theirs"}}])
    tracking.upsert_dataset_records(mine, [{"inputs": {"q": 2}, "expectations": {"a": "ours"}}])
    assert push(store, remote).evaluation_items == 1
    answers = {
        row["inputs"]["q"]: row["expectations"]["a"] for page in there.records(dataset.dataset_id) for row in page
    }
    assert answers == {0: "first", 1: "theirs", 2: "ours"}


@pytest.mark.slow
def test_what_was_deleted_on_the_server_is_sent_again_once_it_is_changed(
    store: Store,
    tracking: TrackingStore,
    server: MlflowServer,
    remote: Remote,
    experiment: str,
    there: TablesClient,
) -> None:
    home = fill(tracking, experiment)
    push(store, remote)
    on_server = server.experiment_id(experiment)
    (dataset,) = there.datasets([on_server])
    there.delete_dataset(dataset.dataset_id)
    there.delete_scorer(on_server, "short")
    assert push(store, remote).evaluation_items == 0
    (mine,) = tracking.search_datasets(experiment_ids=[home])
    tracking.upsert_dataset_records(mine.dataset_id, [{"inputs": {"q": "late"}}])
    tracking.register_scorer(home, "short", judge("third"))
    report = push(store, remote)
    assert (report.complete, report.evaluation_items) == (True, 2)
    found = held(there, server, experiment)
    assert (len(found["records"]), found["scorers"]) == (5, ["first", "second", "first", "third"])


@pytest.mark.slow
def test_a_tag_that_is_removed_from_a_dataset_is_removed_on_the_server_and_no_other(
    store: Store,
    tracking: TrackingStore,
    server: MlflowServer,
    remote: Remote,
    experiment: str,
    there: TablesClient,
) -> None:
    home = str(tracking.get_experiment_by_name(experiment).experiment_id)
    made = tracking.create_dataset(f"of {experiment}", tags={"team": "a", "odd key?": "1"}, experiment_ids=[home])
    assert push(store, remote).complete

    def tags() -> dict[str, str]:
        (found,) = there.datasets([server.experiment_id(experiment)])
        return {key: value for key, value in found.tags.items() if not key.startswith("mltrack.")}

    (found,) = there.datasets([server.experiment_id(experiment)])
    there.tag_dataset(found.dataset_id, {"theirs": "2"})
    tracking.delete_dataset_tag(made.dataset_id, "odd key?")
    assert status_of(store, remote).pending_evaluation_items == 1
    assert [found.thing for found in verify(store, remote).differences] == ["tag 'odd key?'"]
    pull(store, remote, selection=Selection(experiments=(experiment,)))
    assert "odd key?" not in tracking.get_dataset(made.dataset_id).tags
    assert push(store, remote).complete
    assert tags() == {"team": "a", "theirs": "2"}
    assert verify(store, remote).differences == ()
    tracking.delete_dataset_tag(made.dataset_id, "theirs")
    assert push(store, remote).complete
    assert tags() == {"team": "a"}
    assert verify(store, remote).differences == ()


@pytest.mark.slow
def test_what_was_made_from_here_and_is_deleted_is_deleted_on_the_server(
    store: Store,
    tracking: TrackingStore,
    server: MlflowServer,
    remote: Remote,
    experiment: str,
    there: TablesClient,
) -> None:
    home = fill(tracking, experiment)
    plain = tracking.create_dataset("plain", tags={"team": "a"}, experiment_ids=[home])
    push(store, remote)
    on_server = server.experiment_id(experiment)
    there.create_schema(on_server, {"name": "theirs", "type": "FEEDBACK", "input": {"text": {}}})
    mine = Selection(experiments=(experiment,))
    pull(store, remote, selection=mine)
    tracking.register_scorer(home, "other", judge("", "other"))
    push(store, remote)
    same = verify(store, remote)
    assert (same.differences, same.evaluation_items) == ((), 8)
    (dataset,) = [each for each in there.datasets([on_server]) if each.name != plain.name]
    there.put_records(dataset.dataset_id, [{"inputs": {"q": "added there"}}])
    there.register_scorer(on_server, "other", judge("added there", "other"))
    (differs,) = verify(store, remote).differences
    assert (differs.kind, differs.thing, differs.local) == ("evaluation dataset", "records", "nothing")

    for each in tracking.search_datasets(experiment_ids=[home]):
        tracking.delete_dataset(each.dataset_id)
    for scorer in ("short", "other"):
        tracking.delete_scorer(home, scorer)
    (answer,) = [each for each in there.schemas(on_server) if each.name == "answer"]
    there.change_schema(answer.schema_id, {"enable_comment": False, "input": {"text": {}}, "instruction": "changed"})
    for schema in ("good", "theirs", "answer"):
        tracking.delete_label_schema(tracking.get_label_schema_by_name(home, schema).schema_id)
    assert status_of(store, remote).pending_evaluation_items == 6
    waits = verify(store, remote).differences
    assert sorted(each.kind for each in waits) == [
        *("evaluation dataset", "evaluation dataset", "label schema", "label schema", "scorer", "scorer")
    ]
    assert all(each.remote == "present (waits to be pushed)" for each in waits)
    assert (
        pull(store, remote, selection=mine).evaluation_items == 1
    )  # theirs; what waits to be deleted does not come back
    report = push(store, remote)
    assert report.evaluation_items == 6
    stays = [words.partition(" ")[0] for words in report.problems if "stays on the server" in words]
    assert stays == ["evaluation", "label", "scorer"]
    found = held(there, server, experiment)
    assert (found["scorers"], sorted(found["schemas"])) == ([], ["answer", "passed", "theirs"])
    assert [each.dataset_id for each in there.datasets([on_server])] == [dataset.dataset_id]
    assert len(found["records"]) == 5
    assert len(there.scorer_versions(on_server, "other")) == 2
    assert push(store, remote).requests == 0


@pytest.mark.slow
def test_what_others_made_stays_also_if_the_answer_to_its_change_was_lost(
    store: Store,
    tracking: TrackingStore,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    there: TablesClient,
) -> None:
    home = str(tracking.get_experiment_by_name(experiment).experiment_id)
    tracking.register_scorer(home, "mine", judge("", "mine"))
    push(store, spoiled)
    on_server, theirs = server.experiment_id(experiment), judge("", "theirs")
    there.create_schema(on_server, {"name": "good", "type": "FEEDBACK", "input": {"text": {}}})
    there.register_scorer(on_server, "theirs", theirs)
    schema = tracking.create_label_schema(home, name="good", type=LabelSchemaType.FEEDBACK, input=InputText())
    tracking.register_scorer(home, "theirs", theirs)
    lost: Counter[str] = Counter()

    def fault(seen: Seen) -> Fault:
        what = seen.path.partition("?")[0].rpartition("/3.0/mlflow/")[2]
        if what not in ("label-schemas/update", "scorers/versions") or lost[what] == 2:
            return None
        lost[what] += 1
        return LoseAnswer()

    proxy.fault = fault
    assert push(store, spoiled, policy=RetryPolicy(attempts_max=2, sleep=lambda seconds: None)).complete
    assert lost == {"label-schemas/update": 2, "scorers/versions": 2}
    tracking.delete_label_schema(schema.schema_id)
    for scorer in ("theirs", "mine"):
        tracking.delete_scorer(home, scorer)
    push(store, spoiled)
    assert "good" in [each.name for each in there.schemas(on_server)]
    assert there.scorer_names(on_server) == ["theirs"]


@pytest.mark.slow
def test_an_answer_that_is_lost_at_any_request_makes_nothing_twice(
    store: Store,
    tracking: TrackingStore,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    there: TablesClient,
) -> None:
    fill(tracking, experiment)
    policy = RetryPolicy(attempts_max=1, sleep=lambda seconds: None)
    lost: set[str] = set()

    def fault(seen: Seen) -> Fault:
        what = f"{seen.path} {seen.number}"
        if "/3.0/mlflow/" in seen.path and what not in lost and len(lost) < 40:
            lost.add(what)
            return LoseAnswer()
        return None

    proxy.fault = fault
    for _ in range(80):
        try:
            if push(store, spoiled, policy=policy).complete:
                break
        except RemoteUnavailableError:
            continue
    assert len(lost) > 10
    assert_whole(there, server, experiment)


@pytest.mark.slow
def test_a_syncer_killed_at_any_request_sends_each_once(
    store: Store,
    tracking: TrackingStore,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    there: TablesClient,
    syncers: Syncers,
) -> None:
    home = fill(tracking, experiment)
    moments = [(number, after) for number in range(1, 16) for after in (False, True)]
    assert killed_at_requests(syncers, store, spoiled, proxy, moments) >= 10
    push(store, spoiled)
    assert_whole(there, server, experiment)
    assert push(store, spoiled).requests == 0
    # all of it counts as made from here, also what was sent just before a death
    (dataset,) = tracking.search_datasets(experiment_ids=[home])
    stored = stored_records(store, dataset.dataset_id)
    tracking.delete_dataset_records(dataset.dataset_id, [each.record_id for each in stored[1:]])
    tracking.delete_scorer(home, "short", version=1)
    for name in ("good", "passed"):
        tracking.delete_label_schema(tracking.get_label_schema_by_name(home, name).schema_id)
    killed_at_requests(syncers, store, spoiled, proxy, [(number, True) for number in range(1, 8)])
    assert push(store, spoiled).problems == ()
    found = held(there, server, experiment)
    assert (len(found["records"]), found["scorers"]) == (1, ["second", "first"])
    assert list(found["schemas"]) == ["answer"]
    tracking.delete_dataset(dataset.dataset_id)
    tracking.delete_scorer(home, "short")
    assert push(store, spoiled).problems == ()
    assert (held(there, server, experiment)["datasets"], held(there, server, experiment)["scorers"]) == ([], [])


@pytest.mark.slow
def test_a_server_that_lacks_them_is_named_and_they_wait(
    store: Store, tracking: TrackingStore, experiment: str, fake: FakeMlflow
) -> None:
    from mltrack_sync import Remotes

    fill(tracking, experiment)
    remote = Remotes(store).add("old", "http://old.example")
    report = push(store, remote, http=fake, policy=RetryPolicy(sleep=lambda seconds: None))
    assert [words.partition(":")[0] for words in report.unsupported] == [
        "evaluation datasets",
        "scorers",
        "label schemas",
    ]
    assert status_of(store, remote).pending_evaluation_items == 5


def test_a_file_that_is_not_a_database_keeps_nothing_else_from_going(
    store: Store, remote: Remote, experiment: str
) -> None:
    import mltrack

    with mltrack.start_run():
        mltrack.log_metric("m", 1.0)
    (store.path / "workspace" / "mlflow.db").write_bytes(b"something else" * 100)
    report = push(store, remote)
    assert report.runs == 1
    assert any("mlflow.db can't be read" in words for words in report.problems)


def test_after_the_clock_was_set_back_all_records_count_as_changed() -> None:
    stored = StoredRecord({"inputs": {"q": 1}}, "dr-1", made_ms=1000, changed_ms=2000)
    assert [is_changed(stored, "", until) for until in (1999, 2000, 10**15)] == [True, False, True]
    assert is_changed(StoredRecord({"inputs": {"q": 1}}, "dr-1", made_ms=0, changed_ms=0), "", 0)


def test_a_request_has_so_many_records_and_bytes_at_most_or_one_long_record() -> None:
    small, long = {"inputs": {"q": 1}}, {"inputs": {"q": "x" * (RECORDS_BYTES_MAX * 2 // 3)}}
    assert [len(batch) for batch in batches([small] * (RECORDS_MAX + 1))] == [RECORDS_MAX, 1]
    assert [len(batch) for batch in batches([small, long, long, small])] == [2, 2]
    assert list(batches([])) == []


def test_a_store_without_the_file_deletes_nothing() -> None:
    known = {("scorer", "0/short"): TableEntry("", "print", 1, made=True)}
    assert [each.key for each in deleted_here(Tables(), known, 1)] == ["0/short"]
    assert deleted_here(Tables(), known, 0) == ()
    assert deleted_here(Tables(), {("scorer", "0/short"): TableEntry("", "print", 1)}, 1) == ()


def test_a_store_whose_file_was_lost_and_made_again_deletes_nothing(store: Store, tracking: TrackingStore) -> None:
    file = store.path / "workspace" / "mlflow.db"
    tracking.register_scorer("0", "short", judge(""))
    number = read_tables(store).file
    known = {("scorer", "0/short"): TableEntry("", "print", 1, made=True, file=number)}
    tracking.delete_scorer("0", "short")
    assert [each.key for each in deleted_here(read_tables(store), known, 1)] == ["0/short"]
    copy = store.path / "copy.db"
    shutil.copy(file, copy)
    copy.replace(file)
    assert read_tables(store).file == number != 0
    file.unlink()
    tracking.register_scorer("0", "new", judge(""))
    assert read_tables(store).file not in (0, number)
    assert deleted_here(read_tables(store), known, 1) == ()

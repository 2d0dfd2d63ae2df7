"""Traces come from a server with spans, tags, metadata, assessments and links, once, and go on to another one."""

from __future__ import annotations

import json
from typing import Any

import mlflow
import pytest

from mltrack.errors import RemoteError
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.mlflow.pull.spans import read_spans
from tests.support.fake_mlflow import FakeMlflow
from tests.support.mlflow_recording import mlflow_on
from tests.support.server import MlflowServer
from tests.support.server_traces import record_traces

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and its libraries', not ours

OLD, NEW = Remote("old", "http://old.invalid"), Remote("new", "http://new.invalid")


def test_traces_arrive_with_all_that_belongs_to_them(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, experiment: str, mine: Selection
) -> None:
    _, ids = record_traces(server, experiment)
    report = pull(store, remote, selection=mine)
    assert (report.traces, report.problems) == (2, ())
    assert sorted(trace.trace_id for trace in store.traces.all()) == sorted(ids)
    (run_id,) = store.run_ids()
    first, second = (store.traces.get(trace_id) for trace_id in ids)
    assert (first.state, second.state, first.tags["lang"], first.session) == ("OK", "ERROR", "日本語", "s1")
    assert (first.metadata["mlflow.sourceRun"], second.run_ids) == (run_id, (run_id,))
    assert sum(each.valid for each in first.assessments.values()) == 1
    assert [head.name for head in first.ordered_spans()] == ["asked", "answer"]
    assert (first.tokens["total_tokens"], first.ordered_spans()[1].model) == (7, "small")
    assert check_store(store.path).findings == []
    compared = verify(store, remote)
    assert compared.differences == ()
    assert (compared.traces, compared.spans, compared.assessments) == (2, 3, 3)
    with mlflow_on(f"mltrack://{store.path}"):
        here = mlflow.get_trace(ids[0])
    assert here is not None
    with mlflow_on(server.url):
        there = mlflow.get_trace(ids[0])
    assert [s.to_dict() for s in here.data.spans] == [s.to_dict() for s in there.data.spans]


def test_a_second_pull_brings_only_what_changed_and_nothing_is_sent_back(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, experiment: str, mine: Selection
) -> None:
    _, ids = record_traces(server, experiment)
    pull(store, remote, selection=mine)
    assert push(store, remote).traces == 0
    assert pull(store, remote, selection=mine).traces == 0
    with mlflow_on(server.url):
        mlflow.set_trace_tag(ids[0], "lang", "en")
        mlflow.set_trace_tag(ids[1], "more", "1")
        mlflow.log_feedback(trace_id=ids[1], name="late", value=0.5)
    store.traces.add(
        store.traces.get(ids[1]).experiment_id, {"type": "tag", "trace_id": ids[1], "key": "mine", "value": "here"}
    )
    assert pull(store, remote, selection=mine).traces == 2
    first, second = (store.traces.get(trace_id) for trace_id in ids)
    assert (first.tags["lang"], second.tags["more"], second.tags["mine"]) == ("en", "1", "here")
    assert "late" in {each.name for each in second.assessments.values()}
    assert push(store, remote).traces == 1
    assert verify(store, remote).differences == ()


def test_without_its_ledger_nothing_comes_twice(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, experiment: str, mine: Selection
) -> None:
    record_traces(server, experiment)
    pull(store, remote, selection=mine)
    sizes = [path.stat().st_size for path in sorted(store.layout.traces.rglob("*.jsonl"))]
    (store.layout.remote(remote.name) / "ledger.jsonl").unlink()
    assert pull(store, remote, selection=mine).traces == 0
    assert [path.stat().st_size for path in sorted(store.layout.traces.rglob("*.jsonl"))] == sizes
    assert push(store, remote).traces == 0


def test_traces_move_to_another_server(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, experiment: str, mine: Selection
) -> None:
    _, ids = record_traces(server, experiment)
    pull(store, remote, selection=mine)
    new = FakeMlflow()
    assert push(store, NEW, http=new).complete
    assert sorted(new.traces.held) == sorted(ids)
    compared = verify(store, NEW, http=new)
    assert compared.differences == ()
    assert (compared.spans, compared.assessments) == (3, 3)


def info(fake: FakeMlflow, experiment_id: str, trace_id: str, **more: Any) -> None:
    """A trace without spans, as an older client makes it."""
    place = {"mlflow_experiment": {"experiment_id": experiment_id}}
    times = {"request_time": "2026-01-02T03:04:05.678Z", "execution_duration": "1.250s"}
    held: dict[str, Any] = {"tags": {}, "trace_metadata": {}, "assessments": [], **more}
    given = {"trace_id": trace_id, "trace_location": place, "state": "OK", **times, **held}
    fake.traces.answer("POST traces", {"trace": {"trace_info": given}})


def test_spans_that_an_older_client_keeps_in_a_file_come_as_that_file(store: Store) -> None:
    old, new = FakeMlflow(), FakeMlflow()
    experiment = old.make_experiment("theirs")
    info(old, experiment, "tr-1", tags={"mlflow.traceName": "f"})
    content = json.dumps({"spans": [{"name": "f"}]}).encode()
    old.files[f"{experiment}/traces/tr-1/artifacts/traces.json"] = content
    report = pull(store, OLD, http=old)
    assert (report.traces, report.artifacts, report.problems) == (1, 1, ())
    trace = store.traces.get("tr-1")
    assert (trace.request_time, trace.duration, trace.final) == (1767323045678, 1250, True)
    assert store.layout.trace_folder(trace.experiment_id).files("tr-1").joinpath("traces.json").read_bytes() == content
    assert pull(store, OLD, http=old).artifacts == 0
    assert push(store, NEW, http=new).complete
    (there,) = new.experiments
    assert new.files[f"{there}/traces/tr-1/artifacts/traces.json"] == content
    assert verify(store, NEW, http=new).differences == ()


def test_a_server_with_the_second_version_of_infos_gives_its_traces(store: Store) -> None:
    fake = FakeMlflow()
    experiment = fake.make_experiment("theirs")
    info(fake, experiment, "tr-1", tags={"a": "1"}, trace_metadata={"m": "2"})
    fake.traces.version = 2
    fake.files[f"{experiment}/traces/tr-1/artifacts/traces.json"] = b"{}"
    assert pull(store, OLD, http=fake).traces == 1
    trace = store.traces.get("tr-1")
    assert (trace.request_time, trace.duration, trace.state) == (1767323045678, 1250, "OK")
    assert (dict(trace.tags), dict(trace.metadata)) == ({"a": "1"}, {"m": "2"})
    assert pull(store, OLD, http=fake).traces == 0


def test_a_conflict_is_said_and_what_was_changed_here_stands(store: Store) -> None:
    fake = FakeMlflow()
    info(fake, fake.make_experiment("theirs"), "tr-1", tags={"a": "1", "b": "1"})
    pull(store, OLD, http=fake, artifact_bytes_max=0)
    experiment_id = store.traces.get("tr-1").experiment_id
    store.traces.add(experiment_id, {"type": "tag", "trace_id": "tr-1", "key": "a", "value": "mine"})
    fake.traces.held["tr-1"].tags |= {"a": "theirs", "c": "1"}
    report = pull(store, OLD, http=fake, artifact_bytes_max=0)
    assert dict(store.traces.get("tr-1").tags) == {"a": "mine", "b": "1", "c": "1"}
    assert len(report.notes) == 1
    assert "tag 'a' of trace tr-1" in report.notes[0]
    push(store, OLD, http=fake)
    assert fake.traces.held["tr-1"].tags["a"] == "mine"


def test_a_trace_that_was_deleted_here_stays_deleted(store: Store) -> None:
    fake = FakeMlflow()
    info(fake, fake.make_experiment("theirs"), "tr-1")
    pull(store, OLD, http=fake, artifact_bytes_max=0)
    store.traces.add(store.traces.get("tr-1").experiment_id, {"type": "delete", "trace_id": "tr-1"})
    fake.traces.held["tr-1"].tags["new"] = "1"
    assert pull(store, OLD, http=fake).traces == 0
    assert store.traces.find("tr-1") is None


@pytest.mark.parametrize("trace_id", ["../../../evil", "a/b", "", "x" * 200, ".."])
def test_an_id_that_could_be_a_path_is_refused(store: Store, trace_id: str) -> None:
    fake = FakeMlflow()
    info(fake, fake.make_experiment("theirs"), trace_id)
    with pytest.raises(RemoteError, match="traces/search"):
        pull(store, OLD, http=fake)
    assert store.traces.all() == []
    assert check_store(store.path).findings == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"request_time": "yesterday"},
        {"request_time": {}},
        {"assessments": [{"assessment_id": "a"}]},
        {"assessments": ["no"]},
        {"tags": {"a": {"b": 1}}},
        {"execution_duration": "soon"},
    ],
)
def test_a_trace_of_another_shape_is_reported_and_the_others_come(store: Store, wrong: dict[str, Any]) -> None:
    fake = FakeMlflow()
    experiment = fake.make_experiment("theirs")
    info(fake, experiment, "tr-1")
    info(fake, experiment, "tr-2")
    held = fake.traces.held["tr-1"]
    held.info |= {key: value for key, value in wrong.items() if key not in ("tags", "assessments")}
    if "tags" in wrong:
        held.tags |= wrong["tags"]
    if "assessments" in wrong:
        held.assessments = {str(n): each for n, each in enumerate(wrong["assessments"])}
    report = pull(store, OLD, http=fake, artifact_bytes_max=0)
    assert [trace.trace_id for trace in store.traces.all()] == ["tr-2"]
    assert len(report.problems) == 1
    assert "tr-1" in report.problems[0]


def test_attributes_of_spans_keep_their_types() -> None:
    def attribute(key: str, value: dict[str, Any]) -> dict[str, Any]:
        return {"key": key, "value": value}

    row = {
        "trace_id": "AAAAAAAAAAAAAAAAAAAAAQ==",
        "span_id": "AAAAAAAAAAI=",
        "start_time_unix_nano": "5000000",
        "attributes": [
            attribute("text", {"string_value": "a"}),
            attribute("number", {"int_value": "7"}),
            attribute("nan", {"double_value": "NaN"}),
            attribute("list", {"array_value": {"values": [{"bool_value": True}, {}]}}),
            attribute("mlflow.spanType", {"string_value": "LLM"}),
        ],
    }
    (span,) = read_spans([row])
    attributes = span.content["attributes"]
    assert attributes["text"] == '"a"'
    assert (attributes["number"], attributes["nan"], attributes["list"]) == ("7", "NaN", "[true, null]")
    assert span.head == {"id": "0000000000000002", "name": "", "kind": "LLM", "status": "UNSET", "start": 5000000}

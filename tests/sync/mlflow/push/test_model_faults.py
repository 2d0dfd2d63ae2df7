"""Logged models and their faults, on a server in memory: each once and whole, refusals alone, what waits waits."""

from __future__ import annotations

import pytest

import mltrack
from mltrack.entities import DELETED
from mltrack.store import Store
from mltrack_sync import PushReport, Remote, push
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.status import status_of
from tests.support.fake_mlflow import AnswerLost, FakeMlflow, Fields, Refused, failing_once
from tests.support.fake_models import FakeModel
from tests.support.model_recording import put_file
from tests.support.small_records import record_model


def pushed(store: Store, remote: Remote, fake: FakeMlflow, *, retry_rejected: bool = False) -> PushReport:
    policy = RetryPolicy(sleep=lambda seconds: None)
    return push(store, remote, http=fake, policy=policy, jobs=1, retry_rejected=retry_rejected)


def whole(fake: FakeMlflow, model_id: str) -> FakeModel:
    """The only model, after it was seen to hold all that was recorded, once."""
    (model,) = fake.logged.held.values()
    (run,) = fake.runs.values()
    info = model.info
    assert (info["name"], info["model_type"], info["status"]) == ("net", "agent", "LOGGED_MODEL_READY")
    assert info["source_run_id"] == run.info["run_id"]
    assert model.params == {"depth": "3", "width": "4"}
    assert model.tags == {"team": "vision", "mltrack.model_id": model_id}
    assert sorted(point[1] for point in model.points) == [0, 1, 2]
    assert {point[4:] for point in model.points} == {(run.info["run_id"], "train", "abc")}
    assert len(run.points) == 3
    root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert fake.files == {f"{root}/weights/w.bin": b"\0" * 1000, f"{root}/notes.txt": b"words"}
    return model


def test_a_model_arrives_whole_follows_changes_and_is_deleted(store: Store, there: Remote, fake: FakeMlflow) -> None:
    _, model_id = record_model(store)
    report = pushed(store, there, fake)
    assert (report.complete, report.logged_models, report.artifacts) == (True, 1, 2)
    model = whole(fake, model_id)
    assert pushed(store, there, fake).requests == 0
    models = store.logged_models
    models.log_params(model_id, {"new": "1"})
    models.set_tags(model_id, {"team": None, "checked": "yes"})
    put_file(store, model_id, "notes.txt", b"other words")
    models.set_status(model_id, "FAILED")
    assert pushed(store, there, fake).complete
    assert (model.params["new"], model.tags) == ("1", {"checked": "yes", "mltrack.model_id": model_id})
    assert model.info["status"] == "LOGGED_MODEL_UPLOAD_FAILED"
    assert b"other words" in fake.files.values()
    models.set_stage(model_id, DELETED)
    assert pushed(store, there, fake).complete
    assert model.deleted
    assert pushed(store, there, fake).requests == 0


@pytest.mark.parametrize(
    "call",
    ["POST logged-models", "logged-models/search", "PATCH logged-models", "artifacts PUT", "runs/log-batch"],
)
@pytest.mark.parametrize(
    "error",
    [
        AnswerLost(),
        Refused("busy", "TEMPORARILY_UNAVAILABLE", 503),
        Refused("slow down", "REQUEST_LIMIT_EXCEEDED", 429),
    ],
    ids=["answer lost", "503", "429"],
)
def test_unanswered_and_deferred_requests_are_retried_and_nothing_is_duplicated(
    store: Store, there: Remote, fake: FakeMlflow, call: str, error: Exception
) -> None:
    _, model_id = record_model(store)
    fake.fault = failing_once(call, error)
    assert pushed(store, there, fake).complete
    assert call in [asked for asked, _ in fake.calls]
    whole(fake, model_id)
    assert pushed(store, there, fake).requests == 0


def test_late_params_whose_answer_was_lost_are_looked_up(store: Store, there: Remote, fake: FakeMlflow) -> None:
    _, model_id = record_model(store)
    pushed(store, there, fake)
    store.logged_models.log_params(model_id, {"late": "1", "later": "2"})
    fake.fault = failing_once("POST logged-models/params", AnswerLost())
    assert pushed(store, there, fake).complete
    (model,) = fake.logged.held.values()
    assert model.params == {"depth": "3", "width": "4", "late": "1", "later": "2"}
    sent = [fields for call, fields in fake.calls if call == "POST logged-models/params"]
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("call", "kind", "key"),
    [
        ("POST logged-models/params", "logged model param", "late"),
        ("PATCH logged-models/tags", "logged model tag", "late"),
        ("artifacts PUT", "logged model file", "late"),
    ],
)
def test_what_is_refused_is_rejected_alone_and_arrives_when_retried(
    store: Store, there: Remote, fake: FakeMlflow, call: str, kind: str, key: str
) -> None:
    _, model_id = record_model(store)
    pushed(store, there, fake)
    store.logged_models.log_params(model_id, {"late": "1", "fine": "2"})
    store.logged_models.set_tags(model_id, {"late": "1", "fine": "2"})
    put_file(store, model_id, "late", b"1")
    put_file(store, model_id, "fine", b"2")

    def fault(asked: str, fields: Fields) -> None:
        named = [pair["key"] for name in ("params", "tags") for pair in fields.get(name, [])]
        if asked == call and ("late" in named or fields.get("path", "").endswith("/late")):
            raise Refused("not this one")

    fake.fault = fault
    report = pushed(store, there, fake)
    assert [(item.kind, item.key, item.reason) for item in report.rejected] == [
        (kind, f"{model_id}/{key}", "not this one")
    ]
    (model,) = fake.logged.held.values()
    assert (model.params["fine"], model.tags["fine"]) == ("2", "2")
    assert b"2" in fake.files.values()
    assert pushed(store, there, fake).requests == 0
    fake.fault = lambda asked, fields: None
    assert pushed(store, there, fake, retry_rejected=True).rejected == ()
    assert (model.params["late"], model.tags["late"]) == ("1", "1")
    assert b"1" in fake.files.values()


def test_a_refused_model_holds_no_other_back(store: Store, there: Remote, fake: FakeMlflow) -> None:
    _, refused = record_model(store, "bad")
    record_model(store, "good")

    def fault(call: str, fields: Fields) -> None:
        if call == "POST logged-models" and fields["name"] == "bad":
            raise Refused("no such name")

    fake.fault = fault
    report = pushed(store, there, fake)
    assert [(item.kind, item.key, item.reason) for item in report.rejected] == [
        ("logged model", refused, "no such name")
    ]
    assert [model.info["name"] for model in fake.logged.held.values()] == ["good"]
    assert len(fake.runs) == 2
    assert pushed(store, there, fake).requests == 0


def test_a_server_that_keeps_failing_ends_the_push_and_the_next_push_continues(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    for number in range(4):
        record_model(store, f"net {number}")

    def fault(call: str, fields: Fields) -> None:
        if call == "POST logged-models":
            raise Refused("out of order", "INTERNAL_ERROR", 500)

    fake.fault = fault
    with pytest.raises(RemoteUnavailableError):
        pushed(store, there, fake)
    assert fake.logged.held == {}
    fake.fault = lambda call, fields: None
    assert pushed(store, there, fake).complete
    assert sorted(model.info["name"] for model in fake.logged.held.values()) == [f"net {n}" for n in range(4)]


def test_a_server_without_logged_models_is_asked_once_and_everything_else_arrives(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    for number in range(3):
        record_model(store, f"net {number}")

    def fault(call: str, fields: Fields) -> None:
        if "logged-models" in call:
            raise Refused("no such call", "ENDPOINT_NOT_FOUND", 404)

    fake.fault = fault
    report = pushed(store, there, fake)
    assert len(report.lacking) == 1 and "logged models" in report.lacking[0]
    assert (report.runs, report.rejected) == (3, ())
    assert sum("logged-models" in call for call, _ in fake.calls) == 1
    assert status_of(store, there).pending_logged_models == 3
    fake.fault = lambda call, fields: None
    assert pushed(store, there, fake).logged_models == 3
    assert pushed(store, there, fake).requests == 0


def test_a_model_deleted_on_the_remote_is_rejected_when_it_changes_locally(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    _, model_id = record_model(store)
    pushed(store, there, fake)
    with mltrack.start_run():
        pass
    (model,) = fake.logged.held.values()
    model.deleted = True
    store.logged_models.set_tags(model_id, {"team": "speech"})
    report = pushed(store, there, fake)
    assert [item.kind for item in report.rejected] == ["logged model tag"]
    assert model.tags["team"] == "vision"
    assert len(fake.runs) == 2

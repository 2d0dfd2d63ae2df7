"""Registered models and their faults, on a server in memory: each version once, refusals alone."""

from __future__ import annotations

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import PushReport, Remote, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.http.retry import RetryPolicy
from tests.support.fake_mlflow import AnswerLost, FakeMlflow, Fields, Refused


def register(store: Store) -> None:
    """Two versions of one model, the first of which has an alias and a stage."""
    for number in (1, 2):
        with mltrack.start_run(run_name=f"run {number}") as run:
            mltrack.log_text(f"weights {number}", "model/weights.txt")
            run.register_model("net", "model", tags={"quality": "good"}, description=f"version {number}")
    store.registry.update_model("net", "a net")
    store.registry.set_model_tag("net", "team", "vision")
    store.registry.set_alias("net", "champion", 1)
    store.registry.set_stage("net", 1, "Production")


def pushed(store: Store, remote: Remote, fake: FakeMlflow, *, retry_rejected: bool = False) -> PushReport:
    policy = RetryPolicy(sleep=lambda seconds: None)
    return push(store, remote, http=fake, policy=policy, jobs=1, retry_rejected=retry_rejected)


def assert_whole(fake: FakeMlflow) -> None:
    model = fake.models["net"]
    assert (model["description"], model["tags"]["team"], model["aliases"]) == ("a net", "vision", {"champion": "1"})
    assert [version["description"] for version in fake.versions["net"]] == ["version 1", "version 2"]
    assert [version["current_stage"] for version in fake.versions["net"]] == ["Production", "None"]
    assert all(version["tags"]["quality"] == "good" for version in fake.versions["net"])


def test_models_arrive_once_with_all_their_data(store: Store, there: Remote, fake: FakeMlflow) -> None:
    register(store)
    report = pushed(store, there, fake)
    assert (report.models, report.model_versions) == (1, 2)
    assert_whole(fake)
    assert pushed(store, there, fake).requests == 0


@pytest.mark.parametrize("call", ["registered-models/create", "model-versions/create", "registered-models/alias"])
def test_what_was_created_although_the_answer_was_lost_is_not_created_again(
    store: Store, there: Remote, fake: FakeMlflow, call: str
) -> None:
    register(store)
    lost: list[str] = []

    def fault(asked: str, fields: Fields) -> None:
        if asked == call and not lost:
            lost.append(asked)
            raise AnswerLost

    fake.fault = fault
    pushed(store, there, fake)
    assert lost
    assert_whole(fake)
    assert pushed(store, there, fake).requests == 0


@pytest.mark.parametrize(
    ("call", "kind", "key"),
    [
        ("registered-models/set-tag", "model tag", "net/team"),
        ("registered-models/alias", "alias", "net@champion"),
        ("model-versions/transition-stage", "model version", "net/1"),
    ],
)
def test_what_is_refused_is_rejected_alone_and_retried_on_request(
    store: Store, there: Remote, fake: FakeMlflow, call: str, kind: str, key: str
) -> None:
    register(store)
    pushed(store, there, fake)
    store.registry.set_model_tag("net", "team", "speech")
    store.registry.set_alias("net", "champion", 2)
    store.registry.set_stage("net", 1, "Archived")

    def fault(asked: str, fields: Fields) -> None:
        if asked == call:
            raise Refused("not this")

    fake.fault = fault
    report = pushed(store, there, fake)
    assert [(item.kind, item.key, item.reason) for item in report.rejected] == [(kind, key, "not this")]
    assert pushed(store, there, fake).requests == 0
    fake.fault = lambda asked, fields: None
    assert pushed(store, there, fake, retry_rejected=True).rejected == ()
    model, first = fake.models["net"], fake.versions["net"][0]
    assert (model["tags"]["team"], model["aliases"]["champion"]) == ("speech", "2")
    assert first["current_stage"] == "Archived"


def test_a_version_that_is_still_being_copied_is_waited_for(store: Store, there: Remote, fake: FakeMlflow) -> None:
    register(store)
    asked = 0

    def fault(call: str, fields: Fields) -> None:
        nonlocal asked
        if call == "model-versions/get":
            asked += 1
            for version in fake.versions["net"]:
                version["status"] = "READY" if asked > 2 else "PENDING_REGISTRATION"

    fake.fault = fault
    fake.status_of_new_versions = "PENDING_REGISTRATION"
    assert pushed(store, there, fake).model_versions == 2
    assert asked > 2
    assert_whole(fake)


def test_what_differs_in_the_registry_is_named(store: Store, there: Remote, fake: FakeMlflow) -> None:
    register(store)
    pushed(store, there, fake)
    assert verify(store, there, http=fake).differences == ()
    fake.models["net"]["aliases"]["champion"] = "2"
    fake.versions["net"][1]["description"] = "other"
    words = [str(difference) for difference in verify(store, there, http=fake).differences]
    assert len(words) == 2
    assert any("champion" in word for word in words)

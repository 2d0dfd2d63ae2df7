"""Logged models compared with a server in memory: each difference is named alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mltrack.entities import DELETED
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.verify import VerifyReport, verify
from mltrack_sync.http.retry import RetryPolicy
from tests.support.fake_mlflow import FakeMlflow, busy_twice, unsupported
from tests.support.fake_models import FakeModel
from tests.support.small_records import record_model

POLICY = RetryPolicy(sleep=lambda seconds: None)


@pytest.fixture
def model_id(store: Store, there: Remote, fake: FakeMlflow) -> str:
    """A model that was pushed."""
    _, model_id = record_model(store)
    push(store, there, http=fake, policy=POLICY)
    return model_id


def compared(store: Store, remote: Remote, fake: FakeMlflow, *, quick: bool = False) -> VerifyReport:
    return verify(store, remote, http=fake, policy=POLICY, quick=quick)


def named(report: VerifyReport) -> list[tuple[str, str, str]]:
    """What differs, here and there."""
    return [(each.thing, each.here, each.there) for each in report.differences]


@pytest.mark.parametrize("quick", [False, True])
def test_a_model_that_was_pushed_is_the_same(
    quick: bool, store: Store, there: Remote, fake: FakeMlflow, model_id: str
) -> None:
    report = compared(store, there, fake, quick=quick)
    assert (report.differences, report.lacking) == ((), ())
    assert (report.logged_models, report.params, report.artifacts) == (1, 2, 2)


def test_a_pending_model_is_reported_as_pending(store: Store, there: Remote, fake: FakeMlflow, model_id: str) -> None:
    store.logged_models.log_params(model_id, {"new": "1"})
    assert named(compared(store, there, fake)) == [("param 'new'", "'1'", "nothing (waits to be pushed)")]


def change_tag(model: FakeModel) -> None:
    model.tags["team"] = "speech"


def change_param(model: FakeModel) -> None:
    del model.params["width"]


def change_status(model: FakeModel) -> None:
    model.info["status"] = "LOGGED_MODEL_PENDING"


def change_type(model: FakeModel) -> None:
    model.info["model_type"] = "net"


def change_source(model: FakeModel) -> None:
    model.info["source_run_id"] = "f" * 32


def lose_point(model: FakeModel) -> None:
    model.points.pop()


def change_point(model: FakeModel) -> None:
    key, step, time, _, *rest = model.points[0]
    run, name, digest = rest
    model.points[0] = (key, step, time, 9.0, run, name, digest)


@pytest.mark.parametrize(
    ("change", "thing"),
    [
        (change_tag, "tag 'team'"),
        (change_param, "param 'width'"),
        (change_status, "status"),
        (change_type, "type"),
        (change_source, "source run"),
        (lose_point, "metric 'acc'"),
        (change_point, "metric 'acc'"),
    ],
)
def test_only_what_was_changed_on_the_remote_is_named(
    store: Store, there: Remote, fake: FakeMlflow, model_id: str, change: Callable[[FakeModel], None], thing: str
) -> None:
    change(next(iter(fake.logged.held.values())))
    report = compared(store, there, fake)
    assert [each.thing for each in report.differences] == [thing]
    assert model_id in report.differences[0].subject


@pytest.mark.parametrize("quick", [False, True])
def test_files_are_compared_by_their_content_or_quickly_by_their_size(
    quick: bool, store: Store, there: Remote, fake: FakeMlflow, model_id: str
) -> None:
    notes = next(path for path in fake.files if path.endswith("notes.txt"))
    fake.files[notes] = b"wordz"
    assert [each.thing for each in compared(store, there, fake, quick=quick).differences] == (
        [] if quick else ["file 'notes.txt'"]
    )
    fake.files[notes] = b"more words"
    (found,) = named(compared(store, there, fake, quick=quick))
    assert found == ("file 'notes.txt'", "5 bytes", "10 bytes")
    del fake.files[notes]
    (found,) = named(compared(store, there, fake, quick=quick))
    assert found[2] == "nothing"


def test_a_model_that_is_missing_deleted_or_duplicated_is_named(
    store: Store, there: Remote, fake: FakeMlflow, model_id: str
) -> None:
    (remote_id, model), *_ = fake.logged.held.items()
    model.deleted = True
    assert named(compared(store, there, fake)) == [("logged model", "present", f"deleted ({remote_id})")]
    model.deleted = False
    fake.logged.held["m-other"] = FakeModel(
        {**model.info, "model_id": "m-other"}, model.params, model.tags, model.points
    )
    (twice,) = [each for each in named(compared(store, there, fake)) if each[0] == "logged model"]
    assert twice[1:] == ("one", f"2 times: {remote_id}, m-other")
    del fake.logged.held["m-other"]
    store.logged_models.set_stage(model_id, DELETED)
    assert named(compared(store, there, fake)) == [
        ("logged model", "deleted", f"exists as {remote_id} (waits to be pushed)")
    ]
    fake.logged.held.clear()
    assert compared(store, there, fake).same


def test_a_server_without_logged_models_is_reported_as_such(
    store: Store, there: Remote, fake: FakeMlflow, model_id: str
) -> None:
    fake.fault = unsupported("logged-models")
    report = compared(store, there, fake)
    assert report.differences == ()
    assert len(report.lacking) == 1 and "logged model" in report.lacking[0]
    assert report.runs == 1


def test_a_busy_server_is_asked_again(store: Store, there: Remote, fake: FakeMlflow, model_id: str) -> None:
    asked, fake.fault = busy_twice("logged-models/search")
    assert compared(store, there, fake).same
    assert len(asked) == 3

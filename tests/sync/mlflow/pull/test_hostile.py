"""Servers that answer wrongly, and full disks: the store stays valid, and a later pull brings the rest once."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from mltrack.errors import MltrackError
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.report import PullReport
from tests.support.disks import memory_disk
from tests.support.fake_mlflow import FakeMlflow
from tests.support.fake_parts import Fields

OLD = Remote("old", "http://old.invalid")


class Twisted(FakeMlflow):
    """A server whose answers to calls are changed by ``twist``."""

    twist: Callable[[str, Fields, Any], Any] = staticmethod(lambda call, fields, answer: answer)

    def _do(self, call: str, fields: Fields, request: httpx.Request) -> Fields:
        answer: Fields = self.twist(call, fields, super()._do(call, fields, request))
        return answer


def fill(fake: FakeMlflow, size: int = 10) -> None:
    """A run with points and a file, a model of it, a prompt, and a trace with a span."""
    experiment = fake.make_experiment("theirs")
    points = [("m", n, 1000 + n, math.sin(n)) for n in range(size)]
    run_id = fake.make_run(experiment, points=points, params={"a": "1"})
    uri = fake.runs[run_id].info["artifact_uri"]
    fake.files[f"{uri.removeprefix('mlflow-artifacts:/')}/model/weights"] = bytes(range(256)) * size
    fake.make_version("tree", f"{uri}/model", run_id=run_id, tags={"k": "v"})
    fake.models["tree"]["aliases"]["champion"] = "1"
    fake.make_version("greet", "x", tags={"mlflow.prompt.is_prompt": "true", "mlflow.prompt.text": "é" * size})
    fake.models["greet"]["tags"]["mlflow.prompt.is_prompt"] = "true"
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    times = {"request_time": "2026-01-02T03:04:05.678Z", "execution_duration": "1.250s", "state": "OK"}
    tags = {"mlflow.trace.spansLocation": "TRACKING_STORE", "a": "1"}
    made = {"trace_id": TRACE, "trace_location": place, **times, "tags": tags, "trace_metadata": {}, "assessments": []}
    fake.traces.answer("POST traces", {"trace": {"trace_info": made}})
    value = {"key": "text", "value": {"string_value": "b" * size}}
    ids = {"trace_id": "AAAAAAAAAAAAAAAAAAAAAQ==", "span_id": "AAAAAAAAAAI="}
    span = {**ids, "name": "f", "start_time_unix_nano": "5000000", "end_time_unix_nano": "6000000"}
    fake.traces.held[TRACE].spans["2"] = {**span, "attributes": [value]}


TRACE = "tr-00000000000000000000000000000001"


def assert_whole(store: Store, fake: FakeMlflow) -> None:
    """All is here once, and nothing is to be sent back."""
    fake.twist = lambda call, fields, answer: answer  # type: ignore[attr-defined]
    report = pull(store, OLD, http=fake)
    assert report.complete, report.problems
    assert check_store(store.path).findings == []
    compared = verify(store, OLD, http=fake)
    assert compared.differences == ()
    assert (compared.runs, compared.models, compared.model_versions, compared.traces) == (1, 2, 2, 1)
    (run_id,) = store.run_ids()
    assert store.run(run_id).summaries["m"].count == sum(len(run.points) for run in fake.runs.values())
    sent = push(store, OLD, http=fake)
    assert (sent.created, sent.points, sent.model_versions, sent.traces) == (0, 0, 0, 0)


def pulled(store: Store, fake: FakeMlflow) -> PullReport | MltrackError:
    try:
        return pull(store, OLD, http=fake)
    except MltrackError as error:
        return error


NAMES = ["../evil", "/evil", "model/../../evil", "a\0b", "x" * 5000, "model\\..\\evil", ".", "..", "", "\ud800"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_names_of_files_that_lead_out_or_can_be_none_harm_nothing(tmp_path: Path, name: str) -> None:
    fake, store = Twisted(), Store.create(tmp_path / "store")
    fill(fake)

    def twist(call: str, fields: Fields, answer: Any) -> Any:
        if call != "artifacts/list" or "path" in fields:
            return answer
        listed = {"files": [{"path": name, "is_dir": False, "file_size": 3}, *answer["files"]]}
        return httpx.Response(200, content=json.dumps(listed).encode("ascii"))

    fake.twist = twist
    said = pulled(store, fake)
    assert isinstance(said, MltrackError) or said.problems
    assert check_store(store.path).sound
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
    assert not list(tmp_path.rglob("*evil*")) or name == "model\\..\\evil"
    assert_whole(store, fake)


WRONG: list[tuple[str, Any]] = [
    ("registered-models/search", {"registered_models": [{"name": 7.5, "aliases": 3}]}),
    ("registered-models/search", {"registered_models": "none"}),
    ("registered-models/search", {"registered_models": [{"name": "a/b:c"}]}),
    ("model-versions/search", {"model_versions": [{"name": "tree", "version": "one"}]}),
    ("model-versions/search", {"model_versions": [{"name": "tree", "version": -1, "tags": {"a": 1}}]}),
    ("model-versions/search", {"model_versions": [{"name": "tree", "version": 2**70}]}),
    ("POST traces/search", {"traces": [7]}),
    ("POST traces/search", {"traces": [{"trace_id": None}]}),
    ("GET traces/get", {"trace": {"trace_info": {}, "spans": [{"span_id": "not base64!"}]}}),
    ("GET traces/get", {"trace": {"trace_info": {}, "spans": {"a": 1}}}),
    ("GET traces/get", {"trace": 7}),
    ("logged-models/search", {"models": [{"info": {}}]}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "wrong"), WRONG)
def test_answers_of_another_shape_are_reported_and_the_next_pull_brings_the_rest(
    store: Store, call: str, wrong: Any
) -> None:
    fake = Twisted()
    fill(fake)
    fake.twist = lambda asked, fields, answer: wrong if asked == call else answer
    said = pulled(store, fake)
    assert isinstance(said, MltrackError) or said.problems
    assert check_store(store.path).findings == []
    assert_whole(store, fake)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("registered-models/search", "registered_models"),
        ("model-versions/search", "model_versions"),
        ("POST traces/search", "traces"),
    ],
)
def test_pages_without_end_are_given_up(store: Store, call: str, name: str) -> None:
    fake, tokens = Twisted(), itertools.count()
    fill(fake)

    def twist(asked: str, fields: Fields, answer: Any) -> Any:
        return {name: [], "next_page_token": str(next(tokens))} if asked == call else answer

    fake.twist = twist
    said = pulled(store, fake)
    assert isinstance(said, MltrackError)
    assert "don't end" in str(said)
    assert_whole(store, fake)


@pytest.mark.slow
@pytest.mark.parametrize("room", ["64k", "160k", "400k", "700k", "1m"])
def test_a_full_disk_leaves_a_valid_store_and_the_rest_comes_when_there_is_room(tmp_path: Path, room: str) -> None:
    fake = Twisted()
    fill(fake, 4000)
    with memory_disk(tmp_path, "8m") as disk:
        store = Store.create(disk.path / "store")
        disk.resize(room)
        said = pulled(store, fake)
        assert isinstance(said, MltrackError) or said.problems
        assert check_store(store.path).sound
        disk.resize("64m")
        assert_whole(store, fake)

"""Large files in parts, to a real MLflow server in front of an S3 object store: whole, and no part twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes
from mltrack_sync.http.retry import RetryPolicy
from tests.support.large_files import CONTENT, PART, PARTS, LargeFiles, fail_part, killed_when
from tests.support.object_store import ObjectStore, s3_server
from tests.support.pair import Pair
from tests.support.proxy import Answer, Cut, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def objects() -> Iterator[ObjectStore]:
    store = ObjectStore()
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, objects: ObjectStore) -> Iterator[MlflowServer]:
    server = s3_server(tmp_path_factory.mktemp("s3"), objects)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def large(
    store: Store,
    s3: MlflowServer,
    objects: ObjectStore,
    experiment: str,
    hasty: RetryPolicy,
    waits: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LargeFiles]:
    """Files for the server in front of the object store, which counts from here and loses what was left."""
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(PART))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(PART))
    objects.forget()
    proxy = FaultyProxy(s3.url)
    try:
        remote = Remotes(store).add("there", proxy.url)
        yield LargeFiles(Pair(store, s3, proxy, remote, experiment, hasty, waits), tmp_path)
    finally:
        proxy.close()


@pytest.fixture
def simple(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LargeFiles:
    """Files for a server that keeps them itself."""
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1000")
    return LargeFiles(pair, tmp_path)


def test_large_files_are_uploaded_in_parts_directly_and_small_ones_through_the_server(
    large: LargeFiles, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "our-secret")
    run_id = large.record()
    with mltrack.start_run():
        mltrack.log_text("small", "small.txt")
    report = large.pair.push()
    assert report.complete
    large.assert_arrived_in_parts(run_id, objects)
    assert large.puts == 1
    assert objects.credentials_seen == []
    assert report.artifact_bytes == len(CONTENT) + len("small")
    assert large.pair.push().requests == 0
    assert sorted(objects.parts) == PARTS


@pytest.mark.parametrize("fault", [Cut(), LoseAnswer(), Answer(503)], ids=["cut", "lost answer", "503"])
def test_a_failed_part_is_retried_alone(large: LargeFiles, objects: ObjectStore, fault: Fault) -> None:
    run_id = large.record()
    objects.fault = fail_part(2, fault)
    assert large.pair.push().complete
    assert large.arrived(run_id) == CONTENT
    twice = 1 if isinstance(fault, LoseAnswer) else 0
    assert sorted(set(objects.parts)) == PARTS
    assert len(objects.parts) == len(PARTS) + twice


def test_the_next_cycle_of_a_process_sends_only_the_missing_parts(large: LargeFiles, objects: ObjectStore) -> None:
    run_id = large.record()
    objects.fault = fail_part(3, Answer(503), times=1000)
    report = large.pair.push()
    assert not report.complete
    before = sorted(objects.parts)
    assert before
    assert set(before) < set(PARTS)
    objects.fault = lambda seen: None
    assert large.pair.push().complete
    large.assert_arrived_in_parts(run_id, objects)
    assert large.asked("create") == 1


def test_a_syncer_killed_before_it_completed_an_upload_sends_no_part_again(
    large: LargeFiles, objects: ObjectStore
) -> None:
    run_id = large.record()
    reached, gone = threading.Event(), threading.Event()

    def hold(seen: Seen) -> Fault:
        if "mpu/complete" not in seen.path or gone.is_set():
            return None
        reached.set()
        gone.wait(30)
        return Cut()

    large.pair.proxy.fault = hold
    killed_when(large.pair, reached)
    gone.set()
    assert sorted(objects.parts) == PARTS
    assert large.pair.push().complete
    large.assert_arrived_in_parts(run_id, objects)


def test_a_syncer_killed_between_parts_leaves_no_secret_and_no_upload_behind(
    large: LargeFiles, objects: ObjectStore
) -> None:
    run_id = large.record()
    reached, gone = threading.Event(), threading.Event()

    def hold(seen: Seen) -> Fault:
        if seen.method != "PUT" or seen.number < 3 or gone.is_set():
            return None
        reached.set()
        gone.wait(30)
        return Cut()

    objects.fault = hold
    killed_when(large.pair, reached)
    gone.set()
    left = objects.uploads()
    assert len(left) == 1
    text = large.log.read_text(encoding="utf-8")
    assert left[0] in text
    assert "ignature" not in text
    assert "http" not in text
    assert large.pair.push().complete
    assert large.arrived(run_id) == CONTENT
    assert objects.uploads() == []
    assert not large.log.exists()


def test_a_completed_upload_whose_answer_was_lost_is_found_and_not_repeated(
    large: LargeFiles, objects: ObjectStore
) -> None:
    run_id = large.record()
    large.pair.proxy.fault = lambda seen: LoseAnswer() if "mpu/complete" in seen.path and seen.number == 1 else None
    assert large.pair.push().complete
    large.assert_arrived_in_parts(run_id, objects)
    assert large.asked("complete") == 1


def test_an_upload_that_is_gone_is_started_again(large: LargeFiles, objects: ObjectStore) -> None:
    run_id = large.record()
    objects.fault = fail_part(3, Answer(503), times=1000)
    large.pair.push()
    (gone,) = objects.uploads()
    key = objects.s3.list_multipart_uploads(Bucket="files")["Uploads"][0]["Key"]
    objects.s3.abort_multipart_upload(Bucket="files", Key=key, UploadId=gone)
    no_such = Answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")  # as S3 has it; moto would answer 500
    objects.fault = lambda seen: no_such if gone in seen.query and seen.method == "PUT" else None
    objects.parts.clear()
    assert large.pair.push().complete
    large.assert_arrived_in_parts(run_id, objects)


def test_expired_urls_are_requested_again_once_and_then_the_file_is_sent_through_the_server(
    large: LargeFiles, objects: ObjectStore
) -> None:
    run_id = large.record()
    expired = Answer(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
    objects.fault = fail_part(2, expired)
    assert large.pair.push().complete
    assert large.arrived(run_id) == CONTENT
    assert large.asked("create") == 2
    assert large.puts == 0
    assert objects.uploads() == []

    run_id = large.record()
    objects.fault = lambda seen: expired if "X-Amz-Signature" in seen.query else None
    assert large.pair.push().complete
    assert large.arrived(run_id) == CONTENT
    assert large.puts == 1
    assert objects.uploads() == []


def test_a_file_that_changes_between_its_parts_is_not_sent_and_its_upload_is_aborted(
    large: LargeFiles, objects: ObjectStore
) -> None:
    run_id = large.record()
    file = large.pair.store.run(run_id).artifact_path("models/größe.bin")

    def change(seen: Seen) -> Fault:
        if seen.method == "PUT":
            with open(file, "r+b") as held:
                held.seek(len(CONTENT) - 1)
                held.write(bytes([CONTENT[-1] ^ 1]))
        return None

    objects.fault = change
    before = objects.keys()
    report = large.pair.push()
    assert any("größe.bin" in words for words in report.problems)
    assert objects.keys() == before
    assert objects.uploads() == []


def test_a_server_without_multipart_uploads_is_asked_once(simple: LargeFiles) -> None:
    runs = {simple.record(bytes([n]) * 5000): bytes([n]) * 5000 for n in range(5)}
    assert simple.pair.push().complete
    assert {run_id: simple.arrived(run_id) for run_id in runs} == runs
    assert simple.asked("create") == 1
    assert simple.puts == len(runs)


def test_a_server_that_predates_multipart_uploads_gets_the_file_whole(simple: LargeFiles) -> None:
    simple.pair.proxy.fault = lambda seen: Answer(404, b"<html>not found</html>") if "/mpu/" in seen.path else None
    run_id = simple.record(b"x" * 5000)
    assert simple.pair.push().complete
    assert simple.arrived(run_id) == b"x" * 5000

"""Large files in parts, to a real MLflow server in front of an S3 object store: whole, and no part twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.http.retry import RetryPolicy
from tests.support.object_store import ObjectStore, s3_server
from tests.support.proxy import Answer, Cut, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer

pytestmark = pytest.mark.slow

MIB = 1 << 20
PART = 5 * MIB
CONTENT = random.Random(7).randbytes(3 * PART + 12_345)
PARTS = [1, 2, 3, 4]


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
def counted(s3: MlflowServer, objects: ObjectStore) -> Iterator[FaultyProxy]:
    """The MLflow server behind a proxy of its own; the object store counts from here, and loses what was left."""
    objects.forget()
    proxy = FaultyProxy(s3.url)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture
def there(store: Store, counted: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Remote:
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(PART))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(PART))
    return Remotes(store).add("there", counted.url)


def record(folder: Path, content: bytes = CONTENT) -> str:
    path = folder / "größe.bin"
    path.write_bytes(content)
    with mltrack.start_run() as run:
        mltrack.log_artifact(path, "models")
        return run.run_id


def arrived(server: MlflowServer, experiment: str, run_id: str) -> bytes:
    return server.artifact(server.runs(experiment)[run_id], "models/größe.bin")


def puts(proxy: FaultyProxy) -> int:
    return sum(seen.method == "PUT" for seen in proxy.seen)


def log_of(store: Store) -> Path:
    return store.layout.remote("there") / "uploads.jsonl"


def test_a_large_file_goes_in_parts_past_the_server_and_a_small_one_through_it(
    store: Store,
    s3: MlflowServer,
    objects: ObjectStore,
    counted: FaultyProxy,
    there: Remote,
    experiment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "our-secret")
    run_id = record(tmp_path)
    with mltrack.start_run():
        mltrack.log_text("small", "small.txt")
    report = push(store, there)
    assert report.complete
    assert arrived(s3, experiment, run_id) == CONTENT
    assert sorted(objects.parts) == PARTS
    assert puts(counted) == 1
    assert objects.credentials_seen == []
    assert not log_of(store).exists()
    assert objects.uploads() == []
    assert report.artifact_bytes == len(CONTENT) + len("small")
    assert push(store, there).requests == 0
    assert sorted(objects.parts) == PARTS


def fail_part(number: int, fault: Fault, times: int = 1) -> Any:
    """Spoils the n-th PUT that comes to the object store, and those after it, so many times."""
    left = [times]

    def spoil(seen: Seen) -> Fault:
        if seen.method == "PUT" and seen.number >= number and left[0] > 0:
            left[0] -= 1
            return fault
        return None

    return spoil


@pytest.mark.parametrize("fault", [Cut(), LoseAnswer(), Answer(503)], ids=["cut", "lost answer", "503"])
def test_a_part_is_tried_again_by_itself(
    store: Store,
    s3: MlflowServer,
    objects: ObjectStore,
    there: Remote,
    experiment: str,
    tmp_path: Path,
    hasty: RetryPolicy,
    fault: Fault,
) -> None:
    run_id = record(tmp_path)
    objects.fault = fail_part(2, fault)
    assert push(store, there, policy=hasty).complete
    assert arrived(s3, experiment, run_id) == CONTENT
    twice = 1 if isinstance(fault, LoseAnswer) else 0
    assert sorted(set(objects.parts)) == PARTS
    assert len(objects.parts) == len(PARTS) + twice


def test_the_next_pass_of_a_process_goes_on_with_the_parts_that_are_missing(
    store: Store,
    s3: MlflowServer,
    objects: ObjectStore,
    counted: FaultyProxy,
    there: Remote,
    experiment: str,
    tmp_path: Path,
    hasty: RetryPolicy,
) -> None:
    run_id = record(tmp_path)
    objects.fault = fail_part(3, Answer(503), times=1000)
    report = push(store, there, policy=hasty)
    assert not report.complete
    before = sorted(objects.parts)
    assert before
    assert set(before) < set(PARTS)
    objects.fault = lambda seen: None
    assert push(store, there).complete
    assert arrived(s3, experiment, run_id) == CONTENT
    assert sorted(objects.parts) == PARTS
    assert sum("mpu/create" in seen.path for seen in counted.seen) == 1


def killed_when(store: Store, remote: Remote, reached: threading.Event) -> None:
    """A real sync, killed once the moment is reached."""
    command = [sys.executable, "-m", "mltrack", "--store", str(store.path), "sync", remote.name]
    process = subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.DEVNULL)
    while not reached.wait(0.01) and process.poll() is None:
        pass
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_syncer_killed_before_the_parts_were_put_together_sends_none_again(
    store: Store,
    s3: MlflowServer,
    objects: ObjectStore,
    counted: FaultyProxy,
    there: Remote,
    experiment: str,
    tmp_path: Path,
) -> None:
    run_id = record(tmp_path)
    reached, gone = threading.Event(), threading.Event()

    def hold(seen: Seen) -> Fault:
        if "mpu/complete" not in seen.path or gone.is_set():
            return None
        reached.set()
        gone.wait(30)
        return Cut()

    counted.fault = hold
    killed_when(store, there, reached)
    gone.set()
    assert sorted(objects.parts) == PARTS
    assert push(store, there).complete
    assert arrived(s3, experiment, run_id) == CONTENT
    assert sorted(objects.parts) == PARTS
    assert objects.uploads() == []
    assert not log_of(store).exists()


def test_a_syncer_killed_between_parts_leaves_no_secret_and_no_upload_behind(
    store: Store, s3: MlflowServer, objects: ObjectStore, there: Remote, experiment: str, tmp_path: Path
) -> None:
    run_id = record(tmp_path)
    reached, gone = threading.Event(), threading.Event()

    def hold(seen: Seen) -> Fault:
        if seen.method != "PUT" or seen.number < 3 or gone.is_set():
            return None
        reached.set()
        gone.wait(30)
        return Cut()

    objects.fault = hold
    killed_when(store, there, reached)
    gone.set()
    left = objects.uploads()
    assert len(left) == 1
    text = log_of(store).read_text(encoding="utf-8")
    assert left[0] in text
    assert "ignature" not in text
    assert "http" not in text
    assert push(store, there).complete
    assert arrived(s3, experiment, run_id) == CONTENT
    assert objects.uploads() == []
    assert not log_of(store).exists()


def test_a_put_together_whose_answer_was_lost_is_looked_for_and_not_done_again(
    store: Store,
    s3: MlflowServer,
    objects: ObjectStore,
    counted: FaultyProxy,
    there: Remote,
    experiment: str,
    tmp_path: Path,
    hasty: RetryPolicy,
) -> None:
    run_id = record(tmp_path)
    counted.fault = lambda seen: LoseAnswer() if "mpu/complete" in seen.path and seen.number == 1 else None
    assert push(store, there, policy=hasty).complete
    assert arrived(s3, experiment, run_id) == CONTENT
    assert sorted(objects.parts) == PARTS
    assert sum("mpu/complete" in seen.path for seen in counted.seen) == 1


def test_an_upload_that_is_gone_is_begun_anew(
    store: Store,
    s3: MlflowServer,
    objects: ObjectStore,
    there: Remote,
    experiment: str,
    tmp_path: Path,
    hasty: RetryPolicy,
) -> None:
    run_id = record(tmp_path)
    objects.fault = fail_part(3, Answer(503), times=1000)
    push(store, there, policy=hasty)
    (gone,) = objects.uploads()
    key = objects.s3.list_multipart_uploads(Bucket="files")["Uploads"][0]["Key"]
    objects.s3.abort_multipart_upload(Bucket="files", Key=key, UploadId=gone)
    no_such = Answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")  # as S3 has it; moto would answer 500
    objects.fault = lambda seen: no_such if gone in seen.query and seen.method == "PUT" else None
    objects.parts.clear()
    assert push(store, there, policy=hasty).complete
    assert arrived(s3, experiment, run_id) == CONTENT
    assert sorted(objects.parts) == PARTS
    assert objects.uploads() == []


def test_urls_that_expire_are_asked_for_anew_once_and_then_the_file_goes_through_the_server(
    store: Store,
    s3: MlflowServer,
    objects: ObjectStore,
    counted: FaultyProxy,
    there: Remote,
    experiment: str,
    tmp_path: Path,
) -> None:
    run_id = record(tmp_path)
    expired = Answer(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
    objects.fault = fail_part(2, expired)
    assert push(store, there).complete
    assert arrived(s3, experiment, run_id) == CONTENT
    assert sum("mpu/create" in seen.path for seen in counted.seen) == 2
    assert puts(counted) == 0
    assert objects.uploads() == []

    run_id = record(tmp_path)
    objects.fault = lambda seen: expired if "X-Amz-Signature" in seen.query else None
    assert push(store, there).complete
    assert arrived(s3, experiment, run_id) == CONTENT
    assert puts(counted) == 1
    assert objects.uploads() == []


def test_a_file_that_changes_between_its_parts_is_not_sent_and_its_upload_is_aborted(
    store: Store, objects: ObjectStore, there: Remote, tmp_path: Path
) -> None:
    run_id = record(tmp_path)
    file = store.run(run_id).artifact_path("models/größe.bin")

    def change(seen: Seen) -> Fault:
        if seen.method == "PUT":
            with open(file, "r+b") as held:
                held.seek(len(CONTENT) - 1)
                held.write(bytes([CONTENT[-1] ^ 1]))
        return None

    objects.fault = change
    before = objects.keys()
    report = push(store, there)
    assert any("größe.bin" in words for words in report.problems)
    assert objects.keys() == before
    assert objects.uploads() == []


def test_a_server_that_has_no_parts_to_offer_is_asked_once(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1000")
    runs = {record(tmp_path, bytes([n]) * 5000): bytes([n]) * 5000 for n in range(5)}
    assert push(store, spoiled).complete
    assert {run_id: arrived(server, experiment, run_id) for run_id in runs} == runs
    assert sum("mpu/create" in seen.path for seen in proxy.seen) == 1
    assert puts(proxy) == len(runs)


def test_a_server_older_than_uploads_in_parts_gets_the_file_whole(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1000")
    proxy.fault = lambda seen: Answer(404, b"<html>not found</html>") if "/mpu/" in seen.path else None
    run_id = record(tmp_path, b"x" * 5000)
    assert push(store, spoiled).complete
    assert arrived(server, experiment, run_id) == b"x" * 5000

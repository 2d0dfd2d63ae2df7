"""Files as they go: how far they are, in bytes, on a terminal; nothing of it in a pipe."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.disk.filesystem import FileSystem
from mltrack.entities import Artifact
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.errors import LedgerError, RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.ledger.uploads import Upload, UploadLog
from mltrack_sync.mlflow.api.client import MlflowClient
from mltrack_sync.mlflow.files.file_upload import LargeFile
from mltrack_sync.mlflow.files.multipart import Multipart
from mltrack_sync.mlflow.files.part_sizes import PartSizes
from mltrack_sync.mlflow.files.signatures import Signatures
from mltrack_sync.progress import FileMeter, NoProgress
from tests.support.command_line import without_waits
from tests.support.proxy import Answer, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer, free_port
from tests.support.terminal import in_terminal


class Told(NoProgress):
    """Adds up what it is told of files."""

    def __init__(self) -> None:
        self.total = self.sent = 0

    def files(self, *, total: int = 0, sent: int = 0) -> None:
        self.total += total
        self.sent += sent


def record(folder: Path, size: int) -> str:
    path = folder / "model.bin"
    path.write_bytes(os.urandom(size))
    with mltrack.start_run() as run:
        mltrack.log_artifact(path)
        mltrack.log_metric("m", 1.0)
        return run.run_id


@pytest.mark.slow
def test_a_terminal_shows_the_bytes_of_files_their_rate_and_the_time_left(
    store: Store, remote: Remote, tmp_path: Path
) -> None:
    record(tmp_path, 2_500_000)
    shown = in_terminal(store.path, "sync", remote.name, "--limit-rate", "2M")
    drawn = [re.split(r"  +", line.strip()) for line in re.split(r"[\r\n]", shown) if line.strip().startswith("files")]
    assert any(re.search(r"[1-9][\d.]* [kM]B of 2\.5 MB.* [\d.]+ [kM]B/s .*0:00:0\d", " ".join(line)) for line in drawn)
    assert "Sent to" in shown


@pytest.mark.slow
def test_a_pipe_gets_only_the_summary_and_json_stays_json(store: Store, remote: Remote, tmp_path: Path) -> None:
    record(tmp_path, 100_000)
    command = [sys.executable, "-m", "mltrack", "--store", str(store.path), "sync", remote.name]
    result = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["artifact_bytes"] == 100_000
    assert without_waits(result.stderr) == []
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "files" not in again.stdout + again.stderr


@pytest.mark.slow
def test_json_on_a_terminal_is_nothing_but_json(store: Store, remote: Remote, tmp_path: Path) -> None:
    record(tmp_path, 100_000)
    assert json.loads(in_terminal(store.path, "sync", remote.name, "--json"))["artifacts"] == 1


def test_bytes_sent_add_up_to_the_total_even_after_a_failed_attempt(
    store: Store, proxy: FaultyProxy, spoiled: Remote, tmp_path: Path, hasty: RetryPolicy
) -> None:
    record(tmp_path, 300_000)
    proxy.fault = lambda seen: LoseAnswer() if seen.method == "PUT" and seen.number == 1 else None
    told = Told()
    assert push(store, spoiled, progress=told, policy=hasty).complete
    assert (told.sent, told.total) == (300_000, 300_000)


def test_a_file_that_is_not_sent_counts_for_nothing(store: Store, remote: Remote, tmp_path: Path) -> None:
    run_id = record(tmp_path, 300_000)
    store.run(run_id).artifact_path("model.bin").write_bytes(b"other")
    told = Told()
    assert not push(store, remote, progress=told).complete
    assert (told.sent, told.total) == (0, 0)


def test_parts_already_uploaded_are_subtracted_from_the_total() -> None:
    told = Told()
    meter = FileMeter(told, 100)
    meter.skip(30)
    meter.skip(40)
    assert list(meter.attempt(3, iter([b"x" * 60]))) == [b"x" * 60]
    assert (told.sent, told.total) == (60, 60)
    meter.close(sent=True)
    assert (told.sent, told.total) == (60, 60)
    meter.close(sent=False)
    assert (told.sent, told.total) == (0, 0)


def test_a_server_whose_object_store_only_it_can_reach_gets_the_file_whole(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    tmp_path: Path,
    experiment: str,
    monkeypatch: pytest.MonkeyPatch,
    waits: list[float],
    hasty: RetryPolicy,
) -> None:
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1000")
    part = {"part_number": 1, "url": f"http://127.0.0.1:{free_port()}/x?signature=s", "headers": {}}
    created = Answer(200, json.dumps({"upload_id": "u", "credentials": [part]}).encode())
    proxy.fault = lambda seen: created if "/mpu/create" in seen.path else None
    runs = [record(tmp_path, 5000) for _ in range(3)]
    assert push(store, spoiled, jobs=1, policy=hasty).complete
    for run_id in runs:
        content = store.run(run_id).artifact_path("model.bin").read_bytes()
        assert server.artifact(server.runs(experiment)[run_id], "model.bin") == content
    assert waits == []
    assert not (store.layout.remote(spoiled.name) / "uploads.jsonl").exists()


class Blobs:
    """Parts that belong to a name, as Azure Blob Storage has them: no upload id, signed URLs as often as asked for."""

    def __init__(self, server: FaultyProxy, blobs: FaultyProxy) -> None:
        self.completed: list[dict[str, Any]] = []
        self.put: list[str] = []
        self.faults: dict[str, int] = {}
        self.creates_max = 1000
        self._created = 0
        server.fault, blobs.fault = self._server, self._blob
        self._url = blobs.url

    def _server(self, seen: Seen) -> Fault:
        fields = json.loads(seen.body or b"{}")
        if "/mpu/create" in seen.path:
            self._created += 1
            if self._created > self.creates_max:
                return Answer(501)
            urls = [f"{self._url}/b?blockid={n}&sig={len(self.put)}" for n in range(1, fields["num_parts"] + 1)]
            rows = [{"part_number": n, "url": url, "headers": {}} for n, url in enumerate(urls, 1)]
            return Answer(200, json.dumps({"credentials": rows}).encode())
        if "/mpu/complete" in seen.path:
            self.completed.append(fields)
        return Answer(200)

    def _blob(self, seen: Seen) -> Fault:
        block = seen.query.partition("&")[0]
        if block in self.faults:
            return Answer(self.faults[block])
        self.put.append(block)
        return Answer(201)


class BlobFile:
    """A file of three parts that goes to such a store; each sending knows only what is on the disk, as a process."""

    def __init__(self, folder: Path, remote: Remote, policy: RetryPolicy) -> None:
        content = bytes(range(250)) * 10
        self.path = folder / "file"
        self.path.write_bytes(content)
        self.log = folder / "uploads.jsonl"
        self._artifact = Artifact("a/file", len(content), hashlib.sha256(content).hexdigest(), 0)
        self._remote = remote
        self._policy = policy

    def send(self) -> bool:
        policy = self._policy
        with ThreadPoolExecutor(4) as pool, closing(Transport(self._remote.workspace(), policy=policy)) as transport:
            parts = Multipart(
                MlflowClient(transport),
                UploadLog(self.log),
                policy=policy,
                pool=pool,
                check=lambda: None,
                sizes=PartSizes(1, 1000),
                signatures=Signatures(),
            )
            with closing(parts):
                meter = FileMeter(NoProgress(), self._artifact.size)
                file = LargeFile("run", "1/artifacts/a/file", self._artifact, self.path, meter, lambda: False)
                return parts.send(file)


@pytest.fixture
def blob_file(spoiled: Remote, tmp_path: Path, hasty: RetryPolicy) -> BlobFile:
    return BlobFile(tmp_path, spoiled, hasty)


@pytest.fixture
def blobs(server: MlflowServer, proxy: FaultyProxy) -> Iterator[Blobs]:
    behind = FaultyProxy(server.url)
    try:
        yield Blobs(proxy, behind)
    finally:
        behind.close()


def test_if_parts_belong_to_the_blob_name_another_process_sends_the_missing_ones(
    blobs: Blobs, blob_file: BlobFile
) -> None:
    blobs.faults["blockid=3"] = 503
    with pytest.raises(RemoteUnavailableError):
        blob_file.send()
    assert sorted(blobs.put) == ["blockid=1", "blockid=2"]
    blobs.faults.clear()
    assert blob_file.send()
    assert sorted(blobs.put) == ["blockid=1", "blockid=2", "blockid=3"]
    (completed,) = blobs.completed
    assert completed["path"] == "file"
    assert [part["part_number"] for part in completed["parts"]] == [1, 2, 3]
    assert all(f"blockid={n}" in part["url"] for n, part in enumerate(completed["parts"], 1))
    assert not blob_file.log.exists()


def test_an_upload_that_gets_no_more_urls_leaves_nothing_in_the_log(blobs: Blobs, blob_file: BlobFile) -> None:
    blobs.faults["blockid=2"] = 403
    blobs.creates_max = 1
    assert not blob_file.send()
    assert "blockid=1" in blobs.put
    assert not blob_file.log.exists()


def test_an_upload_log_cut_at_any_byte_never_claims_a_part_too_many(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    with closing(UploadLog(whole)) as log:
        upload = Upload("run", "a", "n", "00", 2500, 1000, "id")
        log.begin(upload)
        log.acknowledge(upload, 2, "two")
        log.acknowledge(upload, 1, "one")
    data = whole.read_bytes()
    ends = [n + 1 for n, byte in enumerate(data) if byte == ord("\n")]
    for cut in range(len(data) + 1):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(data[:cut])
        found = UploadLog(path).find("run", "a")
        lines = sum(end <= cut for end in ends)
        expected = [None, {}, {2: "two"}, {2: "two", 1: "one"}][lines]
        assert (found.parts if found is not None else None) == expected


def test_an_upload_log_that_cannot_be_written_is_a_ledger_error(tmp_path: Path) -> None:
    (tmp_path / "uploads.jsonl").touch()
    log = UploadLog(tmp_path / "uploads.jsonl", fs=FullDisk())
    with pytest.raises(LedgerError, match="can't be written"):
        log.begin(Upload("run", "a", "n", "00", 2500, 1000, "id"))


class FullDisk(FileSystem):
    """Takes not a byte."""

    def write(self, fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

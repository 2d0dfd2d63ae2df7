"""Files sent to run history and the blob store: whole, once, and never with the bearer token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.entities import Artifact
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.azureml import AzureWorkspace, TrackingUri
from mltrack_sync.azureml.artifacts import azure_digest, send_to_azure
from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.mlflow.files.content import FileChanged
from tests.support.azure.client import AzureClient
from tests.support.azure.emulator import Answer, AzureEmulator, Contents, Cut, Do, LoseAnswer, unavailable
from tests.support.azure.emulator.blobs import MIB
from tests.support.azure.stores import record

HASTY = RetryPolicy(sleep=lambda seconds: None)


@pytest.fixture
def transport(azure: AzureEmulator, azure_store: Store, token_file: Path) -> Iterator[Transport]:
    workspace = AzureWorkspace(TrackingUri.parse(azure.tracking_uri), token_file=token_file)
    transport = Transport(workspace, policy=HASTY)
    try:
        yield transport
    finally:
        transport.close()


@pytest.fixture
def run(azure_client: AzureClient, experiment: str) -> dict[str, Any]:
    """A run over there."""
    return {"info": azure_client.create_run(experiment)}


def uri(run: dict[str, Any]) -> str:
    return str(run["info"]["artifact_uri"])


def file_of(folder: Path, content: bytes, name: str = "a/ü.bin") -> tuple[Artifact, Path]:
    path = folder / "file"
    path.write_bytes(content)
    return Artifact(name, len(content), hashlib.sha256(content).hexdigest(), 0), path


@pytest.mark.parametrize("size", [0, 1, 3 * MIB, 5 * MIB + 7])
def test_a_file_arrives_in_one_put_or_in_blocks(
    azure: AzureEmulator,
    azure_contents: Contents,
    transport: Transport,
    run: dict[str, Any],
    tmp_path: Path,
    size: int,
) -> None:
    azure.blobs.put_bytes_max = 3 * MIB
    content = bytes(index % 251 for index in range(1000)) * (size // 1000 + 1)
    artifact, path = file_of(tmp_path, content[:size])
    send_to_azure(transport, uri(run), artifact, path, put_bytes_max=3 * MIB, block_bytes=MIB)
    assert azure_contents.artifact(run, artifact.path) == content[:size]
    blocks = azure.traffic.count("blob/block")
    assert blocks == (6 if size > 3 * MIB else 0)
    assert azure_digest(transport, uri(run), artifact.path) == (size, artifact.sha256)
    assert all("authorization" not in seen.headers for seen in azure.traffic.of("blob/*"))
    assert all(seen.headers.get("if-none-match") == "*" for seen in azure.traffic.of("blob/put"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["artifacts/batch-metadata", "blob/put", "blob/block", "blob/block-list"])
@pytest.mark.parametrize(
    "fault", [LoseAnswer(), Cut(), unavailable(503), unavailable(500)], ids=lambda f: type(f).__name__
)
def test_a_network_fault_leaves_one_whole_file(
    azure: AzureEmulator,
    azure_contents: Contents,
    transport: Transport,
    run: dict[str, Any],
    tmp_path: Path,
    kind: str,
    fault: Any,
) -> None:
    azure.faults.on(kind, fault)
    artifact, path = file_of(tmp_path, b"0123456789" * 100)
    in_blocks = kind.startswith("blob/block")
    send_to_azure(transport, uri(run), artifact, path, put_bytes_max=10 if in_blocks else 10_000, block_bytes=300)
    assert azure_contents.artifact(run, artifact.path) == path.read_bytes()
    assert azure_contents.artifacts(run).keys() == {artifact.path}


def test_an_existing_file_is_accepted_if_equal_and_reported_if_not(
    transport: Transport, run: dict[str, Any], tmp_path: Path
) -> None:
    artifact, path = file_of(tmp_path, b"one")
    send_to_azure(transport, uri(run), artifact, path)
    send_to_azure(transport, uri(run), artifact, path)
    other, path = file_of(tmp_path, b"other")
    with pytest.raises(RemoteRefusedError, match=r"exists already with another content \(3 bytes\)"):
        send_to_azure(transport, uri(run), other, path)


def test_a_name_without_content_gets_its_content(
    azure_contents: Contents, azure_client: AzureClient, transport: Transport, run: dict[str, Any], tmp_path: Path
) -> None:
    artifact, path = file_of(tmp_path, b"one")
    azure_client.make_artifacts(run["info"], artifact.path)
    send_to_azure(transport, uri(run), artifact, path)
    assert azure_contents.artifact(run, artifact.path) == b"one"


def test_a_name_that_cannot_get_its_content_is_reported(
    azure: AzureEmulator, transport: Transport, run: dict[str, Any], tmp_path: Path
) -> None:
    azure.faults.on("blob/put", Answer(403, "AuthorizationPermissionMismatch"), times=None)
    artifact, path = file_of(tmp_path, b"one")
    with pytest.raises(RemoteRefusedError, match="the file has a name, but no content") as caught:
        send_to_azure(transport, uri(run), artifact, path)
    assert azure.secrets_in(str(caught.value), repr(caught.value.__context__)) == []


def test_a_signature_that_expires_is_replaced(
    azure: AzureEmulator, azure_contents: Contents, transport: Transport, run: dict[str, Any], tmp_path: Path
) -> None:
    def expire() -> None:
        for signature, (name, _) in list(azure.blobs.signatures.items()):
            azure.blobs.signatures[signature] = (name, 0.0)

    azure.faults.on("blob/block", Do(expire), skip=2)
    artifact, path = file_of(tmp_path, bytes(1000))
    send_to_azure(transport, uri(run), artifact, path, put_bytes_max=10, block_bytes=100)
    assert azure_contents.artifact(run, artifact.path) == bytes(1000)


@pytest.mark.parametrize("put_bytes_max", [10, 10 * MIB])
def test_a_file_that_changes_while_it_is_sent_is_not_sent(
    azure: AzureEmulator,
    azure_contents: Contents,
    transport: Transport,
    run: dict[str, Any],
    tmp_path: Path,
    put_bytes_max: int,
) -> None:
    artifact, path = file_of(tmp_path, bytes(3 * MIB))

    def change() -> None:
        with open(path, "r+b") as file:
            file.seek(3 * MIB - 1)
            file.write(b"x")

    azure.faults.on("artifacts/batch-metadata", Do(change))
    with pytest.raises(FileChanged, match="changed while it was sent"):
        send_to_azure(transport, uri(run), artifact, path, put_bytes_max=put_bytes_max, block_bytes=MIB)
    assert azure_contents.artifacts(run) == {artifact.path: None}


def test_blocks_that_an_earlier_syncer_uploaded_are_not_uploaded_again(
    azure: AzureEmulator, azure_contents: Contents, transport: Transport, run: dict[str, Any], tmp_path: Path
) -> None:
    content = bytes([1]) * MIB + bytes([2]) * MIB + bytes([3]) * MIB
    artifact, path = file_of(tmp_path, content)
    azure.faults.on("blob/block", unavailable(), skip=1, times=None)
    with pytest.raises(RemoteUnavailableError):
        send_to_azure(transport, uri(run), artifact, path, put_bytes_max=10, block_bytes=MIB)
    azure.faults.clear()
    before = azure.traffic.count("blob/block")
    send_to_azure(transport, uri(run), artifact, path, put_bytes_max=10, block_bytes=MIB)
    assert azure.traffic.count("blob/block") - before == 2
    assert azure_contents.artifacts(run) == {artifact.path: content}


def test_a_conflict_is_reported_and_the_rest_of_the_run_arrives(
    azure: AzureEmulator,
    azure_store: Store,
    azure_remote: Remote,
    azure_contents: Contents,
    azure_client: AzureClient,
    experiment: str,
) -> None:
    run_id = record(5)
    push(azure_store, azure_remote)
    with mltrack.start_run(run_id=run_id):
        mltrack.log_text("another", "notes/hello.txt")
        mltrack.log_text("new", "new.txt")
    report = push(azure_store, azure_remote)
    assert [(item.kind, item.key) for item in report.rejected] == [("artifact", "notes/hello.txt")]
    assert "with another content" in report.rejected[0].reason
    there = azure_contents.runs(experiment)[run_id]
    assert azure_contents.artifacts(there) == {"notes/hello.txt": b"hello", "empty.txt": b"", "new.txt": b"new"}
    assert azure.traffic.count("blob/put", 409) == 0

"""Where a server says that artifacts go is believed as far as it goes: nothing of ours follows to a place it names."""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import UsageError
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.mlflow.files.places import InCloud, InFolder, OnWeb, Place, Proxied, place_of
from mltrack_sync.mlflow.provider import MlflowWorkspace
from tests.support.raw_server import answer, raw_server
from tests.support.server import MlflowServer

API = "/api/2.0/mlflow-artifacts/artifacts"


def place(uri: str, url: str = "http://h:5000", shared: str = "") -> Place:
    workspace = MlflowWorkspace(url, shared_folder=shared, environ={}, home=Path("/nonexistent"))
    with contextlib.closing(Transport(workspace, policy=RetryPolicy(), connections_max=1)) as transport:
        return place_of(transport, uri)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mlflow-artifacts:/1/a/artifacts", Proxied("1/a/artifacts")),
        ("MLFLOW-ARTIFACTS:/1/a/artifacts", Proxied("1/a/artifacts")),
        ("mlflow-artifacts://h:5000/1/a", Proxied("1/a")),
        (f"http://h:5000{API}/1/a%20b", Proxied("1/a b")),
        (f"HTTP://H:5000{API}/1/a", Proxied("1/a")),
        (f"http://h:5001{API}/1/a", OnWeb(f"http://h:5001{API}/1/a")),
        (f"https://h:5000{API}/1/a", OnWeb(f"https://h:5000{API}/1/a")),
        ("mlflow-artifacts://other/1/a", OnWeb(f"http://other:80{API}/1/a")),
        ("http://other/x", OnWeb("http://other:80/x")),
        ("http://[::1]:7/x", OnWeb("http://[::1]:7/x")),
        ("s3://bucket/x", InCloud("s3://bucket/x")),
        ("gs://bucket/x", InCloud("gs://bucket/x")),
        ("wasbs://box@account.blob.core.windows.net/x", InCloud("wasbs://box@account.blob.core.windows.net/x")),
        ("http://user:SECRET@other/x", None),
        ("http:///x", None),
        ("http://[::1/x", None),
        ("http://h:x/x", None),
        ("azureml://h/x/experiments/1/runs/2/artifacts", None),
        ("runs:/1/a", None),
        ("models:/m/1", None),
        ("mltrack:///etc", None),
        ("databricks://x", None),
        ("dbfs:/x", None),
        ("abfss://box@account.dfs.core.windows.net/x", InCloud("abfss://box@account.dfs.core.windows.net/x")),
        ("abfss://box@other.example/x", None),
        ("abfss://box@account.dfs.core.windows.net.other.example/x", None),
        ("abfss://box@account.dfs.core.windows.net:444/x", None),
        ("wasbs://box@other.example/x", None),
        ("r2://box@account.r2.cloudflarestorage.com/x", InCloud("r2://box@account.r2.cloudflarestorage.com/x")),
        ("r2://box@other.example/x", None),
        ("b2://box@s3.us-west-004.backblazeb2.com/x", InCloud("b2://box@s3.us-west-004.backblazeb2.com/x")),
        ("b2://other.example/x", None),
    ],
)
def test_each_artifact_uri_resolves_to_a_permitted_place(uri: str, expected: Place | None) -> None:
    if expected is not None:
        assert place(uri) == expected
    else:
        with pytest.raises(RemoteRefusedError) as caught:
            place(uri)
        assert "SECRET" not in str(caught.value)


def test_an_encrypted_remote_sends_nothing_unencrypted() -> None:
    assert place("https://other/x", "https://h") == OnWeb("https://other:443/x")
    assert place("mlflow-artifacts://other/x", "https://h") == OnWeb(f"https://other:443{API}/x")
    with pytest.raises(RemoteRefusedError, match="not encrypted"):
        place("http://other/x", "https://h")


# --- a folder of this machine ------------------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A shared folder with a link that leads out, and one that stays within."""
    shared = tmp_path / "shared"
    for name in ("1/a/artifacts", "real"):
        (shared / name).mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (shared / "out").symlink_to(tmp_path / "outside")
    (shared / "in").symlink_to(shared / "real")
    (tmp_path / "shared too").mkdir()
    (tmp_path / "link").symlink_to(shared)
    return shared


@pytest.mark.parametrize(
    "uri", ["{}/1/a/artifacts", "file://{}/1/a/artifacts", "file:{}/1/a", "FILE://localhost{}/in/x"]
)
def test_a_local_folder_is_the_servers_only_if_the_user_said_so(uri: str, shared: Path) -> None:
    with pytest.raises(RemoteRefusedError, match="mltrack remote set NAME --shared-folder"):
        place(uri.format(shared))
    found = place(uri.format(shared), shared=str(shared))
    assert isinstance(found, InFolder)
    assert found.root == shared
    assert isinstance(place(uri.format(shared), shared=str(shared.parent / "link")), InFolder)


@pytest.mark.parametrize(
    "uri",
    [
        "{}/../outside/x",
        "{}/1/../../outside",
        "file://{}/%2e%2e/outside",
        "file://{}/1/%2E%2E/%2e%2e/outside",
        "file://{}/x%00y",
        "{}/out/x",
        "file://{}/out",
        "{} too/x",
        "{}",
        "file://other{}/1",
        "file://{}/1?x",
        "/etc",
        "mlruns/0/a",
        "./x",
        "../x",
        "~/x",
        "file:x",
        "",
        "C:/x",
        "c:\\x",
    ],
)
def test_no_uri_leads_out_of_the_shared_folder(uri: str, shared: Path) -> None:
    with pytest.raises(RemoteRefusedError):
        place(uri.format(shared), shared=str(shared))
    assert list((shared.parent / "outside").iterdir()) == []


def test_no_file_leads_out_of_the_shared_folder(shared: Path) -> None:
    found = place(f"{shared}/1/a/artifacts", shared=str(shared))
    assert isinstance(found, InFolder)
    (shared / "1/a/artifacts/images").symlink_to(shared.parent / "outside")
    with pytest.raises(RemoteRefusedError, match="leads out"):
        found.file("images/x.png")


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MlflowServer, Path]]:
    """A server that has its clients write files themselves, and the folder."""
    folder = tmp_path_factory.mktemp("sharing")
    server = MlflowServer(folder, artifact_root=f"file://{folder}/shared")
    (folder / "shared").mkdir()
    try:
        server.start()
        yield server, folder / "shared"
    finally:
        server.close()


@pytest.mark.slow
def test_files_arrive_in_a_shared_folder_once_it_is_shared(
    store: Store, sharing: tuple[MlflowServer, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server, shared = sharing
    remotes = Remotes(store)
    remote = remotes.add("lab", server.url)
    with mltrack.start_run():
        mltrack.log_metric("m", 1)
        mltrack.log_text("words", "notes/a.txt")
    first = push(store, remote)
    assert [(item.kind, item.key) for item in first.rejected] == [("artifact", "notes/a.txt")]
    assert "--shared-folder" in first.rejected[0].reason
    assert not list(shared.rglob("a.txt"))
    remote = remotes.share_folder("lab", str(shared))
    assert push(store, remote, retry_rejected=True).complete
    (file,) = shared.rglob("a.txt")
    assert file.read_text() == "words"
    assert [path.name for path in file.parent.iterdir()] == ["a.txt"]
    assert verify(store, remote).same
    file.write_text("wordz")
    assert not verify(store, remote).same
    file.unlink()
    file.symlink_to("/etc/hostname")
    assert not verify(store, remote).same


def test_a_shared_folder_is_stored_with_its_remote_and_can_be_revoked(store: Store, shared: Path) -> None:
    remotes = Remotes(store)
    remotes.add("a", "http://a")
    remotes.add("b", "http://b")
    assert remotes.share_folder("a", str(shared)).shared_folder == str(shared)
    assert remotes.share_folder("a", f"{shared}/1").shared_folder == f"{shared}/1"
    assert remotes.add("a", "http://a").shared_folder == f"{shared}/1"
    assert remotes.get("b").shared_folder == ""
    assert remotes.share_folder("a", "").shared_folder == ""
    for folder in (f"{shared}/none", "/", __file__):
        with pytest.raises(UsageError, match="not a folder to share"):
            remotes.share_folder("a", folder)
    workspace = "providers/Microsoft.MachineLearningServices/workspaces/w"
    remotes.add("z", f"azureml:/subscriptions/s/resourceGroups/g/{workspace}")
    with pytest.raises(UsageError, match="not an MLflow server"):
        remotes.share_folder("z", str(shared))


# --- other servers -----------------------------------------------------------------------------------------------


class Fake:
    """As little of an MLflow server as a run with one file takes; it says that files go to ``uri``."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        path = request.split(b" ")[1].decode().partition("?")[0].rpartition("/mlflow/")[2]
        experiment = {"experiment_id": "1", "name": "x", "lifecycle_stage": "active"}
        info = {"run_id": "a" * 32, "experiment_id": "1", "artifact_uri": self._uri, "status": "RUNNING"}
        fields: dict[str, object] = {}
        if path in ("experiments/search", "experiments/get-by-name", "experiments/get"):
            fields = {"experiments": [experiment]} if path.endswith("search") else {"experiment": experiment}
        elif path in ("runs/create", "runs/get"):
            fields = {"run": {"info": info | {"lifecycle_stage": "active", "start_time": 1}, "data": {}}}
        connection.sendall(answer(json.dumps(fields).encode()))


@pytest.mark.parametrize("scheme", ["http", "mlflow-artifacts"])
@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "302 Found"])
def test_no_credentials_go_to_another_server(
    store: Store, scheme: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "S3CRETSECRET")
    with mltrack.start_run():
        mltrack.log_text("words", "a b.txt")
    redirect = "Location: /elsewhere"
    with (
        raw_server(lambda connection, _: connection.sendall(answer(b"", status, redirect))) as other,
        raw_server(Fake(f"{scheme}://127.0.0.1:{other.port}/x")) as server,
    ):
        report = push(store, Remotes(store).add("there", server.url), policy=RetryPolicy(attempts_max=2))
    assert any(b"S3CRETSECRET" in request for request in server.seen)
    (request,) = other.seen
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == b"words"
    path = b"/x/a%20b.txt" if scheme == "http" else f"{API}/x/a%20b.txt".encode()
    assert head.startswith(b"PUT " + path + b" HTTP/1.1\r\n")
    secret = (b"S3CRETSECRET", base64.b64encode(b"S3CRETSECRET"), b"Authorization", b"authorization")
    assert not any(word in head for word in secret)
    assert [item.key for item in report.rejected] == ([] if status.startswith("200") else ["a b.txt"])
    if status.startswith("401"):
        assert "credentials go to the remote itself only" in report.rejected[0].reason


@pytest.mark.parametrize(
    "uri", ["azureml://h/experiments/1/runs/2/artifacts", "file:///tmp/x", "bad://[", "x" * 5000, "unknown:/x"]
)
def test_an_artifact_uri_that_is_not_valid_rejects_only_the_file(store: Store, uri: str) -> None:
    with mltrack.start_run():
        mltrack.log_text("words", "a.txt")
    with raw_server(Fake(uri)) as server:
        report = push(store, Remotes(store).add("there", server.url), policy=RetryPolicy(attempts_max=2))
    assert (report.runs, [item.kind for item in report.rejected]) == (1, ["artifact"])
    assert len(report.rejected[0].reason) < 3000


@pytest.mark.slow
@pytest.mark.parametrize("words", [b"", b"what?\r\n", b"500 no\r\n"], ids=["nothing", "odd", "no"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # ftplib leaves its socket open
def test_any_error_of_a_storage_library_is_reported_and_retried(words: bytes, store: Store) -> None:
    with mltrack.start_run():
        mltrack.log_metric("loss", 1)
        mltrack.log_text("words", "a.txt")
    ftp = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                with ftp.accept()[0] as connection:
                    connection.sendall(words)

    threading.Thread(target=serve, daemon=True).start()
    uri = f"ftp://127.0.0.1:{ftp.getsockname()[1]}/x"
    with contextlib.closing(ftp), raw_server(Fake(uri)) as server:
        report = push(store, Remotes(store).add("there", server.url), policy=RetryPolicy(attempts_max=2))
        ftp.shutdown(socket.SHUT_RDWR)
    gc.collect()
    assert not report.rejected
    assert (report.points, report.artifacts, len(report.problems)) == (1, 0, 1)
    assert uri in report.problems[0]


def test_a_file_compared_with_the_remote_is_read_up_to_its_length_only(store: Store, tmp_path: Path) -> None:
    with mltrack.start_run() as run:
        mltrack.log_text("words", "a.txt")
    sent: list[int] = []

    def endless(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n")
        while True:
            sent.append(connection.send(bytes(1 << 16)))

    from mltrack_sync.mlflow.api.client import MlflowClient
    from mltrack_sync.mlflow.files.upload import artifact_digest

    artifact = store.run(run.run_id).artifacts[0]
    with raw_server(endless) as server:
        workspace = MlflowWorkspace(server.url, environ={}, home=tmp_path)
        with contextlib.closing(Transport(workspace, policy=RetryPolicy(), connections_max=1)) as transport:
            size, sha256 = artifact_digest(MlflowClient(transport), "mlflow-artifacts:/x", artifact)
    assert size > artifact.size
    assert sha256 != hashlib.sha256(b"words").hexdigest()
    assert sum(sent) < 1 << 26
    assert os.path.exists(tmp_path)

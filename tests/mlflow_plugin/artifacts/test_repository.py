"""The artifact repository, by the same assertions on an mltrack store and on MLflow's local files."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path
from PIL import Image

from mltrack.mlflow_plugin import run_pool
from mltrack.mlflow_plugin.artifacts.repository import StoreArtifacts
from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.mlflow_plugin.uris import artifact_place, store_uri
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from tests.support.plugin.traced import info

MISSING, INVALID = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"


def _run(tracking: Any) -> Any:
    return tracking.create_run(
        experiment_id="0", user_id="me", start_time=1_700_000_000_000, tags=[], run_name="brisk-heron"
    )


@pytest.fixture
def repository(tracking: Any) -> Any:
    """The artifacts of a new run."""
    return get_artifact_repository(_run(tracking).info.artifact_uri)


@pytest.fixture
def ours(tmp_path: Path) -> StoreArtifacts:
    """The artifacts of a new run in an mltrack store."""
    tracking = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    found = get_artifact_repository(_run(tracking).info.artifact_uri)
    assert isinstance(found, StoreArtifacts)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files at three depths."""
    files = {"b.txt": "bb", "a.txt": "a", "sub/c.txt": "ccc", "sub/deep/ü d.txt": "dddd", "z/e": ""}
    for name, text in files.items():
        path = tmp_path / "given" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "given"


def _listed(repository: Any, path: str | None = None) -> list[tuple[str, bool, int | None]]:
    return [(info.path, info.is_dir, info.file_size) for info in repository.list_artifacts(path)]


def _fails(code: str, call: Any, *args: Any) -> None:
    with pytest.raises(MlflowException) as caught:
        call(*args)
    assert caught.value.error_code == code


def _recorded(repository: StoreArtifacts) -> dict[str, tuple[int, str]]:
    place = artifact_place(repository.artifact_uri)
    run = Store.open(place.root).run(place.run_id)
    return {artifact.path: (artifact.size, artifact.sha256) for artifact in run.artifacts}


# --- logging and listing ---


def test_a_folder_is_listed_level_by_level_by_name_with_sizes(repository: Any, folder: Path) -> None:
    assert _listed(repository) == []
    repository.log_artifacts(str(folder))
    assert _listed(repository) == [("a.txt", False, 1), ("b.txt", False, 2), ("sub", True, None), ("z", True, None)]
    assert _listed(repository, "sub") == [("sub/c.txt", False, 3), ("sub/deep", True, None)]
    assert _listed(repository, "sub/deep/") == [("sub/deep/ü d.txt", False, 4)]
    assert _listed(repository, "z") == [("z/e", False, 0)]
    assert _listed(repository, "a.txt") == _listed(repository, "nothing") == []
    assert _listed(repository, "sub/../z") == _listed(repository, "z")


def test_files_are_stored_at_the_given_path(repository: Any, folder: Path) -> None:
    repository.log_artifact(str(folder / "a.txt"))
    repository.log_artifact(str(folder / "a.txt"), "x/y")
    repository.log_artifacts(str(folder / "sub"), "x")
    assert _listed(repository) == [("a.txt", False, 1), ("x", True, None)]
    assert _listed(repository, "x") == [("x/c.txt", False, 3), ("x/deep", True, None), ("x/y", True, None)]


def test_a_file_is_replaced(repository: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    for text in ("one", "three"):
        file.write_text(text)
        repository.log_artifact(str(file))
    assert _listed(repository) == [("file", False, 5)]
    assert Path(repository.download_artifacts("file")).read_text() == "three"


def test_a_missing_file_cannot_be_logged(repository: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        repository.log_artifact(str(tmp_path / "nothing"))
    assert _listed(repository) == []


def test_a_path_that_leaves_the_folder_is_refused(repository: Any, folder: Path) -> None:
    repository.log_artifact(str(folder / "a.txt"), "a")
    for path in ("..", "../x", "a/../../x"):
        _fails("INTERNAL_ERROR", repository.log_artifact, str(folder / "a.txt"), path)
        _fails("INTERNAL_ERROR", repository.log_artifacts, str(folder), path)
        _fails(INVALID, repository.list_artifacts, path)
        _fails(INVALID, repository.download_artifacts, path)
    _fails(INVALID, repository.list_artifacts, "/etc")
    _fails(INVALID, repository.get_local_path, "/etc/passwd")


# --- downloading and deleting ---


def test_files_and_folders_are_downloaded(repository: Any, folder: Path, tmp_path: Path) -> None:
    repository.log_artifacts(str(folder))
    target = tmp_path / "target"
    target.mkdir()
    assert repository.download_artifacts("sub/c.txt", str(target)) == str(target / "sub" / "c.txt")
    assert (target / "sub" / "c.txt").read_text() == "ccc"
    everything = tmp_path / "everything"
    everything.mkdir()
    repository.download_artifacts("", str(everything))
    for path in folder.rglob("*"):
        assert path.is_dir() or (everything / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert Path(repository.download_artifacts("sub"), "deep", "ü d.txt").read_text() == "dddd"


def test_a_missing_file_cannot_be_downloaded(repository: Any, folder: Path, tmp_path: Path) -> None:
    repository.log_artifacts(str(folder))
    _fails(MISSING, repository.download_artifacts, "nothing")
    _fails(MISSING, repository.download_artifacts, "nothing", str(tmp_path))
    _fails(MISSING, repository.download_artifacts, "a.txt", str(tmp_path / "no folder"))


def test_files_folders_and_everything_are_deleted(repository: Any, folder: Path) -> None:
    repository.log_artifacts(str(folder))
    repository.delete_artifacts("a.txt")
    repository.delete_artifacts("sub")
    repository.delete_artifacts("never there")
    assert _listed(repository) == [("b.txt", False, 2), ("z", True, None)]
    repository.delete_artifacts()
    assert _listed(repository) == []
    repository.log_artifacts(str(folder))
    assert len(_listed(repository)) == 4


def test_the_uri_of_a_folder_is_a_repository_itself(tracking: Any, folder: Path) -> None:
    root = _run(tracking).info.artifact_uri
    get_artifact_repository(root).log_artifacts(str(folder))
    inside = get_artifact_repository(f"{root}/sub")
    assert _listed(inside) == [("c.txt", False, 3), ("deep", True, None)]
    assert Path(inside.download_artifacts("c.txt")).read_text() == "ccc"
    _fails(INVALID, inside.list_artifacts, "../../z")


# --- through MLflow's API ---


@pytest.fixture
def client(store_uri: str, tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the one store and then of the other; MLflow's keeps files below the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)
    return MlflowClient(tracking_uri=store_uri)


def test_text_json_pictures_and_tables_are_logged_and_loaded(client: Any, store_uri: str) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_text(run_id, "größe", "notes/text.txt")
    client.log_dict(run_id, {"lr": 0.1}, "config.json")
    figure = Figure()
    figure.subplots().plot([1, 2])
    client.log_figure(run_id, figure, "plots/figure.png")
    client.log_image(run_id, Image.new("RGB", (4, 3), "red"), "image.png")
    client.log_image(run_id, Image.new("RGB", (4, 3), "red"), key="sample", step=3, synchronous=True)
    client.log_table(run_id, {"x": [1, 2]}, "table.json")
    client.log_table(run_id, pd.DataFrame({"x": [3]}), "table.json")
    assert [info.path for info in client.list_artifacts(run_id)] == [
        *("config.json", "image.png", "images", "notes", "plots", "table.json")
    ]
    images = [info.path for info in client.list_artifacts(run_id, "images")]
    assert len(images) == 2 and all("sample+step+3" in path for path in images)
    uri = client.get_run(run_id).info.artifact_uri
    assert mlflow.artifacts.load_text(f"{uri}/notes/text.txt") == "größe"
    assert mlflow.artifacts.load_dict(f"{uri}/config.json") == {"lr": 0.1}
    assert mlflow.artifacts.load_image(f"{uri}/image.png").size == (4, 3)
    with Image.open(client.download_artifacts(run_id, "plots/figure.png")) as picture:
        assert picture.format == "PNG"
    assert client.load_table("0", "table.json")["x"].tolist() == [1, 2, 3]


def test_artifacts_of_a_run_are_downloaded_and_listed_by_its_uri(client: Any, store_uri: str, tmp_path: Path) -> None:
    run_id = client.create_run("0").info.run_id
    (tmp_path / "weights").write_bytes(b"\0" * 1000)
    client.log_artifact(run_id, str(tmp_path / "weights"), "model")
    target = tmp_path / "target"
    found = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/model", dst_path=str(target), tracking_uri=store_uri)
    assert os.listdir(found) == ["weights"]
    (listed,) = mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path="model", tracking_uri=store_uri)
    assert (listed.path, listed.file_size) == ("model/weights", 1000)


def test_the_artifact_uri_itself_is_downloaded_and_listed(client: Any, tmp_path: Path) -> None:
    run = client.create_run("0")
    model = client.create_logged_model("0", name="m")
    (tmp_path / "weights").write_bytes(b"abc")
    client.log_artifact(run.info.run_id, str(tmp_path / "weights"), "model")
    client.log_model_artifact(model.model_id, str(tmp_path / "weights"))
    for number, (uri, path) in enumerate(
        [(run.info.artifact_uri, "model/weights"), (model.artifact_location, "weights")]
    ):
        found = mlflow.artifacts.download_artifacts(artifact_uri=uri)
        assert Path(found, path).read_bytes() == b"abc"
        copied = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(tmp_path / f"target-{number}"))
        assert Path(copied, path).read_bytes() == b"abc"
        listed = [info.path for info in mlflow.artifacts.list_artifacts(artifact_uri=uri)]
        assert listed == [f"artifacts/{path.split('/')[0]}"]


def test_files_can_be_logged_after_the_end(client: Any) -> None:
    run_id = client.create_run("0").info.run_id
    client.set_terminated(run_id)
    client.log_text(run_id, "late", "late.txt")
    assert [info.path for info in client.list_artifacts(run_id)] == ["late.txt"]
    assert client.get_run(run_id).info.status == "FINISHED"


# --- what the store knows of it ---


def test_each_file_is_recorded_with_its_size_and_checksum(ours: StoreArtifacts, folder: Path) -> None:
    ours.log_artifacts(str(folder), "in")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert _recorded(ours) == {
        f"in/{path.relative_to(folder)}": (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    }
    ours.delete_artifacts("in/sub")
    assert sorted(_recorded(ours)) == ["in/a.txt", "in/b.txt", "in/z/e"]
    ours.delete_artifacts()
    assert _recorded(ours) == {}


def test_files_of_a_logged_model_are_recorded_by_the_model(tmp_path: Path, folder: Path) -> None:
    tracking = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    model = tracking.create_logged_model(experiment_id="0", name="m")
    repository = get_artifact_repository(model.artifact_location)
    repository.log_artifacts(str(folder))
    models = Store.open(tmp_path / ".mltrack").logged_models
    assert [artifact.path for artifact in models.artifacts(model.model_id)] == [
        *("a.txt", "b.txt", "sub/c.txt", "sub/deep/ü d.txt", "z/e")
    ]
    repository.delete_artifacts("sub")
    assert [artifact.path for artifact in models.artifacts(model.model_id)] == ["a.txt", "b.txt", "z/e"]


def test_files_of_an_experiments_traces_have_a_repository(tmp_path: Path, folder: Path) -> None:
    TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    repository = get_artifact_repository(f"mltrack://{tmp_path}/.mltrack/artifacts/0/traces/tr-1/artifacts")
    repository.log_artifact(str(folder / "a.txt"), "attachments")
    assert _listed(repository, "attachments") == [("attachments/a.txt", False, 1)]
    repository.delete_artifacts("attachments")
    assert _listed(repository) == []


def test_unfinished_files_and_mlflows_leftovers_next_to_a_model_are_not_listed(ours: StoreArtifacts) -> None:
    ours.log_artifacts(str(_model(Path(artifact_place(ours.artifact_uri).root).parent / "saved")), "model")
    where = Path(ours.get_local_path("model"))
    (where / ".1a2b-3c.tmp").write_text("half")
    (where / "registered_model_meta").write_text("model_name: m")
    assert _listed(ours, "model") == [("model/MLmodel", False, 10)]


def _model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors:{}")
    return folder


def test_a_model_in_a_read_only_folder_is_returned_as_a_copy(
    ours: StoreArtifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours.log_artifacts(str(_model(tmp_path / "saved")), "model")
    assert ours.download_artifacts("model") == ours.get_local_path("model")
    monkeypatch.setattr(os, "access", lambda *args: False)  # whoever runs the tests as root may write anywhere
    copy = ours.download_artifacts("model")
    assert copy != ours.get_local_path("model") and os.listdir(copy) == ["MLmodel"]
    shutil.rmtree(copy)


def test_a_link_that_leads_out_is_not_followed(ours: StoreArtifacts, folder: Path) -> None:
    ours.log_artifacts(str(folder))
    (Path(ours.get_local_path("")) / "out").symlink_to(folder)
    for call in (ours.list_artifacts, ours.get_local_path, ours.delete_artifacts):
        _fails(INVALID, call, "out")
    assert (folder / "a.txt").exists()


def test_files_outside_of_a_run_or_store_are_refused(tmp_path: Path, folder: Path) -> None:
    root = tmp_path / ".mltrack"
    uri = store_uri(root / "runs" / ("ab" * 16) / "artifacts")
    _fails(MISSING, get_artifact_repository(uri).log_artifact, str(folder / "a.txt"))
    assert not root.exists()
    TrackingStore(f"mltrack://{root}")
    for place in (uri, store_uri(root / "models" / f"m-{'ab' * 16}" / "artifacts")):
        _fails(MISSING, get_artifact_repository(place).log_artifact, str(folder / "a.txt"))
        _fails(MISSING, get_artifact_repository(place).log_artifacts, str(folder))
    assert os.listdir(root / "runs") == []
    around = get_artifact_repository(store_uri(root / "runs" / ("ab" * 16)))  # a run's folder holds more than files
    for path in (None, "events", "artifacts/../events", "artifacts/../../x"):
        for call in (around.list_artifacts, around.download_artifacts, around.delete_artifacts):
            _fails(INVALID, call, path)
        _fails(INVALID, around.log_artifact, str(folder / "a.txt"), path)
    for uri in ("mltrack:relative", f"mltrack:///x/runs/{'ab' * 16}/artifacts/../..", "mltrack://host/x"):
        _fails(INVALID, get_artifact_repository, uri)


def test_a_run_gives_a_plain_path_that_scripts_can_list_and_write(client: Any, kind: str, tmp_path: Path) -> None:
    """As MLflow's SQLite store does; in ours, what a script wrote itself is recorded when the run ends."""
    with mlflow.start_run() as run:
        mlflow.log_text("logged", "a.txt")
        place = Path(local_file_uri_to_path(mlflow.get_artifact_uri()))
        assert os.listdir(place) == ["a.txt"]
        (place / "sub").mkdir()
        (place / "sub" / "own.txt").write_text("written past MLflow")
        (place / "a.txt").write_text("written anew")
        assert [info.path for info in mlflow.artifacts.list_artifacts(run_id=run.info.run_id)] == ["a.txt", "sub"]
        assert mlflow.artifacts.load_text(mlflow.get_artifact_uri("sub/own.txt")) == "written past MLflow"
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/a.txt") == "written anew"
    if kind == "mltrack":
        stored = Store.open(tmp_path / ".mltrack").run(run.info.run_id)
        assert {artifact.path for artifact in stored.artifacts} == {"a.txt", "sub/own.txt"}
        assert check_store(tmp_path / ".mltrack").findings == []


def test_what_mlflow_logs_to_a_plain_path_is_recorded_at_once(tmp_path: Path) -> None:
    run = _run(TrackingStore(f"mltrack://{tmp_path}/.mltrack"))
    for uri in (run.info.artifact_uri, f"file://{run.info.artifact_uri}"):
        (tmp_path / "f.txt").write_text(uri)
        get_artifact_repository(uri).log_artifact(str(tmp_path / "f.txt"))
        stored = Store.open(tmp_path / ".mltrack").run(run.info.run_id)
        assert [(a.path, a.size) for a in stored.artifacts] == [("f.txt", len(uri))]
    (tmp_path / "elsewhere").mkdir()
    assert type(get_artifact_repository(str(tmp_path / "elsewhere"))).__name__ == "LocalArtifactRepository"


def test_a_server_reveals_no_paths_of_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", f"mltrack://{tmp_path}/.mltrack")
    assert _run(store).info.artifact_uri.startswith(f"mltrack://{tmp_path}/.mltrack/runs/")


def test_what_a_server_logs_under_the_uri_of_its_clients_is_in_the_store(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"mltrack://{tmp_path}/.mltrack"
    store = TrackingStore(uri)
    elsewhere = get_artifact_repository("mlflow-artifacts:/1/2", tracking_uri="http://elsewhere.example")
    assert not isinstance(elsewhere, StoreArtifacts)
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", uri)
    monkeypatch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
    place = store.start_trace(info(1)).tags["mlflow.artifactLocation"]
    assert place.startswith("mlflow-artifacts:/artifacts/0/traces/tr-")
    get_artifact_repository(place).log_artifact(str(folder / "a.txt"), "attachments")
    (kept,) = (tmp_path / ".mltrack" / "artifacts" / "0" / "traces").glob("*/artifacts/attachments/a.txt")
    assert kept.read_text() == "a"


def test_a_file_cannot_be_a_folder_too(ours: StoreArtifacts, folder: Path) -> None:
    ours.log_artifact(str(folder / "a.txt"))
    _fails(INVALID, ours.log_artifact, str(folder / "b.txt"), "a.txt")
    _fails(INVALID, ours.log_artifacts, str(folder), "a.txt/deep")
    assert _listed(ours) == [("a.txt", False, 1)]


def test_a_deleted_run_releases_its_files(ours: StoreArtifacts, folder: Path) -> None:
    ours.log_artifacts(str(folder))
    place = artifact_place(ours.artifact_uri)
    Store.open(place.root).delete_run(place.run_id)
    ours.delete_artifacts()
    assert _recorded(ours) == {} and _listed(ours) == []


def test_a_moved_store_has_its_files_at_its_new_place(ours: StoreArtifacts, folder: Path, tmp_path: Path) -> None:
    ours.log_artifacts(str(folder))
    run_id = artifact_place(ours.artifact_uri).run_id
    run_pool.of(Store.open(tmp_path / ".mltrack")).close(run_id)
    shutil.move(tmp_path / ".mltrack", tmp_path / "moved")
    run = TrackingStore(f"mltrack://{tmp_path}/moved").get_run(run_id)
    assert run.info.artifact_uri == f"{tmp_path}/moved/runs/{run_id}/artifacts"
    assert Path(get_artifact_repository(run.info.artifact_uri).download_artifacts("b.txt")).read_text() == "bb"


def test_files_in_a_folder_with_special_uri_characters_are_copied_for_callers_that_treat_a_path_as_a_uri(
    tmp_path: Path,
) -> None:
    """As `mlflow models predict` does."""
    (tmp_path / "a%41#b").mkdir()
    odd = TrackingStore(f"mltrack://{tmp_path}/a%2541%23b/.mltrack")
    run = odd.create_run("0", "me", 1, [], "one")
    repository = StoreArtifacts(run.info.artifact_uri)
    (tmp_path / "x.txt").write_text("x")
    repository.log_artifact(str(tmp_path / "x.txt"))
    lies = tmp_path / "a%41#b" / ".mltrack" / "runs" / run.info.run_id / "artifacts" / "x.txt"
    found = Path(repository.download_artifacts("x.txt"))
    assert (lies.read_text(), found.read_text()) == ("x", "x")
    assert not set(str(found)) & set("%#")
    run_pool.of(odd._store).close_all()

"""Artifacts read as by ``mlflow.artifacts``, and tables of several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mltrack
from mltrack import artifacts
from mltrack.errors import InvalidPathError, NotFoundError, UsageError


@pytest.fixture
def run(tmp_path: Path) -> mltrack.Run:
    mltrack.set_store(tmp_path / "s")
    with mltrack.start_run() as run:
        mltrack.log_text("größe", "d/t.txt")
        mltrack.log_dict({"a": 1}, "d/j.json")
        mltrack.log_image(np.full((2, 3), 7, np.uint8), "i.png")
        mltrack.log_text("\x00", "d/e/bin")
    return run


def test_files_are_listed_as_mlflow_lists_them(run: mltrack.Run) -> None:
    import mlflow

    uri = f"mltrack://{run.store_folder}"
    for path in (None, "d", "d/e", "i.png"):
        ours = artifacts.list_artifacts(run_id=run.run_id, artifact_path=path)
        theirs = mlflow.artifacts.list_artifacts(run_id=run.run_id, artifact_path=path, tracking_uri=uri)
        assert [tuple(info) for info in ours] == [(t.path, t.is_dir, t.file_size) for t in theirs]
    assert artifacts.list_artifacts(f"runs:/{run.run_id}/d") == artifacts.list_artifacts(
        run_id=run.run_id, artifact_path="d", tracking_uri=uri
    )


def places(run: mltrack.Run, path: str) -> list[Any]:
    folder = run.folder.artifacts
    return [
        f"runs:/{run.run_id}/{path}",
        f"{folder}/{path}",
        folder / path,
        f"file://{folder}/{path}",
        f"mltrack://{folder}/{path}",
    ]


def test_files_are_loaded_by_every_form_of_their_uri(run: mltrack.Run) -> None:
    for place in places(run, "d/t.txt"):
        assert artifacts.load_text(place) == "größe"
    for place in places(run, "d/j.json"):
        assert artifacts.load_dict(place) == {"a": 1}
    for place in places(run, "i.png"):
        assert np.asarray(artifacts.load_image(place)).tolist() == [[7] * 3] * 2
    with pytest.raises(UsageError, match="is not JSON"):
        artifacts.load_dict(f"runs:/{run.run_id}/d/t.txt")
    with pytest.raises(UsageError, match="is not an image"):
        artifacts.load_image(f"runs:/{run.run_id}/d/t.txt")
    with pytest.raises(UsageError, match="is not text"):
        artifacts.load_text(f"runs:/{run.run_id}/i.png")


def test_files_are_copied_or_their_path_is_returned(run: mltrack.Run, tmp_path: Path) -> None:
    assert artifacts.download_artifacts(run_id=run.run_id) == str(run.folder.artifacts)
    assert artifacts.download_artifacts(f"runs:/{run.run_id}/d/t.txt") == str(run.folder.artifacts / "d" / "t.txt")
    copied = Path(artifacts.download_artifacts(f"runs:/{run.run_id}/d/t.txt", dst_path=tmp_path / "to"))
    assert copied == tmp_path / "to" / "t.txt"
    assert copied.read_text() == "größe"
    folder = Path(artifacts.download_artifacts(run_id=run.run_id, artifact_path="d", dst_path=tmp_path / "to"))
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [
        "e",
        "e/bin",
        "j.json",
        "t.txt",
    ]
    whole = Path(artifacts.download_artifacts(run_id=run.run_id, dst_path=tmp_path / "all"))
    assert (whole / "d" / "j.json").is_file()


def test_versions_of_models_and_logged_models_have_uris_too(run: mltrack.Run) -> None:
    version = mltrack.register_model(f"runs:/{run.run_id}/d", "m")
    store = mltrack.get_store()
    store.registry.set_alias("m", "best", version.version)
    model = store.logged_models.create("0")
    folder = store.logged_models.folder(model.model_id).artifacts
    folder.mkdir()
    (folder / "x.txt").write_text("x")
    for uri in (f"models:/m/{version.version}/t.txt", "models:/m@best/t.txt"):
        assert artifacts.load_text(uri) == "größe"
    assert artifacts.load_text(f"models:/{model.model_id}/x.txt") == "x"
    with pytest.raises(UsageError):
        artifacts.load_text("models:/m/Production")


def test_what_is_not_an_artifact_uri_is_refused(run: mltrack.Run) -> None:
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (UsageError, {}),
        (UsageError, {"artifact_uri": "runs:/x", "run_id": run.run_id}),
        (UsageError, {"artifact_uri": "s3://bucket/x"}),
        (NotFoundError, {"artifact_uri": "/nowhere/at/all"}),
        (NotFoundError, {"run_id": "0" * 32}),
        (NotFoundError, {"run_id": run.run_id, "artifact_path": "none"}),
        (InvalidPathError, {"run_id": run.run_id, "artifact_path": "../events"}),
    ]
    for error, named in wrong:
        for call in (artifacts.list_artifacts, artifacts.download_artifacts):
            with pytest.raises(error):
                call(**named)


# --- tables of several runs ---


def test_a_table_is_loaded_from_all_or_some_runs_with_columns_from_the_runs(run: mltrack.Run) -> None:
    ids = []
    for n in range(3):
        with mltrack.start_run() as each:
            mltrack.log_param("n", n)
            if n < 2:
                mltrack.log_table({"a": [n, 0.5], "b": ["001", "x"]}, "t.json")
        ids.append(each.run_id)
    table = mltrack.load_table("t.json", extra_columns=["run_id", "params.n"])
    assert table["a"].tolist() == [1, 0.5, 0, 0.5]
    assert table["b"].tolist() == ["001", "x"] * 2
    assert table["run_id"].tolist() == [ids[1]] * 2 + [ids[0]] * 2
    assert table["params.n"].tolist() == ["1", "1", "0", "0"]
    assert mltrack.load_table("t.json", run_ids=[ids[0]])["a"].tolist() == [0, 0.5]
    for name, some in (("none.json", None), ("t.json", [ids[2]])):
        with pytest.raises(NotFoundError):
            mltrack.load_table(name, some)
    with pytest.raises(UsageError, match="no column"):
        mltrack.load_table("t.json", extra_columns=["params.none"])


def test_the_parent_of_a_run_is_found(run: mltrack.Run) -> None:
    with mltrack.start_run() as parent, mltrack.start_run(nested=True) as child:
        pass
    found = mltrack.get_parent_run(child.run_id)
    assert found is not None
    assert found.run_id == parent.run_id
    assert mltrack.get_parent_run(parent.run_id) is None

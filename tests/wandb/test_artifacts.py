"""Files and artifacts: saved, logged in versions, used by other runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack.wandb as wandb
from mltrack.errors import NotFoundError
from mltrack.recording import current_store
from mltrack.store import Store
from mltrack.wandb.errors import UnsupportedError


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A new store, in the working folder; no run goes on afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")
    current_store.set_store(tmp_path / ".mltrack")
    yield Store.create(tmp_path / ".mltrack")
    wandb.finish()
    current_store.set_store(None)


def files(store: Store) -> dict[str, str]:
    (run,) = store.runs()
    return {one.path: run.artifact_path(one.path).read_text() for one in run.artifacts}


def artifact_with(text: str, name: str = "net") -> wandb.Artifact:
    made = wandb.Artifact(name, type="model", metadata={"text": text})
    with made.new_file("weights.txt") as file:
        file.write(text)
    return made


def test_saved_files_keep_their_folders_below_the_base(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out" / "deep").mkdir(parents=True)
    for name in ("out/a.txt", "out/b.bin", "out/deep/c.txt"):
        (tmp_path / name).write_text(name)
    run = wandb.init(project="p")
    assert run.save("out/*.txt") == [str(Path(run.dir, "out/a.txt"))]
    run.save("out/deep/*", base_path="out")
    run.save(str(tmp_path / "out" / "b.bin"))
    with pytest.raises(wandb.UsageError, match="is not below"):
        run.save("out/a.txt", base_path="other")
    with pytest.raises(wandb.UsageError, match="is not a policy"):
        run.save("out/a.txt", policy="later")
    run.finish()
    assert files(store) == {"out/a.txt": "out/a.txt", "deep/c.txt": "out/deep/c.txt", "out/b.bin": "out/b.bin"}


def test_a_saved_file_that_changes_is_saved_again_at_the_end(store: Store, tmp_path: Path) -> None:
    run = wandb.init(project="p")
    for name in ("live", "once"):
        (tmp_path / name).write_text("first")
    run.save("live")
    run.save("once", policy="now")
    for name in ("live", "once"):
        (tmp_path / name).write_text("changed")
    run.finish()
    assert files(store) == {"live": "changed", "once": "first"}


@pytest.mark.slow
def test_each_content_of_an_artifact_is_a_version_that_other_runs_find(store: Store, tmp_path: Path) -> None:
    with wandb.init(project="p", name="first") as run:
        first = run.log_artifact(artifact_with("one"), aliases=["best"])
        second = run.log_artifact(artifact_with("two"))
        again = run.log_artifact(artifact_with("two"), aliases=["same"])
    assert [one.name for one in (first, second, again)] == ["net:v0", "net:v1", "net:v1"]
    with wandb.init(project="p", name="second") as run:
        texts = {}
        for alias in ("v0", "best", "v1", "same", "latest"):
            folder = Path(run.use_artifact(f"net:{alias}").download(root=f"got-{alias}"))
            texts[alias] = (folder / "weights.txt").read_text()
        third = run.log_artifact(artifact_with("three"))
    assert texts == {"v0": "one", "best": "one", "v1": "two", "same": "two", "latest": "two"}
    assert third.version == "v2"
    used = json.loads(store.run("second").tags["wandb.used_artifacts"])
    assert used == ["p/net:v0", "p/net:v1"]


def test_artifacts_are_of_a_project(store: Store) -> None:
    with wandb.init(project="one") as run:
        run.log_artifact(artifact_with("x"))
    with wandb.init(project="two") as run:
        with pytest.raises(NotFoundError, match="no artifact 'net' in project 'two'"):
            run.use_artifact("net:latest")
        assert run.use_artifact("team/one/net").metadata == {"text": "x"}
        with pytest.raises(NotFoundError, match="no version 'v7'"):
            run.use_artifact("one/net:v7")
        with pytest.raises(wandb.UsageError, match="is of type"):
            run.use_artifact("one/net", type="dataset")


def test_models_are_logged_and_used_as_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_text("w")
    with wandb.init(project="p") as run:
        run.log_model("w.bin", name="m")
        path = run.use_model("m:latest")
    assert Path(path).read_text() == "w"


def test_linked_artifacts_are_versions_of_a_registered_model(store: Store, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_text("w")
    with wandb.init(project="p") as run:
        run.link_artifact(run.log_artifact(artifact_with("one")), "model-registry/My Net", aliases=["best"])
        run.link_model("w.bin", "My Net")
    assert run.mltrack_run is not None
    versions = store.registry.versions("My Net")
    assert [(one.version, one.aliases) for one in versions] == [(1, ("best",)), (2, ())]
    assert versions[0].source == f"runs:/{run.mltrack_run.run_id}/artifacts/model/net"
    with wandb.init(project="p", mode="disabled") as run:
        run.link_artifact(artifact_with("one"), "My Net")


def test_tables_in_an_artifact_come_back(store: Store) -> None:
    with wandb.init(project="p") as run:
        made = wandb.Artifact("tables", type="dataset")
        made.add(wandb.Table(columns=["a"], data=[[1], [None]]), "rows")
        run.log_artifact(made).wait()
        table = run.use_artifact("tables:latest").get("rows")
    assert (table.columns, table.data) == (["a"], [[1], [None]])


def test_code_is_an_artifact_of_source_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("pass")
    (tmp_path / "data.csv").write_text("1")
    with wandb.init(project="p") as run:
        run.log_code(".")
    assert list(files(store)) == ["artifacts/code/source-p/train.py"]


def test_an_artifact_that_is_logged_does_not_change(store: Store, tmp_path: Path) -> None:
    (tmp_path / "more").write_text("x")
    with wandb.init(project="p") as run:
        made = run.log_artifact(artifact_with("one"))
    with pytest.raises(wandb.UsageError, match="can't change"):
        made.add_file("more")


def test_references_to_other_places_are_refused(tmp_path: Path) -> None:
    made = wandb.Artifact("data", type="dataset")
    with pytest.raises(UnsupportedError, match="no references"):
        made.add_reference("s3://bucket/key")
    (tmp_path / "f").write_text("x")
    assert made.add_reference((tmp_path / "f").as_uri())[0].name == "f"


@pytest.mark.parametrize("name", ["", "a/b", "a:v1", ".."])
def test_names_that_can_not_be_a_folder_are_refused(name: str) -> None:
    with pytest.raises(wandb.UsageError):
        wandb.Artifact(name, type="model")

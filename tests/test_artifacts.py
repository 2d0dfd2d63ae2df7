"""Artifacts: copied whole or not at all, hashed, and never outside their folder."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import mltrack
from faults import CountingFileSystem, Stopped, failing, stopping_at
from mltrack.artifacts import files_below, hash_file, store_file, store_stream
from mltrack.errors import InvalidPathError, NotFoundError, RunStateError

DATA = bytes(range(256)) * 5000


@pytest.fixture
def run(tmp_path: Path) -> mltrack.Run:
    mltrack.set_store(tmp_path / "s")
    return mltrack.start_run()


def listed(run: mltrack.Run) -> list[str]:
    return [artifact.path for artifact in run.stored().artifacts]


def test_a_stream_is_stored_with_its_size_and_sha256(tmp_path: Path) -> None:
    stored = store_stream(io.BytesIO(DATA), tmp_path, "a/b.bin")
    assert (stored.path, stored.size, stored.sha256) == ("a/b.bin", len(DATA), hashlib.sha256(DATA).hexdigest())
    assert (tmp_path / "a" / "b.bin").read_bytes() == DATA
    assert hash_file(tmp_path / "a" / "b.bin") == (len(DATA), stored.sha256)


def test_storing_may_stop_at_any_step_and_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    counter = CountingFileSystem()
    store_stream(io.BytesIO(DATA), tmp_path, "counted", fs=counter)
    for step in range(1, counter.steps + 1):
        store_stream(io.BytesIO(b"old"), tmp_path, "a")
        with pytest.raises(Stopped):
            store_stream(io.BytesIO(DATA), tmp_path, "a", fs=stopping_at(step))
        assert (tmp_path / "a").read_bytes() in (b"old", DATA)


def test_a_failed_store_leaves_no_temporary_file(tmp_path: Path) -> None:
    counter = CountingFileSystem()
    store_stream(io.BytesIO(DATA), tmp_path, "a", fs=counter)
    for step in range(1, counter.steps):
        with pytest.raises(OSError, match="No space"):
            store_stream(io.BytesIO(DATA), tmp_path, "b", fs=failing(step))
        assert os.listdir(tmp_path) == ["a"]


def test_long_names_of_many_bytes_are_stored(tmp_path: Path) -> None:
    name = "模" * 85  # 255 bytes
    store_stream(io.BytesIO(b"x"), tmp_path, name)
    assert (tmp_path / name).read_bytes() == b"x"


@pytest.mark.parametrize("name", ["../x", "/abs", "a\\b", "a\0b", "", "..", "a/../../b"], ids=repr)
def test_names_that_lead_out_are_refused_and_nothing_is_written(tmp_path: Path, run: mltrack.Run, name: str) -> None:
    source = tmp_path / "folder" / "source"
    source.parent.mkdir()
    source.write_text("x")
    calls: list[Callable[[], object]] = [
        lambda: run.log_text("x", name),
        lambda: run.log_dict({}, name),
        lambda: run.log_table({"a": [1]}, f"{name}/t.json" if name else ""),
        lambda: run.log_stream(io.BytesIO(b"x"), name),
    ]
    if name:  # an empty artifact_path is the artifact folder itself
        calls += [lambda: run.log_artifact(source, name), lambda: run.log_artifacts(source.parent, name)]
    for call in calls:
        with pytest.raises(mltrack.UsageError):
            call()
    assert listed(run) == []
    assert not list(run.stored().folder.path.glob("artifacts/**/*"))


def test_a_link_in_the_artifact_folder_is_not_followed_out(tmp_path: Path, run: mltrack.Run) -> None:
    folder = run.stored().folder.artifacts
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    with pytest.raises(InvalidPathError, match="leads out"):
        run.log_text("x", "out/x.txt")
    assert not (tmp_path / "x.txt").exists()


def test_a_file_and_a_folder_are_copied(tmp_path: Path, run: mltrack.Run) -> None:
    source = tmp_path / "größe"
    (source / "sub").mkdir(parents=True)
    (source / "a.bin").write_bytes(DATA)
    (source / "sub" / "b.txt").write_text("b")
    (source / "empty").write_text("")
    run.log_artifact(source / "a.bin")
    run.log_artifact(str(source / "a.bin"), "deep/er")
    run.log_artifact(source)
    run.log_artifacts(source, "all")
    run.log_artifacts(source)
    wanted = ["a.bin", "all/a.bin", "all/empty", "all/sub/b.txt", "deep/er/a.bin", "empty", "sub/b.txt"]
    wanted += ["größe/a.bin", "größe/empty", "größe/sub/b.txt"]
    assert listed(run) == sorted(wanted)
    for artifact in run.stored().artifacts:
        assert hash_file(run.stored().artifact_path(artifact.path)) == (artifact.size, artifact.sha256)


def test_a_folder_that_holds_the_store_is_copied_without_it(
    tmp_path: Path, run: mltrack.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text("x")
    monkeypatch.chdir(tmp_path)
    run.log_artifacts(".", "code")
    run.log_artifact(".", "again")
    assert listed(run) == [f"again/{tmp_path.name}/train.py", "code/train.py"]


def test_the_store_itself_is_copied_without_the_copy(tmp_path: Path, run: mltrack.Run) -> None:
    run.log_text("x", "a.txt")
    run.log_artifacts(tmp_path / "s", "store")
    assert "store/store.json" in listed(run)
    assert not [name for name in listed(run) if "artifacts" in name]


def test_pipes_and_sockets_are_left_out_of_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert [name for _, name in files_below(tmp_path, tmp_path / "s")] == ["file", "link"]


def test_an_artifact_logged_again_is_replaced(run: mltrack.Run) -> None:
    run.log_text("first", "a.txt")
    run.log_text("second!", "a.txt")
    [artifact] = run.stored().artifacts
    assert (artifact.size, artifact.sha256) == (7, hashlib.sha256(b"second!").hexdigest())
    run.log_text("x", "folder/a.txt")
    with pytest.raises(InvalidPathError, match="is a folder already"):
        run.log_text("x", "folder")


def test_a_missing_source_is_named(tmp_path: Path, run: mltrack.Run) -> None:
    for call in (
        lambda: run.log_artifact(tmp_path / "none"),
        lambda: run.log_artifacts(tmp_path / "none"),
        lambda: store_file(tmp_path / "none", tmp_path, "x"),
    ):
        with pytest.raises(NotFoundError, match="none"):
            call()


def test_a_disk_that_takes_no_artifact_is_noted_and_training_goes_on(tmp_path: Path, run: mltrack.Run) -> None:
    run.stored().folder.artifacts.write_text("in the way")  # not a folder: no file can be made there
    run.log_text("x", "a.txt")
    run.log_metric("a", 1.0)
    assert listed(run) == []
    lost = [event for event in run.stored().read_events() if event.type == "lost"]
    assert [event.fields["artifact"] for event in lost] == ["a.txt"]


def test_an_ended_run_takes_no_artifact(tmp_path: Path, run: mltrack.Run) -> None:
    run.end()
    calls: list[Callable[[], object]] = [
        lambda: run.log_text("x", "a"),
        lambda: run.log_artifact(__file__),
        lambda: run.log_artifacts(Path(__file__).parent / "golden"),
    ]
    for call in calls:
        with pytest.raises(RunStateError, match="has ended"):
            call()

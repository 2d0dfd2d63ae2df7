"""Artifacts: copied whole or not at all, hashed, and never outside their folder."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import mltrack
from mltrack.disk.artifact_files import files_below, hash_file, run_lock, store_file, store_stream
from mltrack.errors import BusyError, InvalidPathError, NotFoundError, RunStateError
from tests.support import ROOT
from tests.support.filesystems import CountingFileSystem, Stopped, failing, stopping_at

FIGURE: Any = Figure()
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


def test_storing_interrupted_at_any_step_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
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


UNUSABLE = [
    "../x",
    "/abs",
    "a\\b",
    "a\0b",
    "",
    "..",
    "a/../../b",
    "a/../b",
    "a\nb",
    "a\tb",
    "\x1b[31m",
    "a\x7f",
    "a\x9b",
    "x" * 256,
    "模" * 86,
    "/".join(["d" * 200] * 25),
    "held/below",
    "held/deep/below",
    os.fsdecode(b"caf\xe9"),
    "\ud800",
]
AS_A_FILE_ONLY = [".", ".hidden.tmp", "folder", "folder/", "new/", ".x.tmp"]


def calls_with(run: mltrack.Run, name: Any) -> list[Callable[[], object]]:
    table = f"{name}/t.json" if name and name in UNUSABLE else name
    return [
        lambda: run.log_text("x", name),
        lambda: run.log_dict({}, name),
        lambda: run.log_table({"a": [1]}, table),
        lambda: run.log_stream(io.BytesIO(b"x"), name),
        lambda: run.log_image(np.zeros((2, 2)), name),
        lambda: run.log_figure(FIGURE, name),
        lambda: mltrack.log_text("x", name),
    ]


@pytest.mark.parametrize("name", [*UNUSABLE, *AS_A_FILE_ONLY], ids=lambda name: ascii(name[:30]))
def test_impossible_names_are_refused_at_once_and_nothing_is_written(
    tmp_path: Path, run: mltrack.Run, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    run.log_text("x", "held")
    run.log_text("x", "folder/file")
    before = run.stored().read_events()
    source = tmp_path / "source_folder" / "source"
    source.parent.mkdir()
    source.write_text("x")
    calls = calls_with(run, name)
    if name in UNUSABLE and name:  # an empty one is the artifact folder itself, to log into
        calls += [lambda: run.log_artifact(source, name), lambda: run.log_artifacts(source.parent, name)]
    for call in calls:
        with pytest.raises(mltrack.UsageError) as caught:
            call()
        assert caught.value.hint
        assert "\n" not in str(caught.value)
    assert run.stored().read_events() == before
    assert sorted(path.name for path in run.folder.artifacts.rglob("*")) == ["file", "folder", "held"]
    assert not caplog.records


@pytest.mark.parametrize("name", [5, b"a.txt", ["a.txt"]], ids=repr)
def test_names_that_are_not_text_are_refused(run: mltrack.Run, name: Any) -> None:
    for call in calls_with(run, name):
        with pytest.raises(InvalidPathError):
            call()


@pytest.mark.parametrize("odd", ["new\nline", os.fsdecode(b"caf\xe9"), "back\\slash", ".x.tmp"], ids=ascii)
def test_a_folder_with_an_impossible_name_in_it_is_refused_before_any_copying(
    tmp_path: Path, run: mltrack.Run, odd: str
) -> None:
    folder = tmp_path / "folder_to_log"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("x")
    (folder / "sub" / odd).write_text("x")
    calls: list[Callable[[], object]] = [
        lambda: run.log_artifacts(folder),
        lambda: run.log_artifacts(folder, "to"),
        lambda: run.log_artifact(folder),
    ]
    for call in calls:
        with pytest.raises(InvalidPathError):
            call()
    assert listed(run) == []


def test_names_may_be_paths_and_unusual_but_readable(run: mltrack.Run, tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("x")
    names: list[Any] = [
        Path("a/b.txt"),
        "./c.txt",
        "d//e.txt",
        ".hidden",
        "größe 🙂.txt",
        "a b",
        "x.tmp",
        "模" * 85,
    ]
    for name in names:
        run.log_text("x", name)
    run.log_artifact(source, Path("in/it"))
    run.log_artifact(source, "in/slash/")
    run.log_artifact(source, "")
    run.log_dict({}, Path("f.json"))
    run.log_table({"a": [1]}, Path("t.json"))
    run.log_image(np.zeros((2, 2)), Path("i.png"))
    run.log_figure(FIGURE, Path("p.png"))
    wanted = ["a/b.txt", "c.txt", "d/e.txt", ".hidden", "größe 🙂.txt", "a b", "x.tmp", "模" * 85]
    wanted += ["in/it/source.txt", "in/slash/source.txt", "source.txt", "f.json", "t.json", "i.png", "p.png"]
    assert sorted(listed(run)) == sorted(wanted)


def test_a_watched_folder_skips_impossible_names_and_says_so(
    tmp_path: Path, run: mltrack.Run, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "good.txt").write_text("x")
    (folder / "bad\x1bname").write_text("x")
    with caplog.at_level("WARNING", "mltrack"):
        run.watch(folder, "").stop()
    assert listed(run) == ["good.txt"]
    [said] = [record.getMessage() for record in caplog.records]
    assert "\\x1b" in said
    assert "\x1b" not in said


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
    assert not [name for name in listed(run) if "/artifacts/" in name]


def test_pipes_and_sockets_in_a_folder_are_skipped(tmp_path: Path) -> None:
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


def test_a_disk_that_refuses_an_artifact_is_noted_and_training_continues(tmp_path: Path, run: mltrack.Run) -> None:
    run.stored().folder.artifacts.write_text("in the way")  # not a folder: no file can be made there
    run.log_text("x", "a.txt")
    run.log_metric("a", 1.0)
    assert listed(run) == []
    lost = [event for event in run.stored().read_events() if event.type == "lost"]
    assert [event.fields["artifact"] for event in lost] == ["a.txt"]


def test_an_ended_run_refuses_artifacts(tmp_path: Path, run: mltrack.Run) -> None:
    run.end()
    calls: list[Callable[[], object]] = [
        lambda: run.log_text("x", "a"),
        lambda: run.log_artifact(__file__),
        lambda: run.log_artifacts(ROOT / "tests" / "whole" / "golden"),
    ]
    for call in calls:
        with pytest.raises(RunStateError, match="has ended"):
            call()


def test_a_signal_handler_that_interrupted_the_lock_holder_does_not_wait_for_it(tmp_path: Path) -> None:
    artifacts = tmp_path / "run" / "artifacts"
    artifacts.mkdir(parents=True)
    for _ in range(2):
        with run_lock(artifacts, "tables", timeout_s=1, strict=True):
            with run_lock(artifacts, "tables", timeout_s=10**9):
                pass
            with pytest.raises(BusyError), run_lock(artifacts, "tables", timeout_s=10**9, strict=True):
                pass
            with pytest.raises(BusyError), run_lock(artifacts, "tables", timeout_s=10**9, strict=True):
                pass
            with run_lock(artifacts, "artifacts", timeout_s=1, strict=True):
                pass

"""Finding, making and refusing stores."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from mltrack.disk.codec import FORMAT_VERSION, encode_line
from mltrack.disk.layout import Layout, find_store, is_run_id, new_run_id
from mltrack.errors import InvalidPathError, MltrackError, NotFoundError, StoreError, StoreVersionError
from mltrack.store import Store
from tests.support.filesystems import CountingFileSystem, Stopped, failing, stopping_at


def test_a_store_is_given_or_found_in_parent_folders_or_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find_store() == deep / ".mltrack"
    Layout.open_or_create(tmp_path / "a" / ".mltrack", now_ns=1)
    assert find_store() == tmp_path / "a" / ".mltrack"
    monkeypatch.setenv("MLTRACK_STORE", "other")
    assert find_store() == deep / "other"
    assert find_store(tmp_path / "named") == tmp_path / "named"


def test_a_store_keeps_its_id(tmp_path: Path) -> None:
    first = Layout.open_or_create(tmp_path / "s", now_ns=1)
    assert Layout.open_or_create(tmp_path / "s", now_ns=2).store_id == first.store_id
    (tmp_path / "s").rename(tmp_path / "moved")
    assert Layout.open(tmp_path / "moved").store_id == first.store_id


def test_threads_that_create_a_store_concurrently_agree_on_one(tmp_path: Path) -> None:
    gate, ids = threading.Barrier(8), []

    def make() -> None:
        gate.wait()
        ids.append(Layout.open_or_create(tmp_path / "s", now_ns=1).store_id)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert {p.name for p in (tmp_path / "s").iterdir() if p.is_file()} == {".gitignore", "store.json"}


def test_a_store_of_a_newer_version_is_refused_by_name(layout: Layout) -> None:
    line = encode_line({"format": FORMAT_VERSION + 1, "store_id": "x", "unknown": [1]})
    (layout.root / "store.json").write_bytes(line)
    for call in (Layout.open, lambda root: Layout.open_or_create(root, now_ns=1), Store.open):
        with pytest.raises(StoreVersionError, match=f"store format {FORMAT_VERSION + 1}") as caught:
            call(layout.root)
        assert "upgrade" in caught.value.hint


def test_a_store_file_cut_or_changed_anywhere_is_one_clear_error(layout: Layout) -> None:
    path = layout.root / "store.json"
    data = path.read_bytes()
    for at in range(len(data) - 1):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(StoreError, match="damaged"):
                Layout.open(layout.root)
    path.write_bytes(data[:-1])  # only the line break is missing
    assert Layout.open(layout.root).store_id == layout.store_id


def test_a_file_in_place_of_a_store_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotFoundError, match="no mltrack store at"):
            Layout.open(root)
        with pytest.raises(StoreError, match="no store can be made at"):
            Layout.open_or_create(root, now_ns=1)
    (tmp_path / "folder" / "store.json").mkdir(parents=True)
    with pytest.raises(StoreError, match="can't be read"):
        Layout.open(tmp_path / "folder")


def test_creating_a_store_may_be_interrupted_at_any_step_and_retried(tmp_path: Path) -> None:
    counter = CountingFileSystem()
    Layout.open_or_create(tmp_path / "counted", now_ns=1, fs=counter)
    assert counter.steps >= 5
    for step in range(1, counter.steps + 1):
        for name, fs, error in (("f", failing(step), MltrackError), ("s", stopping_at(step), Stopped)):
            root = tmp_path / f"{name}{step}"
            with pytest.raises(error):
                Layout.open_or_create(root, now_ns=1, fs=fs)
            made = Layout.open_or_create(root, now_ns=2)
            assert Layout.open(root).store_id == made.store_id


def test_names_that_could_lead_elsewhere_are_refused(layout: Layout) -> None:
    for name in ("", "..", "../x", "a/b", ".x", "x" * 65, "ü"):
        with pytest.raises(InvalidPathError):
            layout.remote(name)
    for run_id in ("", "..", "x" * 32, "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "\n"):
        with pytest.raises(InvalidPathError):
            layout.run(run_id)
    assert is_run_id(new_run_id())
    assert layout.remote("lab-1.x").parent.name == "remotes"


def test_git_leaves_a_new_store_out(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    Layout.open_or_create(tmp_path / ".mltrack", now_ns=1)
    seen = subprocess.run(
        ["git", "-C", tmp_path, "status", "--porcelain", "--untracked-files=all"], capture_output=True, check=True
    )
    assert seen.stdout == b""

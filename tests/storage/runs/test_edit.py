"""Edits from outside: stage, tags, purge."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.disk.filesystem import FileSystem, StrPath
from mltrack.errors import NotFoundError, RunStateError, StoreError, UsageError
from mltrack.recording import current_store, fluent
from mltrack.storage.runs.edit import purge_run, set_stage, set_tag
from mltrack.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    current_store.set_store(tmp_path / "store")
    with fluent.start_run(run_name="one", tags={"a": "1"}) as run:
        run.log_metric("loss", 1.0)
    current_store.set_store(None)
    return Store.open(tmp_path / "store")


def test_of_many_stages_the_last_wins(store: Store) -> None:
    run_id = store.run("one").run_id
    for stage in ("deleted", "active", "deleted", "active", "deleted"):
        set_stage(store.layout, run_id, stage)
        assert store.run(run_id).info.lifecycle_stage == stage


def test_an_edit_neither_reopens_a_run_nor_changes_its_outcome(store: Store) -> None:
    before = store.run("one").info
    set_tag(store.layout, before.run_id, "b", "2")
    set_stage(store.layout, before.run_id, "deleted")
    set_stage(store.layout, before.run_id, "active")
    assert store.run(before.run_id).info == before


def test_tags_are_set_and_deleted(store: Store) -> None:
    run_id = store.run("one").run_id
    set_tag(store.layout, run_id, "a", "changed")
    assert store.run(run_id).tags["a"] == "changed"
    set_tag(store.layout, run_id, "a", None)
    assert "a" not in store.run(run_id).tags


def test_an_edit_wins_over_an_event_that_a_fast_clock_dated_ahead(store: Store) -> None:
    run_id = store.run("one").run_id
    from mltrack.journal.recorder import Recorder

    ahead = Recorder(
        store.layout, store.layout.run(run_id), "edit", not_before=store.run(run_id).state.last_time + 10**15
    )
    ahead.emit({"type": "lifecycle", "stage": "deleted"})
    ahead.close()
    set_stage(store.layout, run_id, "active")
    assert store.run(run_id).info.lifecycle_stage == "active"


def test_what_does_not_exist_cannot_be_edited(store: Store) -> None:
    with pytest.raises(NotFoundError):
        set_stage(store.layout, "0" * 32, "deleted")
    with pytest.raises(NotFoundError):
        purge_run(store.layout, "0" * 32)
    assert not store.layout.run("0" * 32).path.exists()
    with pytest.raises(UsageError):
        set_stage(store.layout, store.run("one").run_id, "gone")
    with pytest.raises(UsageError):
        set_tag(store.layout, store.run("one").run_id, "", "x")


def test_a_deleted_run_is_not_resumed(store: Store) -> None:
    run_id = store.run("one").run_id
    store.delete_run(run_id)
    current_store.set_store(store.path)
    with pytest.raises(RunStateError):
        fluent.start_run(run_id=run_id)
    store.restore_run(run_id)
    fluent.start_run(run_id=run_id).end()


def test_a_purged_run_is_gone_from_every_listing(store: Store) -> None:
    run_id = store.run("one").run_id
    assert len(store.search_runs()) == 1
    purge_run(store.layout, run_id)
    assert not list(store.layout.runs.iterdir())
    assert store.run_ids() == []
    assert len(store.search_runs(run_view_type="ALL")) == 0


def test_a_live_run_is_not_purged(store: Store) -> None:
    current_store.set_store(store.path)
    run = fluent.start_run(run_name="live")
    with pytest.raises(RunStateError):
        purge_run(store.layout, run.run_id)
    run.log_metric("loss", 1.0)
    run.end()
    assert store.run("live").info.lifecycle_stage == "active"


class Broken(FileSystem):
    """No file can be renamed."""

    def rename(self, source: StrPath, target: StrPath) -> None:
        raise PermissionError(13, "Permission denied", str(source))


class Full(FileSystem):
    """A disk that takes no more bytes."""

    def write(self, fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")


def test_a_failed_purge_leaves_the_run_deleted_and_whole(store: Store) -> None:
    run_id = store.run("one").run_id
    with pytest.raises(StoreError):
        purge_run(store.layout, run_id, fs=Broken())
    assert store.run(run_id).info.lifecycle_stage == "deleted"
    store.restore_run(run_id)
    assert store.run(run_id).summaries["loss"].count == 1


def test_an_edit_that_cannot_be_written_is_an_error(store: Store) -> None:
    run_id = store.run("one").run_id
    with pytest.raises(StoreError):
        set_stage(store.layout, run_id, "deleted", fs=Full())
    assert store.run(run_id).info.lifecycle_stage == "active"

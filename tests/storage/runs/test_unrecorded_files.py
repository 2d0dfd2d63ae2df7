"""Files that lie among a run's artifacts without a word of it: recorded by the run's end, a seal, or a sync."""

from __future__ import annotations

import os
from pathlib import Path

from mltrack.cli import main
from mltrack.recording import current_store, fluent
from mltrack.storage.check.check import check_store
from mltrack.store import Store


def recorded(store: Store, run_id: str) -> dict[str, int]:
    return {artifact.path: artifact.size for artifact in store.run(run_id).artifacts}


def test_the_end_of_a_run_records_what_the_program_wrote_itself(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / "s")
    with fluent.start_run() as run:
        run.log_text("logged", "a.txt")
        run.log_text("logged", "same.txt")
        place = run.folder.artifacts
        (place / "deep").mkdir()
        (place / "deep" / "b.txt").write_text("bb")
        (place / "a.txt").write_text("other")
        (place / ".half.tmp").write_text("not whole yet")
        (place / "link").symlink_to("/etc/hosts")
        (place / os.fsdecode(b"caf\xe9")).write_text("odd")
        os.mkfifo(place / "pipe")
        events = sum(writer.position.events for writer in run.stored().writers())
    store = Store.open(tmp_path / "s")
    assert recorded(store, run.run_id) == {"a.txt": 5, "same.txt": 6, "deep/b.txt": 2, os.fsdecode(b"caf\xe9"): 3}
    after = sum(writer.position.events for writer in store.run(run.run_id).writers())
    assert after == events + 3 + 2, "three files, the end, the close: what is as it was recorded is not said again"
    assert check_store(tmp_path / "s").sound


def test_seal_records_what_came_later_and_changes_nothing_twice(tmp_path: Path, capsys: object) -> None:
    current_store.set_store(tmp_path / "s")
    with fluent.start_run() as run:
        run.log_text("x", "a.txt")
    store = Store.open(tmp_path / "s")
    (run.folder.artifacts / "later.bin").write_bytes(bytes(10))
    assert [finding.what for finding in check_store(store.path).findings] == ["is not recorded as an artifact"]
    assert main(["--store", str(store.path), "seal"]) == 0
    assert recorded(store, run.run_id) == {"a.txt": 1, "later.bin": 10}
    assert check_store(store.path).findings == []
    assert store.record_found_files(run.run_id) == 0


def test_a_recorded_file_that_changes_after_its_run_is_damage_and_stays_so(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / "s")
    with fluent.start_run() as run:
        run.log_text("x", "a.txt")
    (run.folder.artifacts / "a.txt").write_text("other")
    store = Store.open(tmp_path / "s")
    assert store.record_found_files(run.run_id) == 0
    assert recorded(store, run.run_id) == {"a.txt": 1}
    assert not check_store(store.path).sound


def test_a_live_run_is_left_alone(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / "s")
    run = fluent.start_run()
    run.log_text("x", "a.txt")
    (run.folder.artifacts / "own.txt").write_text("being written")
    assert current_store.get_store().record_found_files(run.run_id) == 0
    run.end()
    assert recorded(current_store.get_store(), run.run_id) == {"a.txt": 1, "own.txt": 13}

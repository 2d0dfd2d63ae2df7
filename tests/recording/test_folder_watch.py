"""Watched folders: whole files become artifacts once per content, with events and without, and the training is safe."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

import mltrack
from mltrack.errors import InvalidPathError, MltrackError, RunStateError, UsageError
from mltrack.recording.folder_watch import FolderWatch, PollConfig, Watched, _Source
from mltrack.recording.fs_events import folder_events
from tests.support.recording import run_python, start_python, stored

QUICK = PollConfig(settle_s=0.05, poll_s=0.02, last_wait_s=0.5, last_pause_s=0.05)


def no_events(wake: Callable[[], None]) -> None:
    """As on a file system that tells of no changes."""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[mltrack.Run]:
    mltrack.set_store(tmp_path / "s")
    with mltrack.start_run() as run:
        yield run


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def watch(run: mltrack.Run, folder: Path, *, since_ns: int | None = None, polling: PollConfig = QUICK) -> FolderWatch:
    """A watch that polls."""
    watching = FolderWatch(
        run, [Watched(folder, folder.name)], written_since_ns=since_ns, polling=polling, events=no_events
    )
    run.attach(watching)
    return watching


def watching_source(file: IO[bytes]) -> Any:
    """What a watch reads a file by."""
    return _Source(file, growing=False)


def wait_until(met: Callable[[], bool]) -> None:
    while not met():
        time.sleep(0.01)


def held(run: mltrack.Run, name: str) -> bytes | None:
    path = run.folder.artifacts / name
    return path.read_bytes() if path.exists() else None


def names(run: mltrack.Run) -> list[str]:
    return [artifact.path for artifact in run.stored().artifacts]


def times_stored(run: mltrack.Run, name: str) -> int:
    return sum(event.type == "artifact" and event.fields["path"] == name for event in run.stored().read_events())


def test_a_file_becomes_an_artifact_when_it_has_settled(run: mltrack.Run, outputs: Path) -> None:
    watch(run, outputs)
    (outputs / "deep" / "er").mkdir(parents=True)
    (outputs / "deep" / "er" / "model.bin").write_bytes(b"weights")
    wait_until(lambda: held(run, "outputs/deep/er/model.bin") == b"weights")
    wait_until(lambda: names(run) == ["outputs/deep/er/model.bin"])


def test_watchdog_reports_changes_long_before_the_next_poll(run: mltrack.Run, outputs: Path) -> None:
    asked = []

    def events(wake: Callable[[], None]) -> object:
        asked.append(wake)
        return folder_events(wake)

    seldom = PollConfig(settle_s=0.05, poll_s=3600, last_wait_s=0.5, last_pause_s=0.05)
    watching = FolderWatch(run, [Watched(outputs, "")], polling=seldom, events=events)  # type: ignore[arg-type]
    run.attach(watching)
    wait_until(lambda: bool(asked))
    count = 0

    def told() -> bool:  # the watch may begin a moment after the first files
        nonlocal count
        count += 1
        (outputs / f"{count}.txt").write_text("done")
        time.sleep(0.2)
        return bool(names(run))

    wait_until(told)
    (outputs / "sub").mkdir()
    (outputs / "sub" / "late.txt").write_text("later")
    wait_until(lambda: held(run, "sub/late.txt") == b"later")


def test_the_folder_need_not_exist_yet(run: mltrack.Run, tmp_path: Path) -> None:
    watch(run, tmp_path / "outputs")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "a.txt").write_text("a")
    wait_until(lambda: held(run, "outputs/a.txt") == b"a")


def test_a_growing_file_is_not_copied_until_it_is_complete(run: mltrack.Run, outputs: Path) -> None:
    now = 0.0
    watching = FolderWatch(
        run, [Watched(outputs, "")], polling=QUICK._replace(settle_s=10), clock=lambda: now, events=no_events
    )
    run.attach(watching)
    for size in (1_000, 2_000, 3_000):
        (outputs / "model.bin").write_bytes(b"x" * size)
        wait_until(lambda size=size: any(file.seen.size == size for file in watching._files.values()))  # type: ignore[misc]
        now += 9  # it never stood still for ten seconds
    assert held(run, "model.bin") is None
    now += 1
    wait_until(lambda: held(run, "model.bin") == b"x" * 3_000)


def test_a_copy_of_a_file_that_changed_meanwhile_is_discarded(run: mltrack.Run, outputs: Path) -> None:
    path = outputs / "model.bin"
    path.write_bytes(b"1" * 100)
    with open(path, "rb") as file:
        source = watching_source(file)
        assert source.read(50) == b"1" * 50
        with open(path, "ab") as writer:
            writer.write(b"2")
        with pytest.raises(MltrackError, match="is being written"):
            run.log_stream(source, "model.bin")
    assert names(run) == []
    assert os.listdir(run.folder.artifacts) == []


def test_a_file_that_changes_while_it_is_copied_is_copied_again(run: mltrack.Run, outputs: Path) -> None:
    """The file is rewritten as soon as the run's folder shows that a copy of it is under way."""
    path = outputs / "model.bin"
    first, second = b"1" * (8 << 20), b"2" * (8 << 20)
    path.write_bytes(first)
    copies = run.folder.artifacts / "outputs"

    def interfere() -> None:
        while not (copies.is_dir() and os.listdir(copies)):
            pass
        path.write_bytes(second)

    thread = threading.Thread(target=interfere)
    thread.start()
    watch(run, outputs)
    thread.join()
    wait_until(lambda: held(run, "outputs/model.bin") == second and bool(run.stored().artifacts))
    wait_until(lambda: os.listdir(copies) == ["model.bin"])
    assert run.stored().artifacts[0].size == len(second)


def test_each_content_is_copied_once_and_a_changed_file_replaces_its_artifact(run: mltrack.Run, outputs: Path) -> None:
    watching = watch(run, outputs)
    path = outputs / "a.txt"
    path.write_text("one")
    wait_until(lambda: held(run, "outputs/a.txt") == b"one")
    os.utime(path)  # touched: the same content
    (outputs / "later.txt").write_text("x")
    wait_until(lambda: held(run, "outputs/later.txt") == b"x")
    assert times_stored(run, "outputs/a.txt") == 1
    path.write_text("two")
    wait_until(lambda: held(run, "outputs/a.txt") == b"two")
    watching.stop()
    assert times_stored(run, "outputs/a.txt") == 2
    assert times_stored(run, "outputs/later.txt") == 1


def test_files_at_the_end_are_copied_without_having_settled(run: mltrack.Run, outputs: Path) -> None:
    watch(run, outputs, polling=PollConfig(settle_s=3600, poll_s=3600, last_wait_s=1, last_pause_s=0.01))
    (outputs / "late.txt").write_text("just now")
    run.end()
    assert held(run, "outputs/late.txt") == b"just now"
    assert names(run) == ["outputs/late.txt"]


def test_a_file_still_being_written_does_not_delay_the_end_for_long(run: mltrack.Run, outputs: Path) -> None:
    watching = watch(run, outputs, polling=PollConfig(settle_s=3600, poll_s=3600, last_wait_s=0.2, last_pause_s=0.1))
    over = threading.Event()

    def write() -> None:
        with open(outputs / "log.txt", "wb", buffering=0) as file:
            while not over.is_set():
                file.write(b"line\n")
                time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    wait_until((outputs / "log.txt").exists)
    watching.stop()
    over.set()
    writer.join()
    text = held(run, "outputs/log.txt")
    assert text is not None
    assert (outputs / "log.txt").read_bytes().startswith(text)
    assert run.stored().artifacts[0].size == len(text)


def test_old_files_are_left_alone_until_they_change(run: mltrack.Run, outputs: Path) -> None:
    old = outputs / "old.txt"
    for path in (old, outputs / "other.txt"):
        path.write_text("from before")
    watching = watch(run, outputs, since_ns=time.time_ns() + 3_600_000_000_000)
    wait_until(lambda: len(watching._files) == 2)
    (outputs / "new.txt").write_text("new")
    old.write_text("changed")
    wait_until(lambda: len(names(run)) == 2)
    watching.stop()
    assert names(run) == ["outputs/new.txt", "outputs/old.txt"]


def test_temporary_and_hidden_names_are_skipped_until_renamed(run: mltrack.Run, outputs: Path) -> None:
    watching = watch(run, outputs)
    for name in ("a.tmp", "b~", "c.part", ".hidden", "d.swp"):
        (outputs / name).write_text("not yet")
    (outputs / ".cache").mkdir()
    (outputs / ".cache" / "e").write_text("nor this")
    (outputs / "a.tmp").rename(outputs / "a.txt")
    watching.stop()
    assert names(run) == ["outputs/a.txt"]


def test_links_that_lead_outside_and_special_files_are_skipped(run: mltrack.Run, outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not ours")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f").write_text("not ours")
    (outputs / "out").symlink_to(tmp_path / "secret")
    (outputs / "folder").symlink_to(tmp_path / "elsewhere")
    (outputs / "circle").symlink_to("circle")
    (outputs / "best").symlink_to("real.txt")
    (outputs / "real.txt").write_text("real")
    os.mkfifo(outputs / "pipe")
    watch(run, outputs).stop()
    assert names(run) == ["outputs/best", "outputs/real.txt"]
    assert held(run, "outputs/best") == b"real"


def test_the_store_is_not_watched_into_itself(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "project" / "store")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.txt").write_text("a")
    with mltrack.start_run() as run:
        run.log_text("mine", "mine.txt")
        watch(run, tmp_path / "project").stop()
        assert names(run) == ["mine.txt", "project/a.txt"]
        with pytest.raises(UsageError, match="is in the store"):
            run.watch(run.folder.path)
        (tmp_path / "circle").symlink_to(tmp_path / "circle")
        with pytest.raises(UsageError, match="can't be watched"):
            run.watch(tmp_path / "circle")


def test_impossible_names_and_unreadable_files_harm_nothing(
    run: mltrack.Run, outputs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (outputs / "two\nlines").write_text("x")
    (outputs / "fine").write_text("x")
    watch(run, outputs).stop()
    assert names(run) == ["outputs/fine"]
    assert "two\\nlines" in caplog.text


def test_run_watch_copies_existing_files_unless_disabled(run: mltrack.Run, outputs: Path, tmp_path: Path) -> None:
    (outputs / "a.txt").write_text("a")
    old = tmp_path / "old"
    old.mkdir()
    (old / "b.txt").write_text("b")
    long_ago = time.time() - 3600
    os.utime(old / "b.txt", (long_ago, long_ago))
    time.sleep(0.05)  # its ctime is the present one, and can't be set
    with_old = run.watch(outputs)
    without_old = run.watch(old, "elsewhere", existing=False)
    (old / "c.txt").write_text("c")
    with_old.stop()
    without_old.stop()
    without_old.stop()
    assert names(run) == ["elsewhere/c.txt", "outputs/a.txt"]


def test_run_watch_refuses_bad_paths_and_ended_runs(run: mltrack.Run, outputs: Path) -> None:
    with pytest.raises(InvalidPathError):
        run.watch(outputs, "../up")
    run.end()
    with pytest.raises(RunStateError):
        run.watch(outputs)


def test_a_run_that_crashes_keeps_what_had_settled(tmp_path: Path) -> None:
    code = """
import os, signal, sys, time
from pathlib import Path
import mltrack
from mltrack.recording.folder_watch import FolderWatch, PollConfig, Watched
folder = Path(sys.argv[2])
mltrack.set_store(sys.argv[1])
run = mltrack.start_run()
print(run.run_id, flush=True)
FolderWatch(run, [Watched(folder, "")], polling=PollConfig(0.02, 0.02))
(folder / "whole.bin").write_bytes(b"w" * 1_000_000)
while not (run.folder.artifacts / "whole.bin").exists() or not run.stored().artifacts:
    time.sleep(0.01)
with open(folder / "half.bin", "wb", buffering=0) as file:
    while True:
        file.write(b"h" * 100_000)
        if file.tell() > 500_000:
            os.kill(os.getpid(), signal.SIGKILL)
"""
    folder = tmp_path / "outputs"
    folder.mkdir()
    run_id = run_python(code, tmp_path / "s", folder, status=-9).strip()
    run = stored(tmp_path / "s", run_id)
    assert [(a.path, a.size) for a in run.artifacts] == [("whole.bin", 1_000_000)]
    assert os.listdir(run.folder.artifacts) == ["whole.bin"]


def test_a_forked_child_leaves_the_watch_to_its_parent(tmp_path: Path) -> None:
    code = """
import os, sys, time
from pathlib import Path
import mltrack
folder = Path(sys.argv[2])
mltrack.set_store(sys.argv[1])
run = mltrack.start_run()
watching = run.watch(folder)
while watching._events is None:
    time.sleep(0.01)
if os.fork() == 0:
    (folder / "child.txt").write_text("child")
    own = run.watch(folder, "own")
    own.stop()
    run.end()
    os._exit(0)
assert os.wait()[1] == 0
(folder / "parent.txt").write_text("parent")
run.end()
print(*[a.path for a in run.stored().artifacts])
"""
    folder = tmp_path / "outputs"
    folder.mkdir()
    assert run_python(code, tmp_path / "s", folder).split() == [
        "outputs/child.txt",
        "outputs/parent.txt",
        "own/child.txt",
    ]


def test_files_written_by_another_process_are_whole(tmp_path: Path, run: mltrack.Run, outputs: Path) -> None:
    code = """
import sys, os
from pathlib import Path
folder = Path(sys.argv[1])
for n in range(40):
    (folder / f"new-{n}.tmp").write_bytes(bytes([n]) * 100_000)
    os.rename(folder / f"new-{n}.tmp", folder / "latest.bin")
    (folder / f"step-{n}.bin").write_bytes(bytes([n]) * 10_000)
"""
    watching = watch(run, outputs, polling=PollConfig(settle_s=0.01, poll_s=0.005, last_wait_s=1, last_pause_s=0.02))
    process = start_python(code, outputs)
    while process.poll() is None:
        latest = held(run, "outputs/latest.bin")
        assert latest is None or (len(latest) == 100_000 and len(set(latest)) == 1)
    assert process.communicate()[1] == ""
    watching.stop()
    assert held(run, "outputs/latest.bin") == bytes([39]) * 100_000
    assert len(names(run)) == 41
    for n in range(40):
        assert held(run, f"outputs/step-{n}.bin") == bytes([n]) * 10_000


def test_a_launched_programs_outputs_and_logs_become_artifacts(tmp_path: Path) -> None:
    for folder in ("outputs", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "old.txt").write_text("of an earlier run")
        long_ago = time.time() - 3600
        os.utime(tmp_path / folder / "old.txt", (long_ago, long_ago))
    time.sleep(0.1)  # its ctime is the present one, and can't be set
    made = {"outputs/model.pt", "logs/train.log", "deep/er/d", "elsewhere/e"}
    program = "mkdir -p logs deep/er; " + "; ".join(f"echo x > {name}" for name in made)

    def launched(*options: str) -> list[str]:
        command = [sys.executable, "-m", "mltrack", "--store", str(tmp_path / "s"), "run", "--no-snapshot", *options]
        done = subprocess.run([*command, "--", "sh", "-c", program], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        run_id = max((tmp_path / "s" / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns).name
        return [artifact.path for artifact in stored(tmp_path / "s", run_id).artifacts]

    assert launched() == ["logs/train.log", "outputs/model.pt"]
    assert launched("--watch", "deep/er", "--watch", str(tmp_path / "elsewhere")) == ["deep/er/d", "elsewhere/e"]
    assert launched("--no-watch") == []

"""The recorder: safe from the disk, from forks and from signals; what it warns of, and when."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.flusher import FLUSHER, Flusher
from mltrack.disk.jsonlog import read_log
from mltrack.disk.layout import Layout, new_run_id
from mltrack.errors import NotFoundError, StoreError
from mltrack.journal.recorder import Recorder
from mltrack.storage.runs.stored_run import StoredRun
from tests.support.filesystems import CountingFileSystem, Stopped, failing, failing_from, stopping_at
from tests.support.recording import abandon, all_points
from tests.support.signals import alarms, interrupted

START = {"type": "start", "run_name": "r", "start_time": 1}
END = {"type": "end", "status": "FINISHED", "end_time": 2}


def recorder(layout: Layout, fs: FileSystem = LOCAL, run_id: str | None = None) -> Recorder:
    return Recorder(layout, layout.run(run_id or new_run_id()), "create" if run_id is None else "resume", fs=fs)


def record(made: Recorder, returned: list[str]) -> None:
    """A short run; ``returned`` tells which calls came back."""
    made.start([START])
    FLUSHER.remove(made)  # on a slow machine it would sync too, and be what comes to the step that is meant
    returned.append("start")
    made.emit({"type": "param", "key": "p", "value": "1"})
    returned.append("param")
    for step in range(10):
        made.points.log("a", float(step), step, 0)
        returned.append(f"point {step}")
    made.sync()
    made.emit({"type": "tag", "key": "t", "value": "1"})
    returned.append("tag")
    made.close(END)
    returned.append("end")


def steps_of_a_run(layout: Layout) -> int:
    counter = CountingFileSystem()
    record(recorder(layout, counter), [])
    return counter.steps


class Impatient(FileSystem):
    """Where somebody presses Ctrl-C while files are made durable."""

    armed = False

    def sync(self, fd: int) -> None:
        if self.armed:
            raise KeyboardInterrupt
        super().sync(fd)


def test_a_run_that_is_interrupted_while_it_ends_has_its_status_and_points(layout: Layout) -> None:
    fs = Impatient()
    made = recorder(layout, fs)
    made.start([START])
    made.points.log("a", 1.0, 0, 0)
    fs.armed = True
    with pytest.raises(KeyboardInterrupt):
        made.close({**END, "status": "KILLED"})
    abandon(made)
    run = StoredRun(made.folder)
    assert (run.info.status, run.info.crashed, len(all_points(run))) == ("KILLED", False, 1)


def test_a_process_that_stops_at_any_step_keeps_every_completed_call(layout: Layout) -> None:
    for step in range(1, steps_of_a_run(layout) + 1):
        made, returned = recorder(layout, stopping_at(step)), list[str]()
        with suppress(Stopped):
            record(made, returned)
        abandon(made)
        if "start" not in returned:
            with suppress(NotFoundError):
                StoredRun(made.folder)
            continue
        run = StoredRun(made.folder)
        assert ("p" in run.params) >= ("param" in returned)
        assert ("t" in run.tags) >= ("tag" in returned)
        points = [point[1] for point in all_points(run)]
        assert points == list(range(len(points)))
        assert len(points) >= sum(name.startswith("point") for name in returned)
        assert run.info.crashed or run.info.status == "FINISHED"
        assert "end" not in returned or run.info.status == "FINISHED"
        again = recorder(layout, run_id=run.run_id)
        again.start([])
        again.points.log("a", 1.0, 99)
        again.close(END)
        after = StoredRun(made.folder)
        assert (after.info.status, after.info.crashed) == ("FINISHED", False)
        assert after.summaries["a"].count == len(points) + 1


@pytest.mark.parametrize("error", [MemoryError, OSError, RuntimeError])
def test_a_flusher_that_fails_once_catches_up_in_the_next_round(error: type[Exception]) -> None:
    class Asked:
        def __init__(self, failures: int) -> None:
            self.done = threading.Event()
            self.failures = failures

        def sync(self) -> None:
            self.failures -= 1
            if self.failures >= 0:
                raise error
            self.done.set()

        def pulse(self) -> None:
            """Not what this is about."""

    flusher = Flusher(interval_s=0.001)
    greedy, modest = Asked(2), Asked(0)
    for one in (greedy, modest):
        flusher.add(one)
    for one in (greedy, modest):
        assert one.done.wait(60)
        flusher.remove(one)


@pytest.mark.parametrize("faulty", [failing, failing_from])
def test_a_disk_that_fails_at_any_step_stops_no_call_and_every_loss_is_counted(
    layout: Layout, faulty: Callable[[int], FileSystem]
) -> None:
    for step in range(1, steps_of_a_run(layout) + 1):
        made, returned = recorder(layout, faulty(step)), list[str]()
        record(made, returned)
        assert returned[-1] == "end"
        with suppress(NotFoundError):
            run = StoredRun(made.folder)
            assert len(all_points(run)) + made.lost == 10
            if faulty is failing:  # the disk took what came later
                assert (run.params, run.tags) == ({"p": "1"}, {"t": "1"})
                assert run.info.status == "FINISHED"
                assert run.lost == made.lost


def test_a_loss_gives_one_warning_and_is_reported_at_the_end(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    made = recorder(layout, failing_from(12))
    with caplog.at_level(logging.WARNING, "mltrack"):
        made.start([START])
        for step in range(10_000):
            made.points.log("a", 1.0, step)
            made.emit({"type": "tag", "key": "t", "value": "1"})
        assert len(caplog.records) == 1
        assert os.strerror(errno.ENOSPC) in caplog.text
        made.close(END)
    assert len(caplog.records) == 2
    assert f"{made.lost:,} points" in caplog.records[1].getMessage()
    assert made.lost > 0


def test_events_kept_while_the_disk_was_full_are_stored_later(layout: Layout) -> None:
    full = [False]

    def check(step: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    made = recorder(layout, CountingFileSystem(check))
    full[0] = True
    made.start([START])
    made.emit({"type": "tag", "key": "a", "value": "1"})
    with pytest.raises(NotFoundError):
        StoredRun(made.folder)
    full[0] = False
    made.emit({"type": "tag", "key": "b", "value": "2"})
    assert StoredRun(made.folder).tags == {"a": "1", "b": "2"}
    full[0] = True
    made.emit({"type": "tag", "key": "c", "value": "3"})
    full[0] = False
    made.sync()
    assert StoredRun(made.folder).tags == {"a": "1", "b": "2", "c": "3"}
    made.close(END)
    read = read_log(made.folder.events / f"{made.writer}.jsonl")
    assert [line["seq"] for line in read.lines] == list(range(len(read.lines)))
    assert StoredRun(made.folder).info.status == "FINISHED"


def test_a_store_that_cannot_be_written_is_reported_at_the_start(layout: Layout) -> None:
    for code in (errno.EACCES, errno.EROFS, errno.ENOTDIR):

        def check(step: int, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        with pytest.raises(StoreError, match=r"^the store at .* can't be written") as caught:
            recorder(layout, CountingFileSystem(check)).start([START])
        assert caught.value.hint
        another_user_s = "0" * 32
        with pytest.raises(StoreError, match=f"^run {another_user_s} in .* can't be written"):
            recorder(layout, CountingFileSystem(check), another_user_s).start([])


def test_a_signal_handler_may_set_tags_at_any_moment(layout: Layout) -> None:
    made = recorder(layout)
    made.start([START])
    calls = [0]

    def handler() -> None:
        calls[0] += 1
        made.emit({"type": "tag", "key": f"h{calls[0]}", "value": ""})

    with alarms(handler):
        for n in range(3000):
            made.emit({"type": "tag", "key": f"t{n}", "value": ""})
    made.close(END)
    read = read_log(made.folder.events / f"{made.writer}.jsonl")
    assert [line["seq"] for line in read.lines] == list(range(len(read.lines)))
    assert calls[0] > 5
    tags = StoredRun(made.folder).tags
    assert {f"t{n}" for n in range(3000)} <= set(tags)
    assert len(tags) >= 3000 + calls[0] - 5  # a handler interrupted by the next may name the same number


def test_interrupts_never_give_a_position_twice(layout: Layout) -> None:
    made = recorder(layout)
    made.start([START])
    returned: list[str] = []
    n = 0

    def call() -> None:
        nonlocal n
        n += 1
        made.emit({"type": "tag", "key": f"t{n}", "value": ""})
        returned.append(f"t{n}")

    interrupted(call, 100)
    made.close(END)
    read = read_log(made.folder.events / f"{made.writer}.jsonl")
    assert not read.damage
    assert [line["seq"] for line in read.lines] == list(range(len(read.lines)))
    assert set(returned) <= set(StoredRun(made.folder).tags)


def test_closing_again_does_nothing(layout: Layout) -> None:
    made = recorder(layout)
    made.start([START])
    made.close(END)
    size = sum(path.stat().st_size for path in made.folder.path.rglob("*"))
    made.close(END)
    assert sum(path.stat().st_size for path in made.folder.path.rglob("*")) == size


def test_a_changed_run_leaves_a_mark_for_the_catalog(layout: Layout) -> None:
    made = recorder(layout)
    made.start([START])
    assert [path.name for path in layout.changed.iterdir()] == [f"{made.folder.run_id}.{made.writer}"]
    made.close(END)

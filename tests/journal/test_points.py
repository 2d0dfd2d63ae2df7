"""The journal: any points come back as they were logged, whatever interrupts, fails, or runs at the same time."""

from __future__ import annotations

import errno
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.jsonlog import read_log
from mltrack.disk.layout import RunFolder
from mltrack.errors import CorruptionError, InvalidMetricError, MltrackError, RunStateError
from mltrack.journal.events import EventJournal, new_writer_name
from mltrack.journal.locked_points import LockedPointJournal
from mltrack.journal.points import PointJournal
from mltrack.journal.reader import count_points, read_points
from mltrack.journal.written_points import NetworkPointJournal, WrittenPointJournal, open_points
from tests.support.filesystems import CountingFileSystem, failing_from
from tests.support.recording import Point, bits
from tests.support.signals import alarms, interrupted

KINDS = (PointJournal, LockedPointJournal, WrittenPointJournal, NetworkPointJournal)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
FLOATS = st.floats() | st.sampled_from([float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 2.2e-308])
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("log"), st.sampled_from("abcü模"), FLOATS, INT64, INT64),
        st.tuples(st.just("many"), st.dictionaries(st.text(min_size=1, max_size=3), FLOATS, max_size=4), INT64, INT64),
        st.tuples(st.just("series"), st.sampled_from("ab"), st.lists(FLOATS, max_size=30), INT64),
    ),
    max_size=25,
)
_folders = itertools.count()
is_gil_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)


class Recorded:
    """A point journal in a folder of its own, and what it told."""

    def __init__(self, path: Path, kind: type[PointJournal] = PointJournal, fs: FileSystem = LOCAL) -> None:
        self.folder = RunFolder(path / f"{next(_folders):032x}")
        self.folder.make(LOCAL)
        self.names: dict[int, str] = {}
        self.losses: list[Exception] = []
        self.writer = new_writer_name(1)
        self.refuse_names = False
        self.interrupt_name = ""
        self.points = kind(self.folder.points, self.writer, fs=fs, on_new_metric=self._name, on_loss=self.losses.append)

    def _name(self, number: int, key: str) -> None:
        if self.refuse_names:
            raise OSError(errno.ENOSPC, "full")
        assert number not in self.names
        self.names[number] = key
        if key == self.interrupt_name:
            self.interrupt_name = ""
            raise KeyboardInterrupt

    def keys(self, number: int) -> list[str]:
        return [self.names.get(n, "?") for n in range(max(self.names, default=-1) + 1)]

    def read(self, *, whole: bool = False) -> list[Point]:
        damage: list[CorruptionError] = []
        found: list[Point] = []
        for piece in read_points(self.folder, self.writer, self.keys, whole=whole, damage=damage):
            assert piece.seqs.tolist() == list(range(len(found), len(found) + len(piece)))
            rows = zip(piece.codes, piece.steps.tolist(), piece.times.tolist(), piece.values.tolist(), strict=True)
            found += [(piece.keys[code], step, time, bits(value)) for code, step, time, value in rows]
        assert not damage
        assert count_points(self.folder, self.writer, whole=whole, damage=damage) == len(found)
        return found


# --- what is logged is read ---


@given(CALLS, st.sampled_from(KINDS))
def test_any_points_are_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, calls: list[Any], kind: type[PointJournal]
) -> None:
    recorded = Recorded(tmp_path_factory.mktemp("any"), kind)
    wanted: list[Point] = []
    for call in calls:
        match call:
            case ("log", key, value, step, time):
                recorded.points.log(key, value, step, time)
                wanted.append((key, step, time, bits(value)))
            case ("many", values, step, time):
                recorded.points.log_many(values, step, time)
                wanted += [(key, step, time, bits(value)) for key, value in values.items()]
            case ("series", key, values, step):
                steps, n = np.full(len(values), step), len(values)
                recorded.points.log_series(key, np.array(values, float), steps, np.arange(n))
                wanted += [(key, step, time, bits(value)) for time, value in enumerate(values)]
        assert recorded.points.seq == len(wanted)
    assert recorded.read() == wanted
    recorded.points.close()
    assert recorded.read(whole=True) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_points_continue_from_file_to_file_and_a_closed_journal_has_no_spare_space(
    tmp_path: Path, kind: type[PointJournal]
) -> None:
    recorded = Recorded(tmp_path, kind)
    for step in range(5000):
        recorded.points.log("a", float(step), step, 0)
    recorded.points.log_series("b", np.arange(10_000.0), np.arange(10_000), np.zeros(10_000, int))
    recorded.points.log_many({"a": 1.0, "c": 2.0}, 7, 0)
    assert len(list(recorded.folder.points.iterdir())) > 3
    wanted = [("a", step, 0, bits(step)) for step in range(5000)]
    wanted += [("b", step, 0, bits(step)) for step in range(10_000)]
    wanted += [("a", 7, 0, bits(1)), ("c", 7, 0, bits(2))]
    assert recorded.read() == wanted
    recorded.points.close()
    files = list(recorded.folder.points.iterdir())
    assert sum(path.stat().st_size for path in files) == 64 * len(files) + 32 * len(wanted)
    assert recorded.read() == wanted


def test_a_journal_without_points_creates_no_file(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.points.log_many({})
    recorded.points.sync()
    recorded.points.close()
    assert list(recorded.folder.points.iterdir()) == []


class Seven:
    def __float__(self) -> float:
        return 7.0

    def __repr__(self) -> str:
        return "Seven()"


@pytest.mark.parametrize("value", [True, 7, np.float32(0.1), np.int8(-3), np.array(2.5), Seven()], ids=repr)
def test_anything_that_float_accepts_is_a_value(tmp_path: Path, value: Any) -> None:
    recorded = Recorded(tmp_path)
    for _ in range(2):  # the first goes the slow way
        recorded.points.log("a", value, 0, 0)
        recorded.points.log_many({"a": value}, 0, 0)
    assert recorded.read() == [("a", 0, 0, bits(float(value)))] * 4


BAD_VALUES = ["", "one", b"\xff", None, 1j, [1.0], np.array([1.0, 2.0]), np.array([]), object(), 10**400]
BAD_STEPS = [1.5, "", "1", 1 << 63, -(1 << 63) - 1, np.uint64(1 << 63), np.array([1, 2]), np.array(1.5), object()]
BAD_KEYS = ["", None, 5, b"a", ["a"], "x" * 65_536, "\ud800"]


@pytest.mark.parametrize("kind", KINDS)
def test_bad_keys_values_steps_and_times_are_refused_and_nothing_is_stored(
    tmp_path: Path, kind: type[PointJournal]
) -> None:
    recorded = Recorded(tmp_path, kind)
    points: Any = recorded.points
    for _ in range(2):  # with the metric unknown, and known
        before = points.seq
        for value in BAD_VALUES:
            with pytest.raises(InvalidMetricError):
                points.log("a", value)
            with pytest.raises(InvalidMetricError):
                points.log_many({"a": 1.0, "b": value})
        for step in BAD_STEPS:
            for call in (points.log, lambda key, value, *rest: points.log_many({key: value, "b": 2.0}, *rest)):
                with pytest.raises(InvalidMetricError):
                    call("a", 1.0, step)
                with pytest.raises(InvalidMetricError):
                    call("a", 1.0, 0, step)
        for key in BAD_KEYS:
            with pytest.raises(InvalidMetricError):
                points.log(key, 1.0)
        assert points.seq == before
        assert len(recorded.read()) == before
        points.log_many({"a": 1.0, "b": 1.0})
    assert len(recorded.read()) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_journal_refuses_points(tmp_path: Path, kind: type[PointJournal]) -> None:
    recorded = Recorded(tmp_path, kind)
    recorded.points.log("a", 1.0)
    recorded.points.close()
    one = np.ones(1)
    calls: list[Callable[[], object]] = [
        lambda: recorded.points.log("a", 1.0),
        lambda: recorded.points.log("new", 1.0),
        lambda: recorded.points.log_many({"a": 1.0}),
        lambda: recorded.points.log_series("a", one, one.astype(int), one.astype(int)),
    ]
    for call in calls:
        with pytest.raises(RunStateError):
            call()
    recorded.points.close()
    assert len(recorded.read()) == 1


def test_numpy_steps_are_steps(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    for step in (np.int64(3), np.uint8(3), np.array(3), True):
        recorded.points.log("a", 1.0, step, 0)
    assert [point[1] for point in recorded.read()] == [3, 3, 3, 1]


# --- interrupts, signal handlers, threads ---


@contextmanager
def traced() -> Iterator[None]:
    """As under a debugger: Python then looks for signals after calls, too, that it has made faster otherwise."""
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.slow
@pytest.mark.parametrize("how", [nullcontext, traced], ids=["plain", "traced"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_handler_may_log_at_any_moment(
    tmp_path: Path, kind: type[PointJournal], how: Callable[[], AbstractContextManager[None]]
) -> None:
    recorded = Recorded(tmp_path, kind)
    points, calls = recorded.points, [0]

    def handler() -> None:
        calls[0] += 1
        call = calls[0]  # the handler itself may be interrupted by the next
        points.log("handler", float(call), call)
        points.log_many({f"new {call}": 1.0, "handler too": 2.0}, call)

    with how(), alarms(handler):
        for step in range(4_000 if issubclass(kind, WrittenPointJournal) else 20_000):
            points.log("a", 1.0, step)
            points.log_many({"b": 1.0, "c": 2.0, f"n{step // 50}": 3.0}, step)
            if step % 1000 == 0:
                points.log_series("s", np.ones(5_000), np.arange(5_000), np.zeros(5_000, int))
    total = step + 1
    points.close()
    found = recorded.read()
    by_key: dict[str, list[int]] = {}
    for key, number, _, _ in found:
        by_key.setdefault(key, []).append(number)
    assert calls[0] > 20
    assert by_key["a"] == by_key["b"] == by_key["c"] == list(range(total))
    assert sorted(by_key["handler"]) == list(range(1, calls[0] + 1))
    assert sorted(by_key["handler too"]) == list(range(1, calls[0] + 1))
    assert all(by_key[f"new {n}"] == [n] for n in range(1, calls[0] + 1))
    assert by_key["s"] == list(range(5_000)) * (total // 1000 + bool(total % 1000))


@pytest.mark.parametrize("kind", KINDS)
def test_interrupts_leave_no_gap_and_lose_no_completed_call(tmp_path: Path, kind: type[PointJournal]) -> None:
    recorded = Recorded(tmp_path, kind)
    points = recorded.points
    step, times = 0, 150
    returned: list[tuple[str, int]] = []

    def call() -> None:
        nonlocal step
        step += 1
        key = f"k{step // 300}"
        points.log(key, float(step), step, 0)
        returned.append((key, step))
        if step % 2000 == 0:
            points.log_series("s", np.ones(5_000), np.arange(5_000), np.zeros(5_000, int))

    interrupted(call, times)
    points.close()
    found = [(key, at) for key, at, _, _ in recorded.read() if key != "s"]
    assert len(returned) <= len(found) <= len(returned) + times
    assert [at for _, at in found] == sorted({at for _, at in found})  # in order, each once
    assert set(returned) <= set(found)
    assert all(key == f"k{at // 300}" for key, at in found)
    assert not recorded.losses


def test_a_metric_number_is_used_once_although_an_interrupt_comes_while_it_is_stored(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.interrupt_name = "a"
    with pytest.raises(KeyboardInterrupt):
        recorded.points.log("a", 1.0)
    recorded.points.log("b", 2.0, 7, 0)  # had it the number of "a", a reader that knows that would take it for "a"
    assert recorded.names == {0: "a", 1: "b"}
    recorded.points.log("a", 3.0, 8, 0)
    assert recorded.read() == [("b", 7, 0, bits(2.0)), ("a", 8, 0, bits(3.0))]


@pytest.mark.parametrize("kind", KINDS if is_gil_enabled() else KINDS[1:])  # the first has no lock of its own
def test_threads_lose_nothing(tmp_path: Path, kind: type[PointJournal]) -> None:
    recorded = Recorded(tmp_path, kind)
    count = 20_000 if kind is PointJournal else 4_000

    def work(thread: int) -> None:
        for step in range(count):
            recorded.points.log(f"t{thread}", 1.0, step)
            if step % 500 == 0:
                recorded.points.log_many({f"t{thread} {step}": 1.0, "shared": 2.0}, step)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    stop = threading.Event()

    def sync() -> None:
        while not stop.wait(0.01):
            recorded.points.sync()

    syncer = threading.Thread(target=sync)
    for thread in [*threads, syncer]:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    syncer.join()
    steps: dict[str, list[int]] = {}
    for key, step, _, _ in recorded.read():
        steps.setdefault(key, []).append(step)
    assert all(steps[f"t{n}"] == list(range(count)) for n in range(8))
    assert len(steps["shared"]) == 8 * count // 500
    assert len(recorded.names) == 9 + 8 * count // 500


# --- disks that fail ---


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_failing_disk_calls_return_losses_are_counted_and_stored_points_stay(
    tmp_path: Path, kind: type[PointJournal]
) -> None:
    for step in range(1, 40):
        recorded = Recorded(tmp_path, kind, failing_from(step))
        for n in range(30):
            recorded.points.log("a", 1.0, n, 0)
        series = np.ones(5_000)
        recorded.points.log_series("a", series, np.arange(5_000), np.zeros(5_000, int))
        recorded.points.close()
        found = recorded.read()
        assert len(found) == recorded.points.seq
        assert len(found) + recorded.points.lost == 5_030
        assert [at for _, at, _, _ in found[:30]] == list(range(min(30, len(found))))
        assert recorded.losses or not recorded.points.lost


def test_points_are_stored_again_once_the_disk_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = [True]

    def check(step: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "full")

    recorded = Recorded(tmp_path, fs=CountingFileSystem(check))
    recorded.points.log("a", 1.0, 0, 0)
    recorded.points.log("b", 1.0, 1, 0)
    assert recorded.points.lost == 2
    assert len(recorded.losses) == 1
    full[0] = False
    recorded.points._retry_at_ns = 0  # the second in which the disk is left alone is over
    recorded.points.log("a", 1.0, 2, 0)
    assert [at for _, at, _, _ in recorded.read()] == [2]
    full[0] = True
    recorded.points.log_series("a", np.ones(5_000), np.arange(5_000), np.zeros(5_000, int))
    assert recorded.points.lost == 5_002
    assert len(recorded.losses) >= 2


def test_a_metric_whose_name_cannot_be_stored_is_counted_as_lost(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.refuse_names = True
    recorded.points.log("a", 1.0)
    recorded.points.log_series("a", np.ones(7), np.arange(7), np.arange(7))
    assert recorded.points.lost == 8
    assert recorded.read() == []


# --- events ---


def test_events_are_numbered_and_their_times_never_fall(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path, "f" * 16)
    journal.append([{"type": "a"}, {"type": "b"}], 100)
    journal.append([{"type": "c"}], 50)
    journal.not_before(1000)
    journal.append([{"type": "d"}], 60)
    journal.sync()
    journal.close()
    lines = read_log(tmp_path / f"{'f' * 16}.jsonl").lines
    assert [(line["seq"], line["time"], line["type"]) for line in lines] == [
        (0, 100, "a"),
        (1, 100, "b"),
        (2, 101, "c"),
        (3, 1001, "d"),
    ]


def test_a_seq_is_used_once_although_appends_fail_halfway(tmp_path: Path) -> None:
    for step in range(2, 12):

        def check(number: int, at: int = step) -> None:
            if number == at:
                raise OSError(errno.EIO, "no")

        name = f"{step:016x}"
        journal = EventJournal(tmp_path, name, fs=CountingFileSystem(check))
        for n in range(10):
            with suppress(OSError):
                journal.append([{"type": f"x{n}"}, {"type": f"y{n}"}, {"type": f"z{n}"}], n)
        journal.close()
        read = read_log(tmp_path / f"{name}.jsonl")
        assert not read.damage
        assert [line["seq"] for line in read.lines] == list(range(journal.seq))


def test_writer_names_sort_by_age() -> None:
    names = [new_writer_name(ms * 1_000_000) for ms in (0, 1, 1_700_000_000_000, 1_700_000_000_001)]
    assert names == sorted(names)
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


def test_the_environment_decides_how_points_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kind() -> type[PointJournal]:
        return type(open_points(tmp_path, "0" * 16, on_new_metric=lambda n, k: None, on_loss=lambda e: None))

    monkeypatch.setenv("MLTRACK_JOURNAL", "mmap")
    assert not issubclass(kind(), WrittenPointJournal)
    monkeypatch.setenv("MLTRACK_JOURNAL", "write")
    assert kind() is WrittenPointJournal


def test_a_fork_that_releases_the_journal_leaves_the_parents_unchanged(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.points.log("a", 1.0, 0, 0)
    child = os.fork()
    if not child:
        recorded.points.abandon()
        os._exit(0)
    os.waitpid(child, 0)
    recorded.points.log("a", 1.0, 1, 0)
    assert [at for _, at, _, _ in recorded.read()] == [0, 1]
    assert issubclass(RunStateError, MltrackError)

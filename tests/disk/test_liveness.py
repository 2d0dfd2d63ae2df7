"""Who still writes: by lock, by pid, by pulse."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mltrack.disk.liveness import PULSE_LOST_S, holds_lock, is_alive, own_lock
from mltrack.journal.events import EventJournal
from tests.support.recording import start_python

HERE = os.uname().nodename


def test_a_writer_is_alive_while_it_holds_its_lock(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path, "0" * 16)
    path = tmp_path / f"{'0' * 16}.jsonl"
    assert journal.locked
    assert holds_lock(path)
    assert is_alive(path, locked=True, host="elsewhere", pid=0, opened_ns=0)
    with own_lock(path) as mine:
        assert not mine
    journal.close()
    assert not holds_lock(path)
    with own_lock(path) as mine:
        assert mine
        assert holds_lock(path)
        with own_lock(path) as again:
            assert not again
    assert not holds_lock(path)


def test_a_missing_file_has_no_live_writer(tmp_path: Path) -> None:
    assert not holds_lock(tmp_path / "none")
    assert not is_alive(tmp_path / "none", locked=False, host="elsewhere", pid=1, opened_ns=0)
    with own_lock(tmp_path / "none") as mine:
        assert not mine


def test_checking_liveness_does_not_disturb_other_checks(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "file"
    path.touch()
    with open(path) as other:
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert not holds_lock(path)


def test_without_a_lock_the_pid_decides_on_the_same_host(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    now = time.time_ns()
    assert is_alive(path, locked=False, host=HERE, pid=os.getpid(), opened_ns=now)
    # a process that has the pid now but began after the writer did is another one
    assert not is_alive(path, locked=False, host=HERE, pid=os.getpid(), opened_ns=now - 10**15)
    gone = start_python("pass")
    gone.communicate()
    assert not is_alive(path, locked=False, host=HERE, pid=gone.pid, opened_ns=now)


def test_without_a_lock_the_pulse_decides_on_another_host(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    touched = path.stat().st_mtime
    for age, alive in ((0.0, True), (PULSE_LOST_S - 1, True), (PULSE_LOST_S + 1, False)):
        clock = [touched + age]
        assert is_alive(path, locked=False, host="elsewhere", pid=1, opened_ns=0, now=clock.copy().pop) is alive

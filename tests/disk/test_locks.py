"""Locks of files: held once, and freed with their process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mltrack.disk.locks import file_lock, try_lock
from mltrack.errors import BusyError
from tests.support.recording import run_python


def test_a_lock_is_held_once_and_waiting_for_it_times_out(tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with file_lock(tmp_path / "lock", timeout_s=1.0):  # noqa: SIM117
        with (
            pytest.raises(BusyError, match="locked by another process"),
            file_lock(tmp_path / "lock", timeout_s=1.0, sleep=sleep, clock=lambda: now[0]),
        ):
            pass
    assert now[0] >= 1.0
    with file_lock(tmp_path / "lock", timeout_s=0.0):
        pass


def test_a_lock_is_released_when_its_process_dies(tmp_path: Path) -> None:
    code = "import sys, os, fcntl\nfd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\nfcntl.flock(fd, fcntl.LOCK_EX)"
    run_python(code, tmp_path / "lock")
    with file_lock(tmp_path / "lock", timeout_s=0.0):
        pass


def test_a_lock_is_released_although_a_forked_child_has_a_copy(tmp_path: Path) -> None:
    read, write = os.pipe()
    with file_lock(tmp_path / "lock", timeout_s=0.0):
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
    try:
        with file_lock(tmp_path / "lock", timeout_s=0.0):
            pass
    finally:
        os.close(write)
        os.waitpid(child, 0)
        os.close(read)


def test_a_lock_held_elsewhere_is_not_taken(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert try_lock(first) is True
    assert try_lock(second) is False
    os.close(first)
    assert try_lock(second) is True
    os.close(second)

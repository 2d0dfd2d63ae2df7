"""Publishing, locks, and names from outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mltrack.disk.filesystem import LOCAL, file_lock, relative_name, safe_join, try_lock
from mltrack.errors import BusyError, InvalidPathError
from tests.support.filesystems import CountingFileSystem, LossyFileSystem, Stopped, failing, stopping_at
from tests.support.recording import run_python


def test_at_every_step_a_published_file_is_either_the_old_or_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "file"
    for step in range(1, 20):
        LOCAL.publish_bytes(target, b"old")
        fs = stopping_at(step)
        try:
            fs.publish_bytes(target, b"new and longer")
        except Stopped:
            assert target.read_bytes() in (b"old", b"new and longer")
        else:
            assert target.read_bytes() == b"new and longer"
            assert step > 5
            return
    raise AssertionError("publishing never ended")


def test_a_failed_publish_leaves_only_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    LOCAL.publish_bytes(target, b"old")
    counter = CountingFileSystem()
    counter.publish_bytes(tmp_path / "other", b"x")
    (tmp_path / "other").unlink()
    for step in range(1, counter.steps):  # the last is the folder's sync: the name stands by then
        with pytest.raises(OSError, match="No space"):
            failing(step).publish_bytes(target, b"new")
        assert target.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]


def test_what_was_published_survives_power_loss(tmp_path: Path) -> None:
    fs = LossyFileSystem(tmp_path)
    fs.publish_bytes(tmp_path / "file", b"data")
    fs.lose_power()
    assert (tmp_path / "file").read_bytes() == b"data"


def test_allocated_space_exists_and_is_zero(tmp_path: Path) -> None:
    fd = LOCAL.create(tmp_path / "file")
    LOCAL.allocate(fd, 100_000)
    assert os.fstat(fd).st_size == 100_000
    assert os.fstat(fd).st_blocks * 512 >= 100_000
    os.close(fd)


def test_removing_a_missing_file_is_not_an_error(tmp_path: Path) -> None:
    LOCAL.unlink(tmp_path / "none")


# --- locks ---


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


# --- names ---

BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/../b",
    "/abs",
    "a\\b",
    "a\0b",
    "a\nb",
    "a\rb",
    "\ud800",
    "é" * 128,
    b"x",
    5,
    None,
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidPathError):
        relative_name(name)
    with pytest.raises(InvalidPathError):
        safe_join(tmp_path, name)


@pytest.mark.parametrize(
    ("name", "clean"),
    [("a", "a"), ("./a//b/", "a/b"), ("..a", "..a"), ("ä ö/模.bin", "ä ö/模.bin"), ("é" * 127, "é" * 127)],
)
def test_a_name_inside_is_kept(name: str, clean: str) -> None:
    assert relative_name(name) == clean


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "circle").symlink_to(root / "circle")
    (root / "there").symlink_to(root / "back")
    (root / "back").symlink_to(root / "there")
    (root / "deep").symlink_to("circle/../../..")
    (root / "inner").mkdir()
    (root / "in").symlink_to(root / "inner")
    for name in ("out/x", "out", "circle", "circle/x", "there", "back/x/y", "deep", "deep/x"):
        with pytest.raises(InvalidPathError):
            safe_join(root, name)
    assert safe_join(root, "in/x") == root / "in" / "x"

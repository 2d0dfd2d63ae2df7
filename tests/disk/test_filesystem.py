"""Publishing, and names from outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mltrack.disk.filesystem import LOCAL, relative_name, safe_join
from mltrack.errors import InvalidPathError
from tests.support.filesystems import CountingFileSystem, LossyFileSystem, Stopped, failing, stopping_at


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

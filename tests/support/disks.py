"""Real file systems in files, by loop mounts, that can be shut down as an error of the disk or a power cut does it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

FS_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2  # what is in memory only, the journal too, is lost
SIZES = {"ext4": "64M", "xfs": "320M"}  # the smallest that each can have


class Disk:
    """One such file system and where it is mounted."""

    def __init__(self, image: Path, path: Path, options: str) -> None:
        self.image = image
        self.path = path
        self.options = options

    def mount(self) -> None:
        """Mount it, which replays its journal; skips the test where that can't be done here."""
        command = ["mount", "-o", f"loop,{self.options}", str(self.image), str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no image can be mounted here: {done.stderr.strip()}")

    def shut_down(self) -> None:
        """From now on the disk takes nothing: what was not synced is lost."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def remount(self) -> None:
        """What a restart of the machine does."""
        subprocess.run(["umount", str(self.path)], check=True)
        self.mount()


@contextlib.contextmanager
def loop_disk(folder: Path, kind: str, options: str = "rw") -> Iterator[Disk]:
    """A new file system of that kind, in an image in ``folder``; skips the test where there can be none."""
    if os.geteuid():
        pytest.skip("only root can mount an image")
    if shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"mkfs.{kind} is not installed")
    disk = Disk(folder / "image", folder / "disk", options)
    disk.path.mkdir()
    subprocess.run(["truncate", "-s", SIZES[kind], str(disk.image)], check=True)
    force = "-f" if kind == "xfs" else "-F"
    subprocess.run([f"mkfs.{kind}", "-q", force, str(disk.image)], check=True, capture_output=True)
    disk.mount()
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk.path)], check=False, capture_output=True)


class MemoryDisk:
    """A disk in memory that can be pulled out while it is used, filled, or made read-only; what it holds stays."""

    def __init__(self, folder: Path, size: str) -> None:
        """Mount one at ``folder``/disk; ``size`` as mount takes it: "2m"."""
        self._held, self.path = folder / "held", folder / "disk"
        for path in (self._held, self.path):
            path.mkdir(parents=True)
        done = self._mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", self._held, check=False)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
        self.connect()

    @staticmethod
    def _mount(*args: str | Path, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["mount", *map(str, args)], capture_output=True, check=check)

    def connect(self) -> None:
        """Plug it in."""
        self._mount("--bind", self._held, self.path)

    def pull_out(self) -> None:
        """From now on its path is the empty folder that it was mounted on."""
        subprocess.run(["umount", "-l", str(self.path)], check=True, capture_output=True)

    def resize(self, size: str) -> None:
        """Make it larger or smaller."""
        self._mount("-o", f"remount,size={size}", self._held)

    def protect(self) -> None:
        """From now on nothing can be written to it."""
        self._mount("-o", "remount,bind,ro", self.path)

    def unprotect(self) -> None:
        """It can be written to again."""
        self._mount("-o", "remount,bind,rw", self.path)

    def close(self) -> None:
        """Unmount it, with all that it holds."""
        for path in (self.path, self._held):
            subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


@contextlib.contextmanager
def memory_disk(folder: Path, size: str = "64m") -> Iterator[MemoryDisk]:
    """Such a disk; skips the test where there can be none."""
    if os.geteuid():
        pytest.skip("only root can mount a disk")
    disk = MemoryDisk(folder, size)
    try:
        yield disk
    finally:
        disk.close()

"""Which file systems points are mapped on, by what the kernel says of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mltrack.disk.mounts import Mount, is_network, maps_safely, mount_of
from mltrack.journal.written_points import NetworkPointJournal, WrittenPointJournal, open_points
from tests.support.disks import Disk, loop_disk


def test_a_path_that_does_not_exist_yet_is_on_the_mount_of_its_parents(tmp_path: Path) -> None:
    assert mount_of(tmp_path / "not" / "there" / "yet") == mount_of(tmp_path)
    assert not is_network(mount_of(tmp_path))


@pytest.mark.parametrize(
    ("kind", "options", "safe"),
    [
        ("ext4", "rw,delalloc,data=ordered", True),
        ("ext4", "rw,delalloc,data=writeback", True),
        ("ext4", "rw,nodelalloc", False),
        ("ext4", "rw,delalloc,data=journal", False),
        ("ext4", "rw,dax=always", False),
        ("tmpfs", "rw,size=3072k", True),
        ("ext3", "rw", False),
        ("xfs", "rw,attr2", False),
        ("btrfs", "rw,space_cache=v2", False),
        ("zfs", "rw", False),
        ("overlay", "rw", False),
        ("nfs4", "rw,vers=4.2", False),
        ("fuse.sshfs", "rw", False),
        ("", "", False),
    ],
)
def test_points_are_mapped_only_if_writes_to_a_mapping_cannot_fail(kind: str, options: str, safe: bool) -> None:
    assert maps_safely(Mount(kind, frozenset(options.split(",")))) is safe


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "lustre", "fuse.glusterfs", "ceph", "9p"])
def test_space_is_not_preallocated_on_network_file_systems(kind: str) -> None:
    assert is_network(Mount(kind, frozenset()))
    assert not is_network(Mount("xfs", frozenset()))


@pytest.fixture
def journalled(tmp_path: Path) -> Iterator[Disk]:
    """An ext4 whose superblock, not its mount, says that data is journalled."""
    with loop_disk(tmp_path, "ext4") as disk:
        subprocess.run(["umount", str(disk.path)], check=True)
        subprocess.run(["tune2fs", "-o", "journal_data", str(disk.image)], check=True, capture_output=True)
        disk.mount()
        yield disk


def test_options_of_the_superblock_count_too(journalled: Disk) -> None:
    assert not maps_safely(mount_of(journalled.path))
    points = open_points(journalled.path, "0" * 16, on_new_metric=lambda n, k: None, on_loss=lambda e: None)
    assert isinstance(points, WrittenPointJournal)
    assert not isinstance(points, NetworkPointJournal)

"""The kind of file system that a path lies on, which decides how points are written to it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Mount", "is_network", "maps_safely", "mount_of"]

_NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "lustre",
    "beegfs",
    "gpfs",
    "ceph",
    "afs",
    "9p",
    "fuse",
    "glusterfs",
    "pvfs",
)
_EXT4_UNSAFE = {"nodelalloc", "data=journal", "dax", "dax=always"}


class Mount(NamedTuple):
    """A mounted file system: its type by the kernel's name ("" if not known), and its options."""

    kind: str
    options: frozenset[str]


def mount_of(path: Path) -> Mount:
    """The file system of ``path``, which need not exist yet.

    Raises:
        OSError: it can't be found out.
    """
    while not path.exists() and path != path.parent:
        path = path.parent
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            head, _, tail = line.partition(" - ")
            if head.split(" ", 3)[2] == number:
                kind, _, options = tail.rstrip("\n").split(" ", 2)
                found = frozenset(options.split(","))
                return Mount(kind, found | _ext4_defaults(number) if kind == "ext4" else found)
    return Mount("", frozenset())


def _ext4_defaults(number: str) -> frozenset[str]:
    """All options of an ext4 file system: the list of mounts has only those that differ from its superblock."""
    try:
        name = os.path.basename(os.readlink(f"/sys/dev/block/{number}"))
        with open(f"/proc/fs/ext4/{name}/options", encoding="utf-8") as file:
            return frozenset(file.read().split())
    except OSError:
        return frozenset()


def is_network(mount: Mount) -> bool:
    """Whether it is a network file system: shared with other machines, space allocated on write."""
    return mount.kind.startswith(_NETWORK)


def maps_safely(mount: Mount) -> bool:
    """Whether a write to a mapped file always succeeds once its space is allocated.

    Elsewhere it can be a SIGBUS, which ends the process: where the file system goes down (XFS and btrfs ask it at each
    first write to a page; ext4 does without delayed allocation, or where it journals data), where a copy on write finds
    the disk full (btrfs, ZFS, bcachefs), on networks, and below layers that hide what is under them (overlay).
    """
    if mount.kind == "ext4":
        return not mount.options & _EXT4_UNSAFE
    return mount.kind == "tmpfs" or (sys.platform != "linux" and not is_network(mount))

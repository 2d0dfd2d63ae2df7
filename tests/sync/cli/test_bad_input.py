"""What can't be used is said on the command line in one line that names it, with another that says what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mltrack.disk.codec import decode_line, encode_line
from mltrack.store import Store
from mltrack_sync import Remotes
from mltrack_sync.stores.bundle_format import MANIFEST_BYTES
from mltrack_sync.stores.bundle_zip import crc_of, local_header
from tests.support.command_line import Cli, without_waits
from tests.support.disks import MemoryDisk, memory_disk
from tests.support.ssh_server import stand_in
from tests.support.written_runs import write_run

Refused = Callable[..., tuple[str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with a run of 200 kB."""
    monkeypatch.chdir(tmp_path)
    store = Store.create(tmp_path / "here" / ".mltrack")
    write_run(store, metrics={"loss": [(step, step / 3) for step in range(6_000)]})
    return store


@pytest.fixture
def refused(here: Store, cli: Cli) -> Refused:
    """Runs a command that fails; its error and its hint."""

    def run(*args: str | Path, store: Path = here.path) -> tuple[str, str]:
        said = cli("--store", str(store), *map(str, args))
        assert said.code not in (0, None), said
        error, hint = without_waits(said.err)
        assert error.startswith("error: ") and hint.startswith("hint: "), said
        return error.removeprefix("error: "), hint.removeprefix("hint: ")

    return run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[MemoryDisk]:
    """A small disk."""
    with memory_disk(tmp_path / "small", "100k") as disk:
        yield disk


# --- paths ---


def test_a_path_without_a_store_or_a_folder_for_one(refused: Refused, tmp_path: Path) -> None:
    missing = tmp_path / "usb" / "p" / ".mltrack"
    for command in ("sync", "pull", "verify"):
        error, hint = refused(command, missing)
        assert error == f"no mltrack store at {missing}"
        assert "connect the disk" in hint
    (tmp_path / "empty").mkdir()
    assert refused("pull", tmp_path / "empty")[0] == f"no mltrack store at {tmp_path}/empty/.mltrack"
    assert not (tmp_path / "empty" / ".mltrack").exists()


def test_a_file_that_is_neither_a_store_nor_a_bundle(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("notes")
    assert refused("sync", file)[0] == f"{file} is a file, and not the folder of a store"
    assert refused("pull", file)[0] == f"{file} is not a bundle of mltrack's, or its beginning is damaged"
    assert refused("pull", tmp_path / "week.mltb")[0] == f"no file {tmp_path}/week.mltb"
    assert f"{file} is not a receipt" in refused("receipt", "--accept", file)[0]
    assert refused("receipt", "--accept", tmp_path / "gone")[0] == f"no file {tmp_path}/gone"


def test_a_store_of_a_later_format(refused: Refused, tmp_path: Path) -> None:
    far = Store.create(tmp_path / "far")
    (far.path / "store.json").write_bytes(encode_line({"format": 99, "store_id": far.store_id, "created": 0}))
    for command in ("sync", "pull"):
        error, hint = refused(command, far.path)
        assert "format 99" in error and str(far.path) in error
        assert "upgrade" in hint


# --- no space, nothing to be written ---


def test_a_full_disk_of_the_remote(refused: Refused, disk: MemoryDisk) -> None:
    error, hint = refused("sync", disk.path / ".mltrack")
    assert error.startswith(f"no space is left at {disk.path}/.mltrack")
    assert hint == "make room; the next sync or pull continues where this one stopped"
    error, hint = refused("bundle", disk.path / "week.mltb")
    assert error == f"no space is left at {disk.path}/week.mltb"
    assert "no file was written" in hint
    assert not list(disk.path.glob("*.mltb*"))


def test_a_full_disk_here_is_not_taken_for_the_other_one(refused: Refused, here: Store, disk: MemoryDisk) -> None:
    small = Store.create(disk.path / ".mltrack")
    Remotes(small).add("big", str(here.path))
    assert refused("pull", "big", store=small.path)[0] == f"no space is left at {small.path}"
    subprocess.run([sys.executable, "-m", "mltrack", "--store", here.path, "bundle", "week.mltb"], check=True)
    assert refused("pull", "week.mltb", store=small.path)[0] == f"no space is left at {small.path}"


def test_a_read_only_disk_of_the_remote(refused: Refused, disk: MemoryDisk) -> None:
    far = Store.create(disk.path / ".mltrack")
    disk.protect()
    error, hint = refused("sync", far.path)
    assert error == f"{far.path} can't be written: it is read-only, or not permitted"
    assert hint == "check how the disk is mounted, and the folder's permissions"
    error, _ = refused("bundle", disk.path / "week.mltb")
    assert error == f"{disk.path}/week.mltb can't be written or read: Read-only file system"
    assert "Read-only file system" in refused("sync", disk.path / "new" / ".." / "other")[0]


@pytest.mark.slow
def test_a_read_only_disk_here(refused: Refused, here: Store, disk: MemoryDisk) -> None:
    store = Store.create(disk.path / ".mltrack")
    Remotes(store).add("big", str(here.path))
    subprocess.run([sys.executable, "-m", "mltrack", "--store", here.path, "bundle", "week.mltb"], check=True)
    disk.protect()
    for command in (("pull", "big"), ("sync", "big"), ("pull", "week.mltb")):
        error, hint = refused(*command, store=store.path)
        assert error.startswith(str(store.path)) and "mounted" in hint


# --- bundles ---


def test_a_bundle_of_another_version_or_a_part_of_one(refused: Refused, here: Store, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "mltrack", "--store", here.path, "bundle", "week.mltb"], check=True)
    data = (tmp_path / "week.mltb").read_bytes()
    (tmp_path / "part.mltb").write_bytes(data[:-100])
    assert refused("pull", "part.mltb") == (
        "part.mltb: its zip directory is damaged",
        "have it sent again; nothing was taken from it",
    )
    head = len(local_header("manifest.json", 0, 0))
    fields = {**decode_line(data[head : head + MANIFEST_BYTES].strip()), "version": 2}
    fields.pop("crc", None)
    manifest = encode_line(fields)[:-1].ljust(MANIFEST_BYTES - 1) + b"\n"
    header = local_header("manifest.json", MANIFEST_BYTES, crc_of(manifest))
    (tmp_path / "new.mltb").write_bytes(header + manifest + data[head + MANIFEST_BYTES :])
    error, hint = refused("pull", "new.mltb")
    assert error == "new.mltb: the bundle has version 2; this mltrack knows versions up to 1"
    assert hint == "upgrade mltrack: pip install -U mltrack-local"
    assert refused("bundle", "week.mltb")[0] == "week.mltb exists already"
    assert refused("bundle", "no/where.mltb")[0] == "no is not a folder"


# --- behind ssh ---


@pytest.fixture
def over_ssh(here: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes "cluster" the store at a path behind ssh, where mltrack is started by a command."""
    monkeypatch.setenv("MLTRACK_SSH", stand_in(tmp_path / "ssh"))

    def add(path: str, command: str = "") -> None:
        Remotes(here).add("cluster", f"ssh://cluster{path}")
        if command:
            Remotes(here).configure("cluster", [f"command={command}"])

    return add


def test_another_machine_without_mltrack(refused: Refused, over_ssh: Callable[..., None], tmp_path: Path) -> None:
    over_ssh(f"{tmp_path}/s", "/nowhere/mltrack")
    for command in ("sync", "pull", "verify"):
        error, hint = refused(command, "cluster")
        assert error.startswith("cluster has no mltrack where it was looked for")
        assert "mltrack remote set cluster command=" in hint


def test_another_machine_with_an_older_mltrack(refused: Refused, over_ssh: Callable[..., None], tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\necho \"Error: No such command 'serve-store'.\" >&2\nexit 2\n")
    old.chmod(0o755)
    over_ssh(f"{tmp_path}/s", str(old))
    error, hint = refused("pull", "cluster")
    assert error.startswith("cluster")
    assert "upgrade it there" in hint


@pytest.mark.slow
def test_a_path_behind_ssh_that_is_no_store(refused: Refused, over_ssh: Callable[..., None], tmp_path: Path) -> None:
    over_ssh(f"{tmp_path}/none/.mltrack")
    assert refused("pull", "cluster")[0] == f"cluster: no mltrack store at {tmp_path}/none/.mltrack"
    assert "make the folder" in refused("sync", "cluster")[1]


@pytest.mark.slow
def test_a_file_behind_ssh_that_is_no_store(refused: Refused, over_ssh: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    over_ssh(f"{tmp_path}/notes.txt")
    for command in ("pull", "sync"):
        assert refused(command, "cluster")[0].startswith(f"cluster: {tmp_path}/notes.txt is a file")


@pytest.mark.slow
def test_a_full_and_a_read_only_disk_behind_ssh(
    refused: Refused, over_ssh: Callable[..., None], disk: MemoryDisk
) -> None:
    over_ssh(f"{disk.path}/.mltrack")
    error, hint = refused("sync", "cluster")
    assert error.startswith("cluster: no space is left at ")
    assert "make room" in hint
    disk.protect()
    error, hint = refused("sync", "cluster")
    assert error == f"cluster: {disk.path}/.mltrack can't be written: it is read-only, or not permitted"
    assert "mounted" in hint

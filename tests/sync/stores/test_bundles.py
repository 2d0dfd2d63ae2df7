"""Bundles: the same file for the same content, only what is new for a receiver, and whole or not at all."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.disk.codec import decode_line, encode_line
from mltrack.disk.filesystem import FileSystem
from mltrack.errors import MltrackError, NotFoundError, UsageError
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.sealing import seal_dead_writers
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.gc import plan_gc
from mltrack_sync.remotes.resolver import remote_for
from mltrack_sync.selection import Selection
from mltrack_sync.stores.bundle_format import MANIFEST_BYTES, BundleError, Manifest
from mltrack_sync.stores.bundle_reader import open_bundle
from mltrack_sync.stores.bundle_writer import write_bundle
from mltrack_sync.stores.bundle_zip import crc_of, local_header
from mltrack_sync.stores.bundles import BundleOptions, bundle, pull_bundle
from mltrack_sync.stores.local_source import LocalSource
from mltrack_sync.stores.transfer import Need, Piece, UnitSnapshot
from tests.support.command_line import run
from tests.support.recording import start_python

POINTS = 15


def record(path: Path, name: str, points: int = POINTS, run_id: str | None = None) -> str:
    """A run in a store, or more of one."""
    mltrack.set_store(path)
    with mltrack.start_run(run_id=run_id, run_name=None if run_id else name) as made:
        if run_id is None:
            mltrack.log_param("lr", 0.1)
        for step in range(points):
            mltrack.log_metric("loss", 1 / (step + 1), step=step)
        mltrack.log_text(f"notes of {name}", f"{name}.txt")
        found: str = made.run_id
    mltrack.set_store(None)
    return found


@pytest.fixture
def here(tmp_path: Path) -> Store:
    """A store with two runs."""
    record(tmp_path / "here", "first")
    record(tmp_path / "here", "second")
    return Store.open(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Store:
    """An empty store."""
    return Store.create(tmp_path / "there")


def assert_same(here: Store, there: Store) -> None:
    """All runs of the one are in the other, and nothing is wrong there."""
    assert set(here.run_ids()) <= set(there.run_ids())
    for run_id in here.run_ids():
        one, other = here.run(run_id), there.run(run_id)
        assert one.metrics().equals(other.metrics())
        assert (one.params, one.tags, one.artifacts) == (other.params, other.tags, other.artifacts)
        for artifact in one.artifacts:
            assert one.artifact_path(artifact.path).read_bytes() == other.artifact_path(artifact.path).read_bytes()
    assert check_store(there.path).findings == []


def test_pulling_a_bundle_brings_runs_unchanged_and_pulling_again_brings_nothing(
    here: Store, there: Store, tmp_path: Path
) -> None:
    written = bundle(here, tmp_path / "a.mltb")
    assert written is not None
    report = pull_bundle(there, tmp_path / "a.mltb")
    assert (report.runs, report.created, report.points, report.artifacts) == (2, 2, 2 * POINTS, 2)
    assert_same(here, there)
    again = pull_bundle(there, tmp_path / "a.mltb")
    assert (again.runs, again.bytes) == (0, 0)


def test_the_same_content_gives_the_same_file(here: Store, tmp_path: Path) -> None:
    bundle(here, tmp_path / "a.mltb")
    for path in here.path.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))
    bundle(here, tmp_path / "b.mltb")
    shutil.copytree(here.path, tmp_path / "copy", symlinks=True)
    bundle(Store.open(tmp_path / "copy"), tmp_path / "c.mltb")
    first = (tmp_path / "a.mltb").read_bytes()
    assert (tmp_path / "b.mltb").read_bytes() == first
    assert (tmp_path / "c.mltb").read_bytes() == first


def test_any_zip_program_can_read_a_bundle(here: Store, tmp_path: Path) -> None:
    bundle(here, tmp_path / "a.mltb")
    with zipfile.ZipFile(tmp_path / "a.mltb") as file:
        assert file.testzip() is None
        assert file.namelist()[0] == "manifest.json"
        assert file.namelist()[-1] == "index.jsonl"
        assert json.loads(file.read("manifest.json"))["store"] == here.store_id
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tq", str(tmp_path / "a.mltb")], check=True, stdout=subprocess.DEVNULL)


def test_runs_can_be_selected_when_writing_and_when_pulling(here: Store, there: Store, tmp_path: Path) -> None:
    first, second = here.run("first").run_id, here.run("second").run_id
    assert run(here, "bundle", str(tmp_path / "one.mltb"), "--run", "first").exit_code == 0
    assert run(here, "bundle", str(tmp_path / "both.mltb")).exit_code == 0
    assert "1 (1 new)" in run(there, "pull", str(tmp_path / "one.mltb")).output
    assert there.run_ids() == [first]
    run(there, "pull", str(tmp_path / "both.mltb"), "--run", second[:12])
    assert there.run_ids() == here.run_ids()
    with pytest.raises(NotFoundError, match="no run has an id"):
        pull_bundle(there, tmp_path / "one.mltb", selection=Selection(runs=(second,)))
    with pytest.raises(UsageError, match="only runs can be chosen"):
        run(there, "pull", str(tmp_path / "one.mltb"), "--experiment", "Default")


# --- what is new for a receiver ---


def bundle_for(store: Store, path: Path, *, assume_arrived: bool = False) -> int:
    """A bundle for "hq"; its size, 0 where nothing was new."""
    written = bundle(store, path, BundleOptions(receiver="hq", assume_arrived=assume_arrived))
    return written.bytes if written is not None else 0


def test_the_next_bundle_holds_what_is_new_since_the_receipt(here: Store, there: Store, tmp_path: Path) -> None:
    first = bundle_for(here, tmp_path / "1.mltb")
    record(here.path, "more", 5, run_id=here.run("first").run_id)
    assert bundle_for(here, tmp_path / "2.mltb") > first  # nothing is confirmed: everything again
    arrived = f"tell its sender that it has arrived: mltrack receipt {tmp_path}/1.mltb"
    assert pull_bundle(there, tmp_path / "1.mltb").notes == (arrived,)
    said = run(there, "receipt", str(tmp_path / "1.mltb"), "--out", str(tmp_path / "1.receipt"))
    assert said.exit_code == 0
    assert (tmp_path / "1.receipt").stat().st_size < 500
    assert "bundle 1 has arrived" in run(here, "receipt", "--accept", str(tmp_path / "1.receipt")).output
    third = bundle_for(here, tmp_path / "3.mltb")
    assert 0 < third < first * 0.8
    report = pull_bundle(there, tmp_path / "3.mltb")
    assert (report.runs, report.created, report.points, report.artifacts) == (1, 0, 5, 1)
    assert_same(here, there)


def test_nothing_new_writes_no_file(here: Store, tmp_path: Path) -> None:
    bundle_for(here, tmp_path / "1.mltb")
    assert bundle_for(here, tmp_path / "2.mltb", assume_arrived=True) == 0
    assert not (tmp_path / "2.mltb").exists()
    assert (
        "nothing new for hq" in run(here, "bundle", str(tmp_path / "2.mltb"), "--for", "hq", "--assume-arrived").output
    )


def test_a_bundle_that_continues_a_missing_one_is_refused_and_names_it(
    here: Store, there: Store, tmp_path: Path
) -> None:
    bundle_for(here, tmp_path / "1.mltb")
    record(here.path, "more", 5, run_id=here.run("first").run_id)
    bundle_for(here, tmp_path / "2.mltb", assume_arrived=True)
    with pytest.raises(BundleError, match="continues bundle 1"):
        pull_bundle(there, tmp_path / "2.mltb")
    assert there.run_ids() == []
    pull_bundle(there, tmp_path / "1.mltb")
    pull_bundle(there, tmp_path / "2.mltb")
    assert_same(here, there)
    assert pull_bundle(there, tmp_path / "1.mltb").bytes == 0  # an older one changes nothing
    assert_same(here, there)


def test_the_next_bundle_brings_what_a_thin_one_left_out(here: Store, there: Store, tmp_path: Path) -> None:
    thin = BundleOptions(receiver="hq", artifact_bytes_max=0)
    bundle(here, tmp_path / "1.mltb", thin)
    assert pull_bundle(there, tmp_path / "1.mltb").artifacts == 0
    assert bundle_for(here, tmp_path / "2.mltb", assume_arrived=True) > 0
    assert pull_bundle(there, tmp_path / "2.mltb").artifacts == 2
    assert_same(here, there)


def test_a_receipt_is_only_given_for_what_was_pulled_and_only_taken_by_its_sender(
    here: Store, there: Store, tmp_path: Path
) -> None:
    bundle_for(here, tmp_path / "1.mltb")
    with pytest.raises(UsageError, match="was not pulled"):
        run(there, "receipt", str(tmp_path / "1.mltb"))
    pull_bundle(there, tmp_path / "1.mltb")
    receipt = tmp_path / "1.receipt"
    run(there, "receipt", str(tmp_path / "1.mltb"), "--out", str(receipt))
    with pytest.raises(UsageError, match="another store"):
        run(there, "receipt", "--accept", str(receipt))
    data = receipt.read_bytes()
    receipt.write_bytes(data.replace(b'"number":1', b'"number":2'))
    with pytest.raises(BundleError, match="not a receipt, or is damaged"):
        run(here, "receipt", "--accept", str(receipt))


# --- damaged, hostile and unfinished ones ---


def refused(there: Store, path: Path) -> None:
    """It is refused in one line, and nothing of it is in the store."""
    with pytest.raises(MltrackError) as caught:
        pull_bundle(there, path)
    assert "\n" not in str(caught.value)
    assert there.run_ids() == []


def refused_at_once(path: Path) -> None:
    """It is refused in one line when it is opened, before a store is looked at."""
    with pytest.raises(BundleError) as caught, open_bundle(path):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["changed", "cut"])
def test_damage_at_every_byte_of_the_header_the_manifest_and_the_directory_is_refused(
    here: Store, there: Store, tmp_path: Path, how: str
) -> None:
    bundle(here, tmp_path / "a.mltb", BundleOptions(artifact_bytes_max=0))
    data = (tmp_path / "a.mltb").read_bytes()
    head = len(local_header("manifest.json", 0, 0))
    index = json.loads(data[head : head + MANIFEST_BYTES])["index"][0]
    assert data.index(b"PK\1\2") > index  # the directory, behind the index
    places = [*range(head + MANIFEST_BYTES), *range(index - 60, len(data))]
    path = tmp_path / "damaged.mltb"
    path.write_bytes(data)
    with open(path, "r+b", buffering=0) as file:
        for at in places if how == "changed" else reversed(places):
            if how == "changed":
                os.pwrite(file.fileno(), bytes([data[at] ^ 1 << at % 8]), at)
            else:
                file.truncate(at)
            refused_at_once(path)
            os.pwrite(file.fileno(), data[at : at + 1] if how == "changed" else b"", at)
    refused(there, path) if how == "cut" else pull_bundle(there, path)


def test_damage_anywhere_else_is_refused(here: Store, there: Store, tmp_path: Path) -> None:
    bundle(here, tmp_path / "a.mltb")
    data = (tmp_path / "a.mltb").read_bytes()
    chance = random.Random(7)
    path = tmp_path / "damaged.mltb"
    for _ in range(150):
        at = chance.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1 :])
        refused(there, path)
    for _ in range(40):
        path.write_bytes(data[: chance.randrange(len(data))])
        refused(there, path)
    path.write_bytes(data + b"\0")
    refused(there, path)


def rezipped(source: Path, target: Path, change: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]) -> None:
    """The members of a bundle in a zip file of another program, each as ``change`` writes it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            change(new, info, old.read(info))


def test_other_zip_files_are_refused(here: Store, there: Store, tmp_path: Path) -> None:
    good = tmp_path / "a.mltb"
    bundle(here, good)
    path = tmp_path / "hostile.mltb"

    def compressed(new: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> None:
        new.writestr(info.filename, data, zipfile.ZIP_DEFLATED)

    def link(new: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> None:
        info.external_attr = 0o120777 << 16
        new.writestr(info, b"/etc/passwd")

    def elsewhere(new: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> None:
        new.writestr("../../" + info.filename, data)

    for change in (compressed, link, elsewhere):
        rezipped(good, path, change)
        refused(there, path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("manifest.json", b"0" * 50_000_000)
    refused(there, path)
    for content in (b"", b"PK", b"not a zip", b"\0" * 10_000):
        path.write_bytes(content)
        refused(there, path)
    with pytest.raises(NotFoundError):
        pull_bundle(there, tmp_path / "missing.mltb")
    (tmp_path / "folder.mltb").mkdir()
    refused(there, tmp_path / "folder.mltb")


def test_paths_out_of_a_unit_are_refused_although_every_checksum_matches(
    here: Store, there: Store, tmp_path: Path
) -> None:
    class Hostile(LocalSource):
        def snapshot(self, unit: str, *, artifact_bytes_max: int | None = None) -> UnitSnapshot:
            found = super().snapshot(unit, artifact_bytes_max=artifact_bytes_max)
            files = tuple(replace(state, path=f"../../{state.path}") for state in found.files)
            return replace(found, files=files)

        def pieces(self, snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[Piece]:
            for state in snapshot.files:
                yield Piece(state.path, state.kind, 0, b"x" * state.size, last=True)

    source = Hostile(here)
    manifest = Manifest("", here.store_id, 1, "host")
    write_bundle(source, source.units(Selection()), tmp_path / "a.mltb", manifest)
    refused(there, tmp_path / "a.mltb")


def test_a_bundle_of_a_later_version_says_to_upgrade(here: Store, there: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.mltb"
    bundle(here, path)
    data = path.read_bytes()
    head = len(local_header("manifest.json", 0, 0))
    fields = {**decode_line(data[head : head + MANIFEST_BYTES].strip()), "version": 2}
    fields.pop("crc", None)
    manifest = encode_line(fields)[:-1].ljust(MANIFEST_BYTES - 1) + b"\n"
    header = local_header("manifest.json", MANIFEST_BYTES, crc_of(manifest))
    path.write_bytes(header + manifest + data[head + MANIFEST_BYTES :])
    with pytest.raises(BundleError, match="has version 2"):
        pull_bundle(there, path)


class FullDisk(FileSystem):
    """A disk that is full when a file is to be published."""

    def sync(self, fd: int) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_no_file_and_notes_nothing(here: Store, tmp_path: Path) -> None:
    with pytest.raises(RemoteUnavailableError, match="no space is left"):
        bundle(here, tmp_path / "a.mltb", BundleOptions(receiver="hq"), fs=FullDisk())
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    first = bundle(here, tmp_path / "a.mltb", BundleOptions(receiver="hq"))
    assert first is not None
    assert first.manifest.number == 1


KILLED = """
import os, sys
from mltrack.disk.codec import decode_line, encode_line
from mltrack.disk.filesystem import FileSystem
from mltrack.store import Store
from mltrack_sync.stores.bundles import BundleOptions, bundle

class Dying(FileSystem):
    def rename(self, source, target):
        os._exit(9)

bundle(Store.open(sys.argv[1]), sys.argv[2], BundleOptions(receiver="hq"), fs=Dying())
"""


def test_a_killed_writer_leaves_no_bundle_and_the_next_one_is_whole(here: Store, there: Store, tmp_path: Path) -> None:
    out = tmp_path / "a.mltb"
    done = subprocess.run([sys.executable, "-c", KILLED, str(here.path), str(out)], check=False, timeout=120)
    assert done.returncode == 9
    assert not out.exists()
    bundle_for(here, out)
    pull_bundle(there, out)
    assert_same(here, there)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_exists_is_not_replaced(here: Store, tmp_path: Path) -> None:
    (tmp_path / "a.mltb").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        bundle(here, tmp_path / "a.mltb")
    with pytest.raises(UsageError, match="is not a folder"):
        bundle(here, tmp_path / "missing" / "a.mltb")
    assert (tmp_path / "a.mltb").read_text() == "mine"


# --- receivers as remotes ---


def send(here: Store, there: Store, path: Path, **options: Any) -> bool:
    """Write a bundle for "hq", pull it, and accept its receipt; False where nothing was new."""
    if bundle(here, path, BundleOptions(receiver="hq", **options)) is None:
        return False
    assert pull_bundle(there, path).complete
    run(there, "receipt", str(path), "--out", f"{path}.receipt")
    run(here, "receipt", "--accept", f"{path}.receipt")
    return True


def hq_status(store: Store) -> dict[str, Any]:
    (status,) = json.loads(run(store, "status", "--json").output)
    assert isinstance(status, dict)
    return status


@pytest.mark.slow
def test_a_receiver_shows_in_status_and_what_waits_goes_by_the_receipts(
    here: Store, there: Store, tmp_path: Path
) -> None:
    bundle_for(here, tmp_path / "1.mltb")
    waits = hq_status(here)
    assert (waits["remote"], waits["pending_runs"], waits["pending_points"]) == ("hq", 2, 2 * POINTS)
    assert (waits["bundles_written"], waits["bundles_arrived"], waits["last_sync"]) == (1, 0, None)
    assert "hq: 1 bundle written, no receipt came back" in run(here, "status").output
    send(here, there, tmp_path / "2.mltb")
    arrived = hq_status(here)
    assert (arrived["pending_runs"], arrived["pending_points"], arrived["pending_artifacts"]) == (0, 0, 0)
    assert (arrived["bundles_arrived"], arrived["runs_on_remote"], bool(arrived["last_sync"])) == (2, 2, True)
    record(here.path, "more", 5, run_id=here.run("first").run_id)
    more = hq_status(here)
    assert (more["pending_runs"], more["pending_points"], more["pending_artifacts"]) == (1, 5, 1)
    send(here, there, tmp_path / "3.mltb")
    assert hq_status(here)["pending_runs"] == 0
    assert_same(here, there)


def test_files_that_a_thin_bundle_left_out_wait(here: Store, there: Store, tmp_path: Path) -> None:
    send(here, there, tmp_path / "1.mltb", artifact_bytes_max=0)
    assert (hq_status(here)["pending_points"], hq_status(here)["pending_artifacts"]) == (0, 2)
    send(here, there, tmp_path / "2.mltb")
    assert hq_status(here)["pending_artifacts"] == 0


@pytest.mark.slow
def test_gc_removes_what_arrived_by_its_receipt_and_nothing_else(here: Store, there: Store, tmp_path: Path) -> None:
    first, second = here.run("first").run_id, here.run("second").run_id
    bundle_for(here, tmp_path / "0.mltb")
    hq = remote_for(here, "hq")
    assert plan_gc(here, hq).deletable == ()
    send(here, there, tmp_path / "1.mltb")
    record(here.path, "more", 5, run_id=second)
    plan = plan_gc(here, hq)
    assert [each.run_id for each in plan.deletable] == [first]
    assert "more.txt" in plan.retained[0].reason or "events/" in plan.retained[0].reason
    here.run(first).artifact_path("first.txt").write_text("CHANGED of first"[: len("notes of first")])
    assert plan_gc(here, hq).deletable == ()
    here.run(first).artifact_path("first.txt").write_text("notes of first")
    assert run(here, "verify", "hq", "--run", first).exit_code == 0
    said = run(here, "gc", "--synced", "hq", "--yes")
    assert "1 run removed" in said.output
    assert here.run_ids() == [second]
    assert first in there.run_ids()


def test_runs_that_wait_for_a_receiver_stay_until_it_is_forgotten(here: Store, there: Store, tmp_path: Path) -> None:
    usb = Remotes(here).add("usb", str(Store.create(tmp_path / "usb").path))
    send(here, there, tmp_path / "1.mltb")
    record(here.path, "third")
    push(here, usb)
    plan = plan_gc(here, usb)
    assert len(plan.deletable) == 2
    (kept,) = plan.retained
    assert (kept.run_name, "is not on remote 'hq' yet (mltrack remote rm hq" in kept.reason) == ("third", True)
    assert run(here, "remote", "rm", "hq").exit_code == 0
    assert len(plan_gc(here, usb).deletable) == 3
    with pytest.raises(NotFoundError):
        run(here, "remote", "rm", "hq")
    assert send(here, there, tmp_path / "2.mltb")  # begins anew, with everything
    assert_same(here, there)


def test_a_receiver_is_not_a_remote_that_can_be_synced_or_pulled(here: Store, tmp_path: Path) -> None:
    bundle_for(here, tmp_path / "1.mltb")
    with pytest.raises(UsageError, match="gets bundles") as caught:
        run(here, "sync", "hq")
    assert "mltrack bundle FILE.mltb --for hq" in caught.value.hint
    with pytest.raises(UsageError, match="nothing can be pulled from 'hq'"):
        run(here, "pull", "hq")
    Remotes(here).add("lab", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="'lab' is the remote http"):
        run(here, "bundle", str(tmp_path / "2.mltb"), "--for", "lab")
    with pytest.raises(UsageError, match="bundles are written for 'hq'"):
        run(here, "remote", "add", "hq", "http://127.0.0.1:9")


# --- runs that are recorded meanwhile ---

RECORDER = """
import sys, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run(run_name="long")
for step in range(6_000):
    run.log_metric("loss" if step % 2 else "accuracy", step / 3, step)
print(run.run_id, flush=True)
sys.stdin.readline()
for step in range(6_000, 9_000):
    run.log_metric("loss" if step % 2 else "accuracy", step / 3, step)
print("more", flush=True)
sys.stdin.readline()
run.end()
"""


@pytest.mark.slow
def test_a_run_that_only_grew_by_points_is_in_the_next_bundle(tmp_path: Path) -> None:
    here, there = Store.create(tmp_path / "here"), Store.create(tmp_path / "there")
    process = start_python(RECORDER, here.path)
    assert process.stdin is not None and process.stdout is not None
    run_id = process.stdout.readline().strip()
    send(here, there, tmp_path / "1.mltb")
    print(file=process.stdin, flush=True)
    assert process.stdout.readline() == "more\n"
    assert send(here, there, tmp_path / "2.mltb")
    assert there.run(run_id).head().points == 9_000
    process.communicate("\n")
    assert send(here, there, tmp_path / "3.mltb")
    assert there.run(run_id).info.status == "FINISHED"
    assert_same(here, there)
    assert hq_status(here)["pending_runs"] == 0


@pytest.mark.slow
def test_a_bundle_that_continues_a_journal_which_was_sealed_is_taken(tmp_path: Path) -> None:
    here, there = Store.create(tmp_path / "here"), Store.create(tmp_path / "there")
    process = start_python(RECORDER, here.path)
    assert process.stdin is not None and process.stdout is not None
    run_id = process.stdout.readline().strip()
    send(here, there, tmp_path / "1.mltb")
    for marker in (there.run(run_id).folder.path / "live").glob("*.elsewhere"):
        marker.unlink()  # as where the lock of the writer can't be seen
    assert seal_dead_writers(there.run(run_id).folder, there.run(run_id).state) == 6_000
    assert not list(there.run(run_id).folder.points.glob("*.points"))
    print(file=process.stdin, flush=True)
    assert process.stdout.readline() == "more\n"
    assert run(there, "pull", str(tmp_path / "1.mltb")).exit_code == 0
    assert send(here, there, tmp_path / "2.mltb")
    assert there.run(run_id).metrics().equals(here.run(run_id).metrics())
    assert [finding for finding in check_store(there.path).findings if finding.severity != "note"] == []
    process.communicate("\n")
    assert send(here, there, tmp_path / "3.mltb")
    assert there.run(run_id).head().points == 9_000
    assert_same(here, there)

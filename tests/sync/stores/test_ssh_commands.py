"""mltrack's command line on a store behind ssh, as a user types it, and what is said where that can't be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mltrack.storage.check.check import check_store
from mltrack.store import Store
from tests.support.command_line import without_waits
from tests.support.disks import memory_disk
from tests.support.written_runs import write_run

Mltrack = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=[pytest.param("sshd", marks=pytest.mark.slow), "stand-in"])
def ssh(request: pytest.FixtureRequest, chosen_ssh: Callable[[str], str]) -> str:
    """Both, of which test_ssh.py has the real one in the default run: here each command is a process of its own."""
    return chosen_ssh(request.param)


@pytest.fixture
def laptop(tmp_path: Path) -> Store:
    """A store with runs."""
    return store_with_runs(tmp_path / "laptop" / ".mltrack", 3)


@pytest.fixture
def mltrack(laptop: Store, ssh: str) -> Mltrack:
    """Runs mltrack on the laptop's store."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mltrack", "--store", str(laptop.path), *args],
            env={**os.environ, "MLTRACK_SSH": ssh},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # no terminal
        )

    return run


def store_with_runs(path: Path, count: int) -> Store:
    store = Store.create(path)
    for number in range(count):
        write_run(store, name=f"run {number}", metrics={"loss": [(step, step / 3) for step in range(300)]})
    return store


def assert_same(one: Store, other: Store) -> None:
    assert one.run_ids() == other.run_ids()
    for run_id in one.run_ids():
        assert one.run(run_id).metrics().equals(other.run(run_id).metrics())
    for store in (one, other):
        assert [str(finding) for finding in check_store(store.path).findings] == []


@pytest.mark.slow
def test_a_cluster_is_added_pulled_from_and_synced_to(mltrack: Mltrack, laptop: Store, tmp_path: Path) -> None:
    cluster = store_with_runs(tmp_path / "cluster" / ".mltrack", 2)
    assert mltrack("remote", "add", "cluster", f"ssh://cluster{cluster.path}").returncode == 0
    pulled = mltrack("pull", "cluster", "--json")
    assert pulled.returncode == 0, pulled.stderr
    assert json.loads(pulled.stdout)["runs"] == 2
    synced = mltrack("sync", "cluster", "--json")
    assert synced.returncode == 0, synced.stderr
    assert json.loads(synced.stdout)["runs"] == 3
    assert_same(laptop, cluster)
    assert "nothing to send" in mltrack("sync", "cluster").stdout
    assert json.loads(mltrack("pull", "cluster", "--json").stdout)["runs"] == 0
    verified = mltrack("verify", "cluster")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    status = json.loads(mltrack("status", "--json").stdout)
    assert (status[0]["pending_runs"], status[0]["last_error"]) == (0, "")


@pytest.mark.slow
def test_a_sync_creates_a_store_if_its_parent_folder_exists_and_otherwise_says_so(
    mltrack: Mltrack, laptop: Store, tmp_path: Path
) -> None:
    url = f"ssh://cluster{tmp_path}/project/.mltrack"
    mltrack("remote", "add", "cluster", url)
    failed = mltrack("sync", "cluster")
    assert failed.returncode == 7
    error, hint = without_waits(failed.stderr)
    assert error == f"error: cluster: no mltrack store at {tmp_path}/project/.mltrack"
    assert "make the folder" in hint
    assert not (tmp_path / "project").exists()
    (tmp_path / "project").mkdir()
    assert mltrack("sync", "cluster").returncode == 0
    assert_same(laptop, Store.open(tmp_path / "project" / ".mltrack"))


@pytest.mark.slow
def test_an_existing_store_is_not_created_again(mltrack: Mltrack, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    mltrack("remote", "add", "cluster", f"ssh://cluster{tmp_path}/project/.mltrack")
    assert mltrack("sync", "cluster").returncode == 0
    (tmp_path / "project" / ".mltrack").rename(tmp_path / "gone")
    assert mltrack("sync", "cluster").returncode == 7
    assert not (tmp_path / "project" / ".mltrack").exists()


@pytest.mark.slow
def test_the_path_of_the_remote_mltrack_is_set_once_and_never_taken_from_a_store(
    mltrack: Mltrack, laptop: Store, tmp_path: Path
) -> None:
    cluster = store_with_runs(tmp_path / "cluster" / ".mltrack", 1)
    mltrack("remote", "add", "cluster", f"ssh://cluster{cluster.path}")
    remotes = laptop.path / "remotes.toml"
    remotes.write_text(remotes.read_text() + f'command = "touch {tmp_path}/pwned; mltrack"\n')
    assert mltrack("pull", "cluster").returncode == 0
    assert not (tmp_path / "pwned").exists()
    assert mltrack("remote", "set", "cluster", f"command=touch {tmp_path}/wanted; mltrack").returncode == 0
    assert "wanted" not in remotes.read_text()
    assert mltrack("pull", "cluster").returncode == 0
    assert (tmp_path / "wanted").exists()
    assert mltrack("remote", "set", "cluster", "command=").returncode == 0
    (tmp_path / "wanted").unlink()
    assert mltrack("pull", "cluster").returncode == 0
    assert not (tmp_path / "wanted").exists()


@pytest.mark.slow
def test_a_missing_mltrack_is_reported_in_one_line_with_what_to_do(mltrack: Mltrack, tmp_path: Path) -> None:
    mltrack("remote", "add", "cluster", f"ssh://cluster{tmp_path}/s")
    mltrack("remote", "set", "cluster", "command=/nowhere/mltrack")
    failed = mltrack("pull", "cluster")
    assert failed.returncode == 7
    error, hint = without_waits(failed.stderr)
    assert error.startswith("error: cluster has no mltrack where it was looked for: ")
    assert "mltrack remote set cluster command=" in hint


@pytest.mark.slow
def test_a_url_with_a_user_is_kept_whole(mltrack: Mltrack, laptop: Store) -> None:
    assert mltrack("remote", "add", "cluster", "ssh://ann@host:22/~/p/.mltrack").returncode == 0
    assert json.loads(mltrack("remote", "ls", "--json").stdout)[0]["url"] == "ssh://ann@host:22/~/p/.mltrack"
    again = mltrack("remote", "add", "cluster", "ssh://ann@other/~/p/.mltrack")
    assert "is ssh://ann@host:22/~/p/.mltrack already" in again.stderr


@pytest.mark.slow
def test_with_a_bandwidth_limit_everything_arrives(mltrack: Mltrack, laptop: Store, tmp_path: Path) -> None:
    cluster = Store.create(tmp_path / "cluster" / ".mltrack")
    mltrack("remote", "add", "cluster", f"ssh://cluster{cluster.path}")
    said = mltrack("sync", "cluster", "--limit-rate", "20k", "--json")
    assert said.returncode == 0, said.stderr
    assert_same(laptop, cluster)


@pytest.mark.slow
def test_a_live_run_is_copied_as_far_as_it_is_recorded_and_shows_as_running_elsewhere(
    mltrack: Mltrack, laptop: Store, tmp_path: Path
) -> None:
    cluster = Store.create(tmp_path / "cluster" / ".mltrack")
    mltrack("remote", "add", "cluster", f"ssh://cluster{cluster.path}")
    script = (
        "import mltrack, sys\n"
        "with mltrack.start_run(run_name='live') as run:\n"
        "    for step in range(5000): run.log_metric('loss', step, step)\n"
        "    run.flush()\n"
        "    print(run.run_id, flush=True); sys.stdin.read()\n"
        "    run.log_metric('loss', -1.0, 5000)\n"
    )
    environment = {**os.environ, "MLTRACK_STORE": str(cluster.path)}
    trainer = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert trainer.stdout is not None
    run_id = trainer.stdout.readline().strip()
    assert mltrack("pull", "cluster").returncode == 0
    copy = Store.open(laptop.path).run(run_id)
    assert len(copy.metrics()) > 4000
    assert copy.info.status == "RUNNING"
    trainer.communicate("")
    assert mltrack("pull", "cluster").returncode == 0
    copy = Store.open(laptop.path).run(run_id)
    assert len(copy.metrics()) == 5001
    assert copy.info.status == "FINISHED"


# --- a far store that may only be read ---


@pytest.mark.slow
@pytest.mark.parametrize("way", ["folder", "ssh", "ssh, served read-only"])
def test_verify_of_a_store_on_a_read_only_disk_compares_all_and_writes_nothing(
    mltrack: Mltrack, laptop: Store, tmp_path: Path, way: str
) -> None:
    with memory_disk(tmp_path) as disk:
        url = str(disk.path / ".mltrack") if way == "folder" else f"ssh://cluster{disk.path}/.mltrack"
        assert mltrack("remote", "add", "far", url).returncode == 0
        assert mltrack("sync", "far").returncode == 0
        before = sorted(str(path) for path in disk.path.rglob("*"))
        if way == "ssh, served read-only":
            wrapper = tmp_path / "read-only"
            wrapper.write_text(f"#!/bin/sh\nexec mltrack serve-store --stdio --read-only -- {disk.path}/.mltrack\n")
            wrapper.chmod(0o755)
            assert mltrack("remote", "set", "far", f"command={wrapper}").returncode == 0
        disk.protect()
        for options in ([], ["--quick"]):
            same = mltrack("verify", "far", *options)
            assert same.returncode == 0, same.stdout + same.stderr
        disk.unprotect()
        assert sorted(str(path) for path in disk.path.rglob("*")) == before
        events = next((disk.path / ".mltrack" / "runs").glob("*/events/*"))
        events.write_bytes(events.read_bytes()[:-40])
        disk.protect()
        differs = mltrack("verify", "far")
        assert differs.returncode != 0
        assert events.parent.parent.name[:8] in differs.stdout + differs.stderr
        refused = mltrack("sync", "far")
        assert refused.returncode != 0
        assert "can't be written" in refused.stderr or "for reading only" in refused.stderr
        disk.unprotect()

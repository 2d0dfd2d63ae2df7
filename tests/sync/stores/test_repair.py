"""Files of another content in the store of a remote are replaced by sound ones, where that is asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import UsageError
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.status import status_of
from tests.support.command_line import run
from tests.support.written_runs import write_run

KINDS = ("events/*.jsonl", "segments/*.parquet", "artifacts/a.bin")


def fill(store: Store) -> None:
    """A run with a segment, one with a points file, each with an artifact."""
    mltrack.set_store(store.path)
    for count in (6_000, 50):
        with mltrack.start_run():
            for step in range(count):
                mltrack.log_metric("m", step / 3, step=step)
            mltrack.log_text("x" * 3_000, "a.bin")
    mltrack.set_store(None)


def spoil(path: Path, at: int = -40) -> None:
    """Another byte, the same size."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.fixture
def here(tmp_path: Path) -> Store:
    store = Store.create(tmp_path / "here")
    fill(store)
    return store


def pushed(here: Store, tmp_path: Path) -> tuple[Store, str]:
    """The store there, and the name of its remote."""
    push(here, Remotes(here).add("usb", str(tmp_path / "usb")))
    return Store.open(tmp_path / "usb"), "usb"


@pytest.mark.parametrize("pattern", KINDS)
def test_a_file_of_the_same_size_is_named_kept_and_replaced_where_that_is_asked_for(
    here: Store, tmp_path: Path, pattern: str
) -> None:
    there, name = pushed(here, tmp_path)
    usb = Remotes(here).get(name)
    spoiled = sorted(there.path.glob(f"runs/*/{pattern}"))
    assert spoiled
    contents = [path.read_bytes() for path in spoiled]
    for path in spoiled:
        spoil(path)
    assert not verify(here, usb).same
    for _ in range(2):  # a sync alone replaces nothing, and says so
        (said,) = push(here, usb).notes or push(here, usb).problems[:1]
        assert "another content" in said
    assert [path.read_bytes() for path in spoiled] != contents
    assert run(here, "sync", "usb", "--repair").exit_code == 0
    assert [path.read_bytes() for path in spoiled] == contents
    assert verify(here, usb).same
    assert check_store(there.path).findings == []
    assert status_of(here, usb).pending_runs == 0
    with pytest.raises(UsageError, match="no verify has found anything to repair"):
        push(here, usb, repair=True)


def test_what_is_damaged_here_replaces_nothing_nor_do_points_without_checksums(here: Store, tmp_path: Path) -> None:
    there, name = pushed(here, tmp_path)
    usb = Remotes(here).get(name)
    for pattern in (*KINDS, "points/*.points"):
        spoil(next(here.path.glob(f"runs/*/{pattern}")))
    before = {path: path.read_bytes() for path in there.path.glob("runs/*/*/*") if path.is_file()}
    assert not verify(here, usb).same
    report = push(here, usb, repair=True)
    assert len([words for words in report.problems if "it is damaged or missing here" in words]) == len(KINDS)
    assert len([words for words in report.problems if "have no checksums" in words]) == 1
    assert {path: path.read_bytes() for path in before} == before


def test_a_selection_leaves_the_rest_to_the_next_repair(here: Store, tmp_path: Path) -> None:
    there, name = pushed(here, tmp_path)
    usb = Remotes(here).get(name)
    first, second = sorted(there.path.glob("runs/*/artifacts/a.bin"))
    for path in (first, second):
        spoil(path)
    verify(here, usb)
    assert run(here, "sync", "usb", "--repair", "--run", first.parts[-3]).exit_code == 0
    assert (first.read_bytes()[0:1], second.read_bytes()[-40:-39]) == (b"x", b"y")
    assert run(here, "sync", "usb", "--repair").exit_code == 0
    assert verify(here, usb).same


def test_a_run_with_more_points_there_is_not_replaced(here: Store, tmp_path: Path) -> None:
    there, name = pushed(here, tmp_path)
    usb = Remotes(here).get(name)
    (log, *_) = sorted(there.path.glob("runs/*/events/*.jsonl"))
    spoil(log, 100)
    log.write_bytes(log.read_bytes() + b'{"type":"more"}\n')
    before = log.read_bytes()
    verify(here, usb)
    report = push(here, usb, repair=True)
    assert any("more there than here" in words for words in report.problems), report.problems
    assert log.read_bytes() == before


KILLED = """
import os, signal, sys
from mltrack.disk.filesystem import FileSystem
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.remotes import kind

class Killed(FileSystem):
    def unlink(self, path):
        super().unlink(path)
        if "a.bin" in str(path):
            os.kill(os.getpid(), signal.SIGKILL)

store = Store.open(sys.argv[1])
kind.find_kind("store").fs = Killed()
push(store, Remotes(store).get("usb"), repair=True)
"""


@pytest.mark.slow
def test_a_kill_between_removing_and_copying_is_mended_by_the_next_sync(here: Store, tmp_path: Path) -> None:
    there, name = pushed(here, tmp_path)
    usb = Remotes(here).get(name)
    (spoiled, _) = sorted(there.path.glob("runs/*/artifacts/a.bin"))
    spoil(spoiled)
    verify(here, usb)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(here.path)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not spoiled.exists()
    assert push(here, usb).artifacts == 1
    assert verify(here, usb).same


# --- over ssh ---


@pytest.mark.slow
def test_a_far_store_is_repaired_over_ssh(tmp_path: Path, chosen_ssh: Callable[[str], str]) -> None:
    here = Store.create(tmp_path / "here" / ".mltrack")
    for _ in range(2):
        write_run(here, metrics={"loss": [(step, step / 3) for step in range(300)]})
    far = tmp_path / "far" / ".mltrack"
    far.parent.mkdir()
    Remotes(here).add("far", f"ssh://127.0.0.1{far}")

    def said(*args: str) -> str:
        command = [sys.executable, "-m", "mltrack", "--store", str(here.path), *args]
        environ = {**os.environ, "MLTRACK_SSH": chosen_ssh("stand-in")}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
        return f"{done.returncode} {done.stdout}{done.stderr}"

    assert said("sync", "far").startswith("0 ")
    (log, _) = sorted(far.glob("runs/*/events/*.jsonl"))
    spoil(log, 100)
    assert "mltrack sync far --repair" in said("verify", "far")
    assert said("sync", "far", "--repair").startswith("0 ")
    assert said("verify", "far").startswith("0 ")

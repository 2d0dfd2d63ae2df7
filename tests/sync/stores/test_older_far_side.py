"""Everything works with a far side that speaks an older version of the protocol, but for what it does not know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remotes
from mltrack_sync.stores.hello import PROTOCOL_MAX
from tests.support import ROOT
from tests.support.written_runs import write_run

pytestmark = pytest.mark.slow


class Laptop:
    """A store, and a remote of an older mltrack."""

    def __init__(self, tmp_path: Path, ssh: str, version: int) -> None:
        self.store = Store.create(tmp_path / "laptop" / ".mltrack")
        (tmp_path / "far").mkdir()
        self.far = tmp_path / "far" / ".mltrack"
        self._environ = {**os.environ, "MLTRACK_SSH": ssh}
        Remotes(self.store).add("far", f"ssh://127.0.0.1{self.far}")
        older = f"env PYTHONPATH={ROOT} {sys.executable} -m tests.support.older_far_side {version}"
        assert self.run("remote", "set", "far", f"command={older}").returncode == 0

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "mltrack", "--store", str(self.store.path), *args]
        return subprocess.run(argv, env=self._environ, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.parametrize("version", range(1, PROTOCOL_MAX))
def test_a_whole_copy_both_ways_with_each_older_version(
    tmp_path: Path, chosen_ssh: Callable[[str], str], version: int
) -> None:
    laptop = Laptop(tmp_path, chosen_ssh("stand-in"), version)
    for n in range(12):
        write_run(laptop.store, name=f"run {n}", metrics={"m": [(step, step / 3) for step in range(50 * n + 1)]})
    done = laptop.run("sync", "far")
    assert done.returncode == 0, done.stderr
    far = Store.open(laptop.far)
    assert far.run_ids() == laptop.store.run_ids()
    for n in range(8):
        write_run(far, name=f"theirs {n}", metrics={"m": [(0, 1.0)]})
    assert laptop.run("pull", "far").returncode == 0
    assert laptop.run("verify", "far").returncode == 0
    assert laptop.store.run_ids() == far.run_ids()
    for store in (far, laptop.store):
        assert check_store(store.path).findings == []
    assert "nothing to send" in laptop.run("sync", "far").stdout
    (log, *_) = sorted(laptop.far.glob("runs/*/events/*.jsonl"))
    content = log.read_bytes()
    log.write_bytes(content[:100] + b"#" + content[101:])
    assert laptop.run("verify", "far").returncode == 1
    refused = laptop.run("sync", "far", "--repair")
    assert refused.returncode == 7, refused
    assert "too old to replace files" in refused.stderr
    assert log.read_bytes() != content

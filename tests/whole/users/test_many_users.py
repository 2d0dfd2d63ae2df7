"""A store that several users share: what is made follows the umask and the folder, and locks are anybody's."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack
from mltrack.disk.locks import file_lock
from mltrack.errors import BusyError

RECORD = """
import os, sys
umask, root, secret = sys.argv[1:]
os.umask(int(umask, 8))
import mltrack
mltrack.set_store(root)
mltrack.set_experiment("shared")
with mltrack.start_run(run_name="first") as run:
    for step in range(5000):  # enough for a segment
        run.log_metric("loss", step, step)
    run.log_text("x", "a/b.txt")
    run.log_dict({"a": 1}, "d.json")
    run.log_table({"a": [1]}, "t.json")
    run.log_artifact(secret)
    run.register_model("model", "a/b.txt")
mltrack.Store.open(root).search_runs()
from mltrack.cli import main
main(["--store", root, "remote", "add", "lab", "http://127.0.0.1:9"])
main(["--store", root, "run", "--", sys.executable, "-c", "print(1)"])
main(["--store", root, "sync", "lab"])
"""


@pytest.mark.parametrize("umask", [0o002, pytest.param(0o022, marks=pytest.mark.slow), 0o077])
def test_the_mode_of_everything_created_follows_the_umask(umask: int, tmp_path: Path) -> None:
    root, secret, work = tmp_path / "store", tmp_path / "secret.txt", tmp_path / "work"
    work.mkdir()
    (work / "train.py").write_text("a = 1")
    secret.write_text("a source that only its owner may read")
    secret.chmod(0o600)
    subprocess.run([sys.executable, "-c", RECORD, f"{umask:o}", str(root), str(secret)], check=True, cwd=work)
    seen = 0
    for folder, _, files in os.walk(root):
        assert stat.S_IMODE(os.stat(folder).st_mode) & 0o777 == 0o777 & ~umask, folder
        for name in files:
            path = os.path.join(folder, name)
            # who may rewrite this one in place could have it say whatever the others then trust its owner for
            kept_back = 0o022 if name == "remotes.toml" else 0
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o666 & ~umask & ~kept_back, path
            seen += 1
    assert seen > 20


@pytest.mark.slow
def test_a_read_only_lock_file_can_be_locked(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    lock.chmod(0o444)
    with file_lock(lock, timeout_s=0), pytest.raises(BusyError), file_lock(lock, timeout_s=0):
        pass
    with file_lock(lock, timeout_s=0):
        pass


# --- as two users, which only root can be ---

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


GROUP = 20_000


def as_user(uid: int, code: str, *args: str, umask: int) -> subprocess.CompletedProcess[str]:
    """Run Python code as another user; it imports the packages as root, as the sources may lie in root's home."""
    start = f"""
import os, sys
import getpass, importlib, importlib.metadata, pkgutil
import httpx, numpy, psutil, pyarrow.parquet, rich.cells, rich.table
import mltrack, mltrack_sync
for package in (mltrack, mltrack_sync):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not any(part in module.name for part in ("mlflow_plugin", "__main__", ".integrations.", ".integration.")):
            importlib.import_module(module.name)
mltrack.Store; mltrack.cli.app._found()
os.umask({umask})
os.setgroups([{GROUP}]); os.setgid({GROUP}); os.setuid({uid})
os.environ.update(USER="u{uid}", HOME="/nonexistent")
sys.argv = sys.argv[1:]
"""
    return subprocess.run([sys.executable, "-c", start + code, "-c", *args], capture_output=True, text=True, cwd="/")


FIRST = """
mltrack.set_store(sys.argv[1])
mltrack.set_experiment("one")
with mltrack.start_run(run_name="first") as run:
    run.log_metric("loss", 1)
    run.log_text("x", "a.txt")
    run.register_model("model", "a.txt")
mltrack.Store.open(sys.argv[1]).search_runs()
"""
SECOND = """
mltrack.set_store(sys.argv[1])
store = mltrack.Store.open(sys.argv[1])
first = store.resolve("first")
mltrack.set_experiment("two")
with mltrack.start_run(run_name="second") as run:
    run.log_text("x", "b.txt")
    run.register_model("model", "b.txt")
with mltrack.start_run(run_id=first) as run:
    run.log_metric("loss", 2)
    run.log_text("y", "b.txt")
store.registry.create_model("another")
assert len(store.search_runs()) == 2
store.delete_run(first)
store.restore_run(first)
"""


@pytest.fixture
def lab() -> Iterator[Path]:
    """A folder that all users reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="mltrack-users-") as base:
        Path(base).chmod(0o755)
        folder = Path(base) / "lab"
        folder.mkdir()
        yield folder


@needs_root
@pytest.mark.parametrize("mode", [0o2775, 0o3775], ids=oct)
@pytest.mark.slow
def test_a_setgid_folder_and_a_group_umask_make_a_store_for_the_group(mode: int, lab: Path) -> None:
    pytest.importorskip("mlflow", reason="each user imports all modules first")
    os.chown(lab, 0, GROUP)
    lab.chmod(mode)
    root = lab / ".mltrack"
    for uid, code in ((30_001, FIRST), (30_002, SECOND)):
        done = as_user(uid, code, str(root), umask=0o002)
        assert done.returncode == 0, done.stderr
    assert (root / "catalog.duckdb").stat().st_uid == 30_001, "one catalog serves both"
    assert mltrack.Store.open(root).run("first").data.metrics == {"loss": 2}
    made = (root, root / "workspace", root / "workspace" / "experiments.jsonl")
    assert {os.stat(path).st_gid for path in made} == {GROUP}


READ_ONLY = """
from mltrack.cli import main
root, out, *line = sys.argv[1:]
sys.exit(main(["--store", root, *line]))
"""


@needs_root
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("ls", 0), ("show first", 0), ("metrics first", 0), ("tail first", 0), ("check", 0), ("status", 0),
        ("sql QUERY", 0), ("compare first second", 0), ("rm first", 5), ("seal", 0), ("remote add x http://h", 5),
        ("sync http://127.0.0.1:9 --dry-run", 0), ("run -- true", 5),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_another_users_store_is_read_and_changes_are_refused_in_one_line(line: str, code: int, lab: Path) -> None:
    lab.chmod(0o777)
    root = lab / ".mltrack"
    two = FIRST + "with mltrack.start_run(run_name='second') as run: run.log_metric('loss', 2)"
    assert as_user(30_001, two, str(root), umask=0o022).returncode == 0
    words = [word.replace("QUERY", "select count(*) from metrics") for word in line.split()]
    done = as_user(30_002, READ_ONLY, str(root), "", *words, umask=0o022)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    if code == 5:
        assert "Permission denied" in done.stderr
        assert str(root) in done.stderr

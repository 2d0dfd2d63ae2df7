"""What a program is told of its first run, on stderr."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mltrack.recording import current_store, fluent
from mltrack.store import Store

TRAIN = """
import mltrack
for name in ("first", "second"):
    with mltrack.start_run(run_name=name) as run:
        run.log({"a": 1.0, "b": 2.0})
"""
FORK = """
import mltrack, os, warnings
warnings.simplefilter("ignore")  # of forks in a process with threads, since 3.12
with mltrack.start_run(run_name="first") as run:
    pid = os.fork()
    if pid == 0:
        run.log_metric("a", 1.0)
        run.end()
        os._exit(0)
    os.waitpid(pid, 0)
"""
FAILING = """
import mltrack
with mltrack.start_run(run_name="first"):
    raise SystemExit(3)
"""


REMOVED = """
import mltrack, shutil
with mltrack.start_run(run_name="first") as run:
    run.log_metric("a", 1.0)
    shutil.rmtree(".mltrack")
"""


@pytest.fixture(autouse=True)
def _not_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLTRACK_QUIET")


def told(code: str, folder: Path, *, status: int = 0, **settings: str) -> list[str]:
    """The lines that a program writes to stderr in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_program_says_once_where_it_records_and_what_it_recorded(tmp_path: Path) -> None:
    lines = told(TRAIN, tmp_path)
    store = Store.open(tmp_path / ".mltrack")
    assert lines == [
        f"mltrack: recording run first in {tmp_path / '.mltrack'};"
        f" look at it with: mltrack show {store.run('first').run_id[:8]}",
        "mltrack: run first FINISHED, 2 points of 2 metrics; push it with: mltrack sync URL",
    ]


def test_a_program_that_resumes_a_run_says_so_unless_another_records_it_too(tmp_path: Path) -> None:
    told(TRAIN, tmp_path)
    resuming = "import mltrack; mltrack.start_run(run_id='first'); mltrack.log_metric('a', 2.0)"
    lines = told(resuming, tmp_path)
    assert lines[0].startswith(f"mltrack: resuming run first in {tmp_path / '.mltrack'};")
    assert lines[1] == (
        "mltrack: run first FINISHED, 1 point of 1 metric by this process; push it with: mltrack sync URL"
    )
    current_store.set_store(tmp_path / ".mltrack")
    with fluent.start_run(run_id="first"):
        assert told(resuming, tmp_path) == []


def test_a_run_whose_store_was_removed_is_not_said_to_be_recorded(tmp_path: Path) -> None:
    assert told(REMOVED, tmp_path)[-1] == (
        "mltrack: run first FINISHED, but nothing of it is left: its folder was removed"
    )


@pytest.mark.parametrize("call", ["log_params({'lr': 1})", "log_param('lr', 1)", "log_text('a', 'a.txt')"])
def test_a_first_call_of_any_kind_starts_a_run(call: str, tmp_path: Path) -> None:
    lines = told(f"import mltrack; mltrack.{call}", tmp_path)
    assert len(lines) == 2
    assert lines[0].startswith("mltrack: recording run ")


def test_with_one_remote_the_push_needs_no_name(tmp_path: Path) -> None:
    store = Store.create(tmp_path / ".mltrack")
    (store.path / "remotes.toml").write_text('[remotes.lab]\nurl = "http://127.0.0.1:9"\n')
    assert told(TRAIN, tmp_path)[-1].endswith("push it with: mltrack sync")
    (store.path / "remotes.toml").write_text(
        '[remotes.a]\nurl = "http://127.0.0.1:9"\n[remotes.b]\nurl = "http://127.0.0.1:8"\n'
    )
    assert told(TRAIN, tmp_path)[-1].endswith("push it with: mltrack sync NAME")
    (store.path / "remotes.toml").write_text("nonsense")
    assert told(TRAIN, tmp_path)[-1].endswith("push it with: mltrack sync URL")


@pytest.mark.parametrize("value", ["1", "true"])
def test_a_quiet_program_says_nothing(value: str, tmp_path: Path) -> None:
    assert told(TRAIN, tmp_path, MLTRACK_QUIET=value) == []


def test_zero_is_not_quiet(tmp_path: Path) -> None:
    assert len(told(TRAIN, tmp_path, MLTRACK_QUIET="0")) == 2


def test_a_forked_child_says_nothing_of_its_parent_s_run(tmp_path: Path) -> None:
    lines = told(FORK, tmp_path)
    assert [line.split(",")[0] for line in lines[1:]] == ["mltrack: run first FINISHED"]


def test_the_last_line_says_how_the_run_ended(tmp_path: Path) -> None:
    assert told(FAILING, tmp_path, status=3)[-1].startswith("mltrack: run first FAILED, 0 points of 0 metrics;")


def test_a_closed_stderr_ends_no_training(tmp_path: Path) -> None:
    done = subprocess.run(["sh", "-c", f"{sys.executable} -c '{TRAIN}' 2>&-"], cwd=tmp_path)
    assert done.returncode == 0
    assert len(Store.open(tmp_path / ".mltrack").run_ids()) == 2


def test_a_store_far_above_is_named(tmp_path: Path) -> None:
    Store.create(tmp_path / ".mltrack")
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    assert (
        "this store was found 3 folders up; for a store in this folder: mltrack --store .mltrack init"
        in (told(TRAIN, folder)[1])
    )
    assert len(told(TRAIN, folder.parent)) == 2
    assert len(told(TRAIN, folder, MLTRACK_STORE=str(tmp_path / ".mltrack"))) == 2  # who names it knows it


def test_the_first_run_of_a_store_says_that_mlflows_runs_next_to_it_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\0")
    said = "mltrack: the runs in mlflow.db can be imported: mltrack import mlflow.db"
    assert told(TRAIN, tmp_path)[1] == said
    assert said not in told(TRAIN, tmp_path)

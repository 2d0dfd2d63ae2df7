"""Experiments: made once by however many, changed under a lock, read without one, whatever was torn."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mltrack.disk.codec import encode_line
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.layout import Layout
from mltrack.entities import DEFAULT_EXPERIMENT_ID
from mltrack.errors import NotFoundError, StoreError, UsageError
from mltrack.storage.experiments import Workspace
from tests.support.filesystems import CountingFileSystem, Stopped, failing_from, stopping_at
from tests.support.recording import run_python, start_python

NOW = 1_700_000_000_123_456_789


def workspace(layout: Layout, fs: FileSystem = LOCAL) -> Workspace:
    return Workspace(layout, clock=lambda: NOW, fs=fs)


def test_the_default_experiment_always_exists(layout: Layout) -> None:
    default = workspace(layout).get(DEFAULT_EXPERIMENT_ID)
    assert (default.name, default.lifecycle_stage) == ("Default", "active")
    with pytest.raises(UsageError, match="can't be deleted"):
        workspace(layout).set_stage(DEFAULT_EXPERIMENT_ID, "deleted")


def test_changes_are_read_back(layout: Layout) -> None:
    held = workspace(layout)
    made = held.create("größe 模型", {"a": "1"})
    assert made == held.by_name("größe 模型") == held.get(made.experiment_id)
    assert made.creation_time == NOW // 1_000_000
    assert made.experiment_id.isdecimal()
    held.set_tag(made.experiment_id, "b", "2")
    held.set_tag(made.experiment_id, "a", None)
    held.rename(made.experiment_id, "other")
    held.set_stage(made.experiment_id, "deleted")
    found = workspace(layout).get(made.experiment_id)
    assert (found.name, found.tags, found.lifecycle_stage) == ("other", {"b": "2"}, "deleted")


def test_misuse_is_refused(layout: Layout) -> None:
    held = workspace(layout)
    made = held.create("a")
    for name in ("", "  ", "a", "Default"):
        with pytest.raises(UsageError):
            held.create(name)
        with pytest.raises(UsageError):
            held.rename(made.experiment_id, name)
    with pytest.raises(NotFoundError):
        held.get("5")
    with pytest.raises(NotFoundError):
        held.set_tag("5", "a", "b")
    held.set_stage(made.experiment_id, "deleted")
    with pytest.raises(UsageError, match="deleted"):
        held.get_or_create("a")


def test_a_truncated_log_keeps_its_whole_lines_and_accepts_the_next_change(layout: Layout) -> None:
    path = layout.workspace / "experiments.jsonl"
    ids = [workspace(layout).create(name).experiment_id for name in "abc"]
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        whole = data[:end].count(b"\n")
        assert list(workspace(layout).experiments()) == [DEFAULT_EXPERIMENT_ID, *ids[:whole]]
        new = workspace(layout).create("new").experiment_id
        held = workspace(layout)
        assert list(held.experiments()) == [DEFAULT_EXPERIMENT_ID, *ids[:whole], new]
        assert not held.damage


def test_a_damaged_line_is_reported_and_the_others_hold(layout: Layout) -> None:
    path = layout.workspace / "experiments.jsonl"
    ids = [workspace(layout).create(name).experiment_id for name in "abc"]
    data = bytearray(path.read_bytes())
    data[data.index(b"\n") + 20] ^= 1
    path.write_bytes(data)
    held = workspace(layout)
    assert list(held.experiments()) == [DEFAULT_EXPERIMENT_ID, ids[0], ids[2]]
    assert held.damage[0].offset == data.index(b"\n") + 1


def test_lines_of_a_later_format_are_skipped(layout: Layout) -> None:
    lines = [
        {"type": "create", "experiment_id": "7", "time": 5, "name": "a", "colour": "red"},
        {"type": "paint", "experiment_id": "7", "time": 6},
        {"type": "create", "experiment_id": "8", "time": 7},  # without its name
        {"type": "rename", "experiment_id": "987", "time": 8, "name": "x"},
    ]
    (layout.workspace / "experiments.jsonl").write_bytes(b"".join(map(encode_line, lines)))
    held = workspace(layout)
    assert [e.name for e in held.experiments().values()] == ["Default", "a"]
    assert len(held.damage) == 1


def test_a_change_may_stop_or_fail_at_any_step(layout: Layout) -> None:
    workspace(layout).create("the first makes the file")
    counter = CountingFileSystem()
    workspace(layout, counter).create("counted")
    for step in range(1, counter.steps + 1):
        before = set(workspace(layout).experiments())
        with pytest.raises(StoreError, match="can't be changed"):
            workspace(layout, failing_from(step, errno.EROFS)).create(f"f{step}")
        with pytest.raises(Stopped):
            workspace(layout, stopping_at(step)).create(f"s{step}")
        held = workspace(layout)
        assert set(held.experiments()) >= before
        assert held.get_or_create(f"f{step}").experiment_id == held.get_or_create(f"f{step}").experiment_id
        assert not held.damage


GET_OR_CREATE = """
import sys, time
from mltrack.disk.layout import Layout
from mltrack.storage.experiments import Workspace
layout = Layout.open_or_create(__import__("pathlib").Path(sys.argv[1]), now_ns=1)
sys.stdin.readline()
print(Workspace(layout, clock=time.time_ns).get_or_create("shared").experiment_id)
"""


def test_eight_processes_that_make_one_experiment_get_one(tmp_path: Path) -> None:
    processes = [start_python(GET_OR_CREATE, tmp_path / "s") for _ in range(8)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    found = [process.communicate(timeout=60) for process in processes]
    assert len({out for out, _ in found}) == 1, found
    assert len(workspace(Layout.open(tmp_path / "s")).experiments()) == 2


def test_killing_the_process_that_holds_the_lock_releases_it(layout: Layout) -> None:
    code = """
import sys, os, signal
from mltrack.disk.locks import file_lock
with file_lock(__import__("pathlib").Path(sys.argv[1]), timeout_s=0):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    run_python(code, layout.workspace / "lock", status=-9)
    workspace(layout).create("a")

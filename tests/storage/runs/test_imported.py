"""An import adds facts and points by a writer of its own, and raises what the disk refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from mltrack.disk.filesystem import FileSystem
from mltrack.disk.layout import Layout
from mltrack.errors import InvalidMetricError, StoreError, UsageError
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.imported import RunImport
from mltrack.store import Store

RUN = "ab" * 16
START = {"type": "start", "run_name": "r", "experiment_id": "0", "experiment_name": "Default", "start_time": 5}
ENDED = {"type": "status", "status": "FINISHED", "end_time": 9}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.open_or_create(tmp_path / "store", now_ns=1)


def log(writer: RunImport, key: str, count: int) -> None:
    steps = np.arange(count, dtype=np.int64)
    writer.log(key, np.sin(steps), steps, steps * 1_000_000)


class Full(FileSystem):
    """A disk that takes so many files more."""

    def __init__(self, files: int) -> None:
        self.left = files

    def create(self, path: str | os.PathLike[str]) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path)


@pytest.mark.parametrize("count", [0, 3, 5000])
def test_an_imported_run_is_like_any_other(layout: Layout, count: int) -> None:
    writer = RunImport(layout, RUN, "http://there")
    writer.add(START, {"type": "param", "key": "a", "value": "1"})
    log(writer, "m", count)
    log(writer, "n", 2 * count)
    writer.close(ENDED)
    store = Store(layout)
    run = store.run(RUN)
    assert (run.info.status, run.info.end_time, run.info.live, run.info.crashed) == ("FINISHED", 0, False, False)
    assert {key: each.count for key, each in run.summaries.items()} == ({"m": count, "n": 2 * count} if count else {})
    assert os.listdir(run.folder.points) == ([] if count in (0, 5000) else [f"{writer.writer}.0.points"])
    (first, *_) = run.read_events()
    assert (first.type, first.fields["role"], first.fields["origin"]) == ("writer", "edit", "http://there")
    assert check_store(layout.root).findings == []
    assert [record.run_id for record in store.search_runs(filter_string="params.a = '1'")] == [RUN]


def test_a_run_is_not_live_while_it_is_imported_and_can_be_read_so_far(layout: Layout) -> None:
    writer = RunImport(layout, RUN, "there")
    writer.add(START, {"type": "status", "status": "RUNNING"})
    log(writer, "m", 10)
    run = Store(layout).run(RUN)
    assert (run.info.status, run.info.live, run.info.crashed) == ("RUNNING", False, False)
    assert run.summaries["m"].count == 10
    writer.close()


def test_nothing_is_created_if_nothing_is_added(layout: Layout) -> None:
    RunImport(layout, RUN, "there").close()
    assert os.listdir(layout.runs) == []


@pytest.mark.parametrize(
    "event",
    [
        {"type": "param", "key": "", "value": "1"},
        {"type": "artifact", "path": "../x", "size": 1, "sha256": "0"},
        {"type": "status", "status": "DANCING"},
        {"type": "tag", "key": "a", "value": 1},
    ],
)
def test_what_readers_would_refuse_is_never_written(layout: Layout, event: dict[str, object]) -> None:
    writer = RunImport(layout, RUN, "there")
    with pytest.raises(UsageError, match=r"a line of a run can't be stored"):
        writer.add(START, event)
    with pytest.raises(InvalidMetricError):
        log(writer, "", 1)
    writer.close()
    assert os.listdir(layout.runs) == []


@pytest.mark.parametrize("files", range(4))
@pytest.mark.parametrize("count", [5, 5000])
def test_a_full_disk_raises_and_leaves_a_valid_store(layout: Layout, files: int, count: int) -> None:
    writer = RunImport(layout, RUN, "there", fs=Full(files))
    whole = False
    try:
        writer.add(START, ENDED)
        log(writer, "m", count)
        whole = True
    except StoreError as error:
        assert "No space left" in str(error)
    finally:
        if whole:
            writer.close()
        else:
            writer.close(whole=False)
    assert whole == (files > 1)
    assert check_store(layout.root).sound
    if files:
        again = RunImport(layout, RUN, "there", not_before=Store(layout).run(RUN).state.last_time)
        log(again, "m", count)
        again.close()
        assert Store(layout).run(RUN).summaries["m"].count == count * (1 + whole)
    assert check_store(layout.root).sound

"""Two stores that push one new run at the same moment send it twice; a repair leaves each row once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

import mltrack
from mltrack.disk.filesystem import FileSystem, StrPath
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.lake.kind import LakeKind
from mltrack_sync.remotes.kind import find_kind
from tests.support.command_line import Cli


class AtTheNote(FileSystem):
    """A disk on which something else happens between the note of a batch and its first commit."""

    def __init__(self, between: Callable[[], None]) -> None:
        super().__init__()
        self._between = between

    def rename(self, source: StrPath, target: StrPath) -> None:
        super().rename(source, target)
        if Path(target).name == "batch.json":
            self._between()


@pytest.mark.slow
def test_a_run_that_two_stores_sent_at_once_is_repaired(tmp_path: Path, cli: Cli) -> None:
    mltrack.set_store(tmp_path / "one")
    with mltrack.start_run(run_name="both") as run:
        run.log_params({"a": 1, "b": 2})
        run.log_input(mltrack.Dataset("mnist", "1", "local", "{}"), "training")
        run.log({"weights": mltrack.Histogram([1.0, 2.0])}, step=1)
        run.log_series("loss", [float(step) for step in range(100)])
        run.log_series("system/cpu", [1.0] * 10)
    with mltrack.start_run(run_name="short"):
        mltrack.log_metric("loss", 1.0)
    mltrack.set_store(None)
    one, two = Store.open(tmp_path / "one"), Store.create(tmp_path / "two")
    pull(two, Remotes(two).add("one", str(one.path)))
    lake = f"delta:{tmp_path / 'lake'}"
    first, second = Remotes(one).add("lake", lake), Remotes(two).add("lake", lake)
    kind = find_kind("lake")
    assert isinstance(kind, LakeKind)
    good = kind.fs

    def push_the_other() -> None:
        kind.fs = good
        push(two, second)

    kind.fs = AtTheNote(push_the_other)
    try:
        report = push(one, first)
    finally:
        kind.fs = good
    assert "another store sent 2 runs" in report.notes[-1]
    points = tmp_path / "lake" / "points"
    assert DeltaTable(str(points)).to_pyarrow_table().num_rows == 2 * 111
    (found,) = {each.remote for each in verify(one, first).differences if each.local == "110 rows"}
    assert found == "220 rows, each more than once: mltrack lake repair lake"
    said = {each["table"]: each["rows"] for each in cli("lake", "repair", lake, "--dry-run", "--json").json}
    assert (said["points"], said["params"], said["metric_summaries"]) == (111, 2, 3)
    assert DeltaTable(str(points)).to_pyarrow_table().num_rows == 2 * 111
    assert {each["table"]: each["rows"] for each in cli("lake", "repair", lake, "--json").json} == said
    for store, remote in ((one, first), (two, second)):
        assert verify(store, remote).differences == ()
        assert push(store, remote).runs == 0
    assert cli("lake", "repair", lake).out == "nothing is there twice\n"
    with mltrack.Lake(lake) as reader:
        assert reader.run("both").metrics("loss").equals(one.run(run.run_id).metrics("loss"))


@pytest.mark.slow
def test_what_one_store_pulled_and_another_sent_is_not_sent_again(tmp_path: Path) -> None:
    def record(path: Path, run_id: str | None, points: int) -> str:
        mltrack.set_store(path)
        with mltrack.start_run(run_id=run_id) as run:
            run.log_series("loss", [float(step) for step in range(points)])
        mltrack.set_store(None)
        return str(run.run_id)

    run_id = record(tmp_path / "one", None, 10)
    one, two = Store.open(tmp_path / "one"), Store.create(tmp_path / "two")
    from_one, from_two = Remotes(two).add("one", str(one.path)), Remotes(one).add("two", str(two.path))
    first, second = (Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}") for store in (one, two))
    pull(two, from_one)
    assert [push(one, first).points, push(two, second).points] == [10, 0]
    record(one.path, run_id, 5)
    pull(two, from_one)
    assert [push(one, first).points, push(two, second).points] == [5, 0]
    record(two.path, run_id, 7)
    pull(one, from_two)
    assert [push(one, first).points, push(two, second).points] == [7, 0]
    assert verify(one, first).same
    assert verify(two, second).same

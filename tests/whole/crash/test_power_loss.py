"""Power loss at every step of a session: whatever of it was not synced, all is readable and nothing is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np
import pytest

import mltrack
from mltrack.disk.artifact_files import hash_file
from mltrack.disk.layout import Layout, new_run_id
from mltrack.errors import NotFoundError
from mltrack.journal.recorder import Recorder
from mltrack.recording.run import Run
from mltrack.storage.check.check import check_store
from mltrack.storage.experiments import Workspace
from tests.support.disks import Disk, loop_disk
from tests.support.power import (
    Choose,
    Mark,
    Platter,
    RecordingFileSystem,
    at_random,
    contents_only,
    everything,
    names_only,
    nothing,
    only,
)
from tests.support.recording import start_python

HOLES = ("lost the commit mark", "has points but no header", "are missing")
"""What may be found of points of the last second: a page of them that the kernel had not written yet."""


class Session:
    """What was logged so far, and what of it was promised to survive power loss."""

    def __init__(self, fs: RecordingFileSystem, root: Path) -> None:
        self.fs = fs
        self.logged: dict[str, dict[int, float]] = {}
        self.texts: dict[str, str] = {}
        self.params: dict[str, str] = {}
        layout = Layout.open_or_create(root, now_ns=time_ns(), fs=fs)
        fs.mark({"store": True})
        experiment = Workspace(layout, clock=time_ns, fs=fs).create("power")
        fs.mark({"store": True, "experiment": experiment.experiment_id})
        recorder = Recorder(layout, layout.run(new_run_id()), "create", fs=fs)
        start = {"type": "start", "run_name": "cut", "experiment_id": experiment.experiment_id}
        recorder.start([{**start, "experiment_name": "power", "start_time": time_ns()}])
        self.run = Run(layout, recorder, name="cut")
        self.said()

    def said(self, *, durable: bool = False, ended: bool = False) -> None:
        """A call returned: what it logged is what ``kill -9`` leaves, and is promised where it is ``durable``."""
        metrics = {key: dict(points) for key, points in self.logged.items()}
        held = {"metrics": metrics, "texts": dict(self.texts), "params": dict(self.params), "ended": ended}
        self.fs.mark({"held": held, "promised": held if durable else None})

    def log(self, key: str, step: int) -> None:
        self.run.log_metric(key, step * 0.25, step)
        self.logged.setdefault(key, {})[step] = step * 0.25
        self.said()

    def param(self, key: str, value: str) -> None:
        self.run.log_param(key, value)
        self.params[key] = value
        self.said()

    def text(self, name: str, text: str) -> None:
        self.run.log_text(text, name)
        self.texts[name] = text
        self.said()

    def series(self, key: str, count: int) -> None:
        values = np.arange(count) * 0.25
        self.run.log_series(key, values)
        self.logged.setdefault(key, {}).update(enumerate(values.tolist()))
        self.said(durable=True)

    def live(self) -> None:
        for step in range(3):
            self.log("loss", step)
        self.param("lr", "0.1")
        self.text("notes/deep/a.txt", "hello " * 2000)
        self.run.flush()
        self.said(durable=True)
        self.log("late", 0)
        self.series("series", 5_000)
        for step in range(3, 400):
            self.run.log_metric("loss", step * 0.25, step)
            self.logged["loss"][step] = step * 0.25
        self.log("later", 7)
        self.run.log({"table": mltrack.Text("words")}, step=1)
        self.said()
        self.text("b.txt", "second")
        self.param("late", "yes")
        self.run.end()
        self.said(durable=True, ended=True)


@pytest.fixture(scope="module", params=["mmap", pytest.param("write", marks=pytest.mark.slow)])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RecordingFileSystem:
    folder = tmp_path_factory.mktemp("power")
    fs = RecordingFileSystem(folder / "disk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLTRACK_JOURNAL", request.param)
        Session(fs, folder / "disk" / "in" / "store").live()
    return fs


def check(root: Path, promised: dict[str, Any], logged: dict[str, Any], *, exact: bool) -> None:
    """What is in ``root`` is some of what was logged, with all that was promised; ``exact``: all that had returned."""
    try:
        store = mltrack.Store.open(root)
    except NotFoundError:
        assert not promised
        return
    report = check_store(root)
    wrong = [finding for finding in report.findings if finding.severity == "error"]
    assert not [finding for finding in wrong if not finding.what.endswith(HOLES)], wrong
    if "experiment" in promised:
        assert [e.name for e in store.experiments() if e.experiment_id != "0"] == ["power"]
    runs = list(store.runs())
    if not runs:
        assert "metrics" not in promised
        assert not exact or not logged
        return
    [run] = runs
    assert (run.info.run_name, run.info.experiment_name) == ("cut", "power")
    found: dict[str, dict[int, float]] = {}
    for _, piece in run.read_points():
        for code, step, value in zip(piece.codes.tolist(), piece.steps.tolist(), piece.values.tolist(), strict=True):
            found.setdefault(piece.keys[code], {})[step] = value
    for key, points in found.items():
        assert points.items() <= LOGGED[key].items()
    for held in [promised, logged] if exact else [promised]:
        for key, points in held.get("metrics", {}).items():
            assert points.items() <= found.get(key, {}).items(), key
        assert held.get("params", {}).items() <= run.params.items()
        assert held.get("texts", {}).keys() <= {artifact.path for artifact in run.artifacts}
    for artifact in run.artifacts:
        assert hash_file(run.artifact_path(artifact.path)) == (artifact.size, artifact.sha256)
    if promised.get("ended") or run.info.status == "FINISHED":
        assert run.info.status == "FINISHED"
        assert found == LOGGED


LOGGED: dict[str, dict[int, float]] = {
    "loss": {step: step * 0.25 for step in range(400)},
    "late": {0: 0.0},
    "later": {7: 1.75},
    "series": {step: step * 0.25 for step in range(5_000)},
}
CUTS: dict[str, Choose | None] = {
    "nothing that was not synced": nothing,
    "all of it": everything,
    "the points alone": only(".points"),
    "the events alone": only(".jsonl"),
    "names without contents": names_only,
    "contents without names": contents_only,
    "some at random": None,
}


@pytest.mark.parametrize("cut", CUTS)
def test_any_subset_of_the_unsynced_writes_is_readable_and_correct(
    recorded: RecordingFileSystem, tmp_path: Path, cut: str
) -> None:
    platter, promised, logged = Platter(recorded), dict[str, Any](), dict[str, Any]()
    laid_out = 0
    for number, step in enumerate(recorded.steps):
        platter.take(step)
        if isinstance(step, Mark):
            assert isinstance(step.what, dict)
            promised |= {key: step.what[key] for key in ("store", "experiment") if key in step.what}
            promised |= step.what.get("promised") or {}
            logged = step.what.get("held", logged)
        elif number % 3:  # a third of the moments between two calls, and each after one
            continue
        target = tmp_path / "cut"
        platter.lay_out(target, CUTS[cut] or at_random(number))
        check(target / "in" / "store", promised, logged, exact=cut == "all of it")
        shutil.rmtree(target)
        laid_out += 1
    assert laid_out > 50
    assert promised["ended"]


# --- real ones ---

UNTIL_THE_CUT = """
import os, sys, time
import numpy as np
import mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run(run_name="cut")
print("started", flush=True)
for n in range(1_000_000):
    run.log_metric(f"metric {n // 100}", n * 0.25, step=n)
    if n % 150 == 70:
        run.log_series(f"series {n}", np.arange(5_000) * 0.25)
        print("series", n, flush=True)
    if n % 200 == 199:
        run.log_text("hello", f"texts/{n}.txt")
        run.flush()
        print("flushed", n, flush=True)
    time.sleep(0.0005)
"""


@pytest.fixture(params=[("ext4", "rw"), ("ext4", "data=writeback"), ("xfs", "rw")], ids=" ".join)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with loop_disk(tmp_path, *request.param) as disk:
        yield disk


@pytest.mark.parametrize("calls", [2, 20, *(pytest.param(calls, marks=pytest.mark.slow) for calls in (1, 3, 7))])
def test_after_a_real_power_cut_everything_promised_is_kept_under_its_name(disk: Disk, calls: int) -> None:
    process = start_python(UNTIL_THE_CUT, disk.path / "store")
    assert process.stdout is not None
    said = [process.stdout.readline().split() for _ in range(calls)]
    disk.shut_down()
    process.kill()
    process.communicate()
    disk.remount()
    root = disk.path / "store"
    wrong = [finding for finding in check_store(root).findings if finding.severity == "error"]
    assert not [finding for finding in wrong if not finding.what.endswith(HOLES)], wrong
    runs = list(mltrack.Store.open(root).runs())
    assert len(runs) == 1 or calls == 1
    for run in runs:
        counts = {key: summary.count for key, summary in run.summaries.items()}
        assert not [key for key in counts if key.startswith("unnamed")]
        artifacts = {artifact.path for artifact in run.artifacts}
        for what, *rest in said:
            if what == "series":
                assert counts[f"series {rest[0]}"] == 5_000
            elif what == "flushed":
                n = int(rest[0])
                assert all(counts[f"metric {at}"] == 100 for at in range((n + 1) // 100))
                assert f"texts/{n}.txt" in artifacts

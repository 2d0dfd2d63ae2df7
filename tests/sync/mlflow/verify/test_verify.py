"""Comparing with the remote: equal sides say nothing; each thing that differs is named, here and there."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, Selection, push
from mltrack_sync.engine.verify import VerifyReport, verify
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from tests.support.both_sides import assert_equal
from tests.support.proxy import Answer, Fault, FaultyProxy, Seen
from tests.support.server import MlflowServer


def record(points: int = 300) -> str:
    with mltrack.start_run(run_name="größe", tags={"team": "視覚", "empty": ""}) as run:
        mltrack.log_params({"lr": 0.1, "none": "", "long": "x" * 6000})
        for step in range(points):
            mltrack.log_metric("loss", math.sin(step), step=step)
        for value in (1.0, 1.0, math.nan, math.nan, 0.0, -0.0):  # equal ones are one there
            mltrack.log_metric("same", value, step=3, timestamp=1_700_000_000_000)
        mltrack.log_metric("odd", math.inf, step=-4)
        mltrack.log_metric("odd", -math.inf, step=2**62)
        mltrack.log_text("hello", "notes/a b.txt")
        mltrack.log_text("", "empty.txt")
        return run.run_id


def things(report: VerifyReport) -> set[str]:
    return {difference.thing for difference in report.differences}


def remote_run(server: MlflowServer, experiment: str, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = server.runs(experiment)[run_id]
    return found


@pytest.mark.slow
def test_files_in_a_shared_folder_are_read_and_written_by_many_threads_at_once(
    store: Store, server: MlflowServer, experiment: str, tmp_path: Path
) -> None:
    server.post("experiments/create", name=experiment, artifact_location=str(tmp_path / "there"))
    for number in range(8):
        with mltrack.start_run():
            mltrack.log_metrics({f"metric {n}": n for n in range(20 * number)})  # so that they come there one by one
            mltrack.log_text(f"content {number}", "file.txt")
    (tmp_path / "there").mkdir()
    Remotes(store).add("lab", server.url)
    Remotes(store).share_folder("lab", str(tmp_path / "there"))
    for name in ("sync", "verify"):
        line = [sys.executable, "-m", "mltrack", "--store", str(store.path), name, server.url]
        done = subprocess.run([*line, "--jobs", "8"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert len(list((tmp_path / "there").rglob("file.txt"))) == 8


@pytest.mark.parametrize("quick", [False, True])
def test_what_was_pushed_is_equal_on_both_sides(
    quick: bool, store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    record()
    with mltrack.start_run(run_name="parent"), mltrack.start_run(run_name="child", nested=True):
        mltrack.log_metric("m", 1.0)
    push(store, remote)
    assert_equal(store, server, experiment)
    report = verify(store, remote, quick=quick)
    assert report.differences == ()
    assert (report.runs, report.artifacts, report.metrics) == (3, 2, 4)
    assert report.points == (0 if quick else 300 + 3 + 2 + 1)
    assert report.artifact_bytes == (0 if quick else 5)


def test_a_run_that_was_never_pushed_is_reported(store: Store, server: MlflowServer, remote: Remote) -> None:
    record()
    (difference,) = verify(store, remote).differences
    assert (difference.thing, difference.local, difference.remote) == ("run", "present", "nothing")


def test_what_is_new_locally_and_what_was_changed_on_the_remote_is_named(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    run_id = record()
    push(store, remote)
    there = remote_run(server, experiment, run_id)["info"]["run_id"]
    server.post("runs/log-batch", run_id=there, params=[{"key": "p", "value": "x"}])
    server.post("runs/set-tag", run_id=there, key="team", value="other")
    server.post("runs/set-tag", run_id=there, key="mlflow.note.content", value="a note of somebody's")
    server.post("runs/log-metric", run_id=there, key="loss", value=7, step=1000, timestamp=1)
    server.post("runs/update", run_id=there, status="FAILED", end_time=5, run_name="another")
    with mltrack.start_run(run_id=run_id):
        mltrack.log_metric("loss", 0.25, step=300, timestamp=1_800_000_000_000)
        mltrack.log_metric("late", 1.0)
    found = {(d.thing, d.local, d.remote) for d in verify(store, remote).differences if d.thing != "end time"}
    assert found == {
        ("name", "größe", "another"),
        ("status", "FINISHED", "FAILED"),
        ("param 'p'", "nothing", "'x'"),
        ("tag 'team'", "'視覚'", "'other'"),
        ("tag 'mlflow.runName'", "'größe'", "'another'"),
        ("metric 'late'", "1 point", "nothing"),
        ("metric 'loss'", "1 point, the first step 300, 0.25 at 1800000000000 ms", "missing"),
        ("metric 'loss'", "missing", "1 point, the first step 1000, 7.0 at 1 ms"),
    }
    assert "metric 'loss'" in things(verify(store, remote, quick=True))


def test_files_missing_or_changed_on_the_remote_are_named(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    run_id = record()
    push(store, remote)
    root = remote_run(server, experiment, run_id)["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    folder = Path(server.folder, "artifacts", root)
    (folder / "notes" / "a b.txt").write_text("HELLO")
    (folder / "empty.txt").unlink()
    assert {d.thing: d.remote[:7] for d in verify(store, remote).differences} == {
        "artifact 'notes/a b.txt'": "SHA-256",
        "artifact 'empty.txt'": "nothing",
    }
    assert things(verify(store, remote, quick=True)) == {"artifact 'empty.txt'"}
    (folder / "notes" / "a b.txt").write_text("HELL")
    assert "artifact 'notes/a b.txt'" in things(verify(store, remote, quick=True))


def test_a_run_that_is_on_the_remote_twice_is_reported(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    run_id = record(1)
    push(store, remote)
    tags = [{"key": "mltrack.run_id", "value": run_id}]
    server.post("runs/create", experiment_id=server.experiment_id(experiment), tags=tags)
    (difference,) = verify(store, remote).differences
    assert (difference.local, difference.remote[:8]) == ("one", "2 times:")


def test_what_was_rejected_differs_with_the_reason(store: Store, server: MlflowServer, remote: Remote) -> None:
    with mltrack.start_run():
        mltrack.log_param("long", "x" * 6001)
        mltrack.log_metric("loss 😀", 1.0)
    push(store, remote)
    found = {d.thing: d.remote for d in verify(store, remote).differences}
    assert found["param 'long'"].startswith("nothing (rejected: param value of 6001 characters")
    assert found["metric 'loss 😀'"].startswith("nothing (rejected: name holds")


def test_a_run_deleted_locally_must_not_be_on_the_remote(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    run_id = record(1)
    push(store, remote)
    store.delete_run(run_id)
    assert [d.local for d in verify(store, remote).differences] == ["deleted"]
    push(store, remote)
    assert verify(store, remote).same
    store.restore_run(run_id)
    (difference,) = verify(store, remote).differences
    assert difference.remote.startswith("deleted")


def test_only_what_is_selected_is_compared(store: Store, server: MlflowServer, remote: Remote) -> None:
    first = record(1)
    push(store, remote)
    record(1)
    assert verify(store, remote, selection=Selection(runs=(first,))).same
    assert not verify(store, remote).same


def test_a_remote_that_disappears_is_an_error_and_not_a_difference(
    store: Store, proxy: FaultyProxy, spoiled: Remote
) -> None:
    record(1)
    push(store, spoiled)
    proxy.fault = lambda seen: Answer(503) if seen.path.endswith("get-history") else None
    with pytest.raises(RemoteUnavailableError):
        verify(store, spoiled, policy=RetryPolicy(sleep=lambda seconds: None))
    proxy.fault = lambda seen: Answer(503) if seen.number == 1 else None
    assert verify(store, spoiled, policy=RetryPolicy(sleep=lambda seconds: None)).same


@pytest.mark.parametrize("runs", [1, 2])
def test_histories_of_few_runs_are_read_in_parallel_up_to_the_requested_number(
    runs: int, store: Store, proxy: FaultyProxy, spoiled: Remote
) -> None:
    for _ in range(runs):
        with mltrack.start_run():
            for number in range(8):
                mltrack.log_metric(f"m{number}", 1.0)
    push(store, spoiled)
    together = threading.Barrier(3)
    at_once: list[int] = []

    def fault(seen: Seen) -> Fault:
        if seen.path.endswith("get-history"):
            at_once.append(proxy.in_hand)
            if seen.number <= 3:
                together.wait(60)  # one alone would wait in vain
        return None

    proxy.fault = fault
    report = verify(store, spoiled, jobs=4)
    assert (report.same, report.points) == (True, 8 * runs)
    assert 3 <= max(at_once) <= 4


def test_a_history_that_is_refused_differs_and_the_others_are_compared(
    store: Store, proxy: FaultyProxy, spoiled: Remote
) -> None:
    ids = []
    for _ in range(2):
        with mltrack.start_run() as run:
            mltrack.log_metrics({f"m{number}": 1.0 for number in range(6)})
            ids.append(run.run_id)
    push(store, spoiled)
    refused = Answer(400, b'{"error_code":"INVALID_PARAMETER_VALUE","message":"not this one"}')
    proxy.fault = lambda seen: refused if seen.path.endswith("get-history") and seen.number == 2 else None
    report = verify(store, spoiled)
    (difference,) = report.differences
    assert (difference.local, difference.remote) == ("present", "the remote says: not this one")
    assert report.points >= 6

"""Ledgers lost, damaged, grown and cut anywhere: what they no longer say is found out from the remote."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.disk.filesystem import FileSystem
from mltrack.disk.jsonlog import JsonLog, read_log
from mltrack.disk.sync_line_types import LEDGER
from mltrack.entities import RunHead
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.ledger.experiments import ExperimentEntry
from mltrack_sync.ledger.ledger import EVERYTHING, Ledger, LedgerState, RunEntry
from mltrack_sync.ledger.stores import run_lines
from mltrack_sync.remotes.ledgers import ledger_path
from mltrack_sync.report import Rejected
from tests.support.both_sides import assert_equal
from tests.support.proxy import FaultyProxy
from tests.support.server import MlflowServer

A, B = "a" * 32, "b" * 32


def record(points: int = 2500, name: str = "run") -> str:
    with mltrack.start_run(run_name=name) as run:
        mltrack.log_param("a", 1)
        for step in range(points):
            mltrack.log_metrics({"m": step, "down": -step}, step=step % 1000)
        mltrack.log_text("x", "file.txt")
        return run.run_id


@pytest.mark.slow
def test_a_deleted_ledger_costs_a_lookup_and_no_point_is_sent_twice(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    run_id = record()
    push(store, spoiled)
    with mltrack.start_run(run_id=run_id):
        mltrack.log_metric("m", 0.5, step=7)
    ledger_path(store, spoiled).unlink()
    proxy.seen.clear()
    report = push(store, spoiled)
    assert (report.created, report.points, report.found) == (0, 1, 5000)
    assert proxy.count("runs/create") == 0
    assert_equal(store, server, experiment)
    assert push(store, spoiled).requests == 0


def test_a_bad_line_is_reported_and_the_runs_are_compared_with_the_remote(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    run_id = record()
    push(store, remote)
    path = ledger_path(store, remote)
    lines = path.read_bytes().splitlines(keepends=True)
    at = max(n for n, line in enumerate(lines) if b'"ack"' in line)
    path.write_bytes(b"".join([*lines[: at - 1], lines[at - 1][:-9] + b"#" * 8 + b"\n", *lines[at + 1 :]]))
    with mltrack.start_run(run_id=run_id):
        mltrack.log_metric("m", 0.5, step=-7)
    report = push(store, remote)
    assert "bad line" in report.problems[0]
    assert report.points == 1
    assert report.found > 0
    assert_equal(store, server, experiment)
    again = push(store, remote)
    assert (again.requests, again.problems) == (0, ())


def test_a_ledger_cut_at_any_line_leads_to_equal_contents(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    record(1100)
    record(30, "small")
    push(store, remote)
    path = ledger_path(store, remote)
    whole = path.read_bytes()
    ends = [at for at, byte in enumerate(whole) if byte == 10]
    for end in random.Random(3).sample(ends, 4):
        path.write_bytes(whole[: end + random.Random(end).randint(-20, 1)])
        push(store, remote)
    assert_equal(store, server, experiment)


def test_a_remote_name_that_now_means_another_server_starts_a_new_ledger(
    store: Store, server: MlflowServer, remote: Remote, proxy: FaultyProxy, experiment: str
) -> None:
    record(10)
    push(store, remote)
    Remotes(store).remove(remote.name)
    other = Remotes(store).add(remote.name, proxy.url)
    report = push(store, other)  # the same server by another way: the run is found there
    assert (report.created, report.found) == (0, 20)
    assert_equal(store, server, experiment)


def fill(ledger: Ledger) -> None:
    ledger.experiment("1", ExperimentEntry("e1", {"k": "v"}, 1700000000000))
    ledger.experiment("2", ExperimentEntry("e2", {}))
    ledger.creating(A)
    ledger.created(A, "remote-a", "e1", "mlflow-artifacts:/x", adopted=False)
    for n in range(1, 40):
        ledger.ack(A, events={"w": 3}, points={"w": n * 10}, following={"w": n * 10 + 10})
    ledger.artifact(A, "f", "sha")
    ledger.ended(A, ["FINISHED", 5, "name", False])
    ledger.rejected(Rejected(A, "metric", "k", "no", 7))
    ledger.rejected(Rejected(A, "param", "p", "no"))
    ledger.cleared(Rejected(A, "param", "p", "no"))
    ledger.settled(RunHead(A, 3, 400, False))
    ledger.created(B, "remote-b", "e1", "", adopted=True)
    ledger.ack(B, events={}, points={"v": 1}, following=EVERYTHING)
    ledger.staged(B, "deleted")
    ledger.finished(123, {"runs": 2, "points": 400})
    ledger.failed(124, "oh")


def test_a_ledger_reads_back_as_it_was_written_and_compacts_to_the_same(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", "http://h")
    fill(ledger)
    ledger.close()
    state = LedgerState.read(tmp_path / "ledger.jsonl")
    assert state.runs == ledger.state.runs
    assert state.runs[A].doubt == {"w": 400}
    assert state.runs[B].doubt_all
    assert (state.experiments, state.rejected) == (ledger.state.experiments, ledger.state.rejected)
    assert state.last_error["message"] == "oh"
    short = LedgerState()
    for line in state.compacted():
        short.apply(line)
    assert short.runs == state.runs
    assert (short.experiments, short.rejected) == (state.experiments, state.rejected)
    assert (short.last_pass, short.last_error) == (state.last_pass, state.last_error)
    assert short.lines < state.lines / 3


@pytest.mark.parametrize("damaged", [False, True])
def test_lines_of_a_newer_version_change_nothing_and_are_kept(tmp_path: Path, damaged: bool) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, "http://h")
    fill(ledger)
    ledger.close()
    before = LedgerState.read(path)
    newer: list[dict[str, Any]] = [{"type": "of_tomorrow", "model": "m"}, {"type": "said_of_a_run", "run": A, "n": 7}]
    log = JsonLog(path, records=LEDGER)
    log.append([*newer, *[{"type": "error", "time": 124, "message": "oh"}] * 2000])  # long enough to be rewritten
    log.close()
    if damaged:
        with open(path, "ab") as file:
            file.write(b'{"crc":"00000000","type":"error"}\n')
    read = LedgerState.read(path)
    assert (read.experiments, read.rejected) == (before.experiments, before.rejected)
    assert damaged or read.runs == before.runs
    Ledger(path, "http://h").close()
    kept = [line for line in read_log(path, records=LEDGER).lines if line["type"] in ("of_tomorrow", "said_of_a_run")]
    assert [
        {key: value for key, value in line.items() if key in of} for line, of in zip(kept, newer, strict=True)
    ] == newer


def test_a_run_that_was_copied_for_the_first_time_is_one_line_and_reads_back(tmp_path: Path) -> None:
    head, copied = RunHead(A, 3, 10, live=False), RunEntry(events={"w": 3}, points={"w": 10}, artifacts={"f": "sha"})
    ledger = Ledger(tmp_path / "ledger.jsonl", "http://h")
    lines = run_lines(head, ledger.run(A), copied, settled=True)
    ledger.copied(lines)
    again = run_lines(head, ledger.run(A), copied, settled=True)
    ledger.close()
    entry = LedgerState.read(tmp_path / "ledger.jsonl").runs[A]
    assert (len(lines), again) == (1, [])
    assert (entry.remote_id, entry.positions(), entry.artifacts) == (A, {"w": [3, 10]}, {"f": "sha"})
    assert entry.is_settled_at(head)


def test_a_recreated_run_has_nothing_whatever_the_ledger_knew_before(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", "http://h")
    ledger.ack(A, events={"w": 3}, points={"w": 10}, following={})  # the line that told its remote id was damaged
    ledger.artifact(A, "f", "sha")
    ledger.created(A, "remote-a", "e1", "", adopted=False)
    ledger.close()
    entry = LedgerState.read(tmp_path / "ledger.jsonl").runs[A]
    assert (entry.remote_id, entry.events, entry.points, entry.artifacts) == ("remote-a", {}, {}, {})


def test_uploads_to_one_server_do_not_count_for_another(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path, "http://h").close()
    (tmp_path / "uploads.jsonl").write_text("parts\n")
    Ledger(path, "http://h").close()
    assert (tmp_path / "uploads.jsonl").exists()
    Ledger(path, "http://other").close()
    assert not (tmp_path / "uploads.jsonl").exists()


def test_a_large_ledger_is_rewritten_with_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, "http://h")
    ledger._log.append({"type": "ack", "run": A, "at": {"w": [n, n]}} for n in range(3000))
    ledger.close()
    before = LedgerState.read(path)
    Ledger(path, "http://h").close()
    after = LedgerState.read(path)
    assert after.lines < 10 < before.lines
    assert list(tmp_path.iterdir()) == [path]
    Ledger(path, "http://h").close()
    assert LedgerState.read(path).lines == after.lines


def test_a_ledger_that_grew_during_a_cycle_is_rewritten_at_its_end_with_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, "http://h")
    fill(ledger)
    for n in range(41, 1100):
        ledger.ack(A, events={"w": 3}, points={"w": n * 10}, following={"w": n * 10 + 10})
    grown = ledger.state
    lines = len(path.read_bytes().splitlines())
    ledger.close()
    state = LedgerState.read(path)
    assert (state.runs, state.experiments, state.rejected) == (grown.runs, grown.experiments, grown.rejected)
    assert (state.last_pass, state.last_error, state.url) == (grown.last_pass, grown.last_error, "http://h")
    assert state.lines < 10 < 1000 < lines
    assert list(tmp_path.iterdir()) == [path]


def test_a_ledger_that_cannot_be_rewritten_stays_unchanged(tmp_path: Path) -> None:
    class Full(FileSystem):
        def create(self, path: str | os.PathLike[str]) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, "http://h", fs=Full())
    for n in range(1100):
        ledger.ack(A, events={}, points={"w": n}, following={})
    ledger.close()
    assert LedgerState.read(path).runs == ledger.state.runs
    assert LedgerState.read(path).lines > 1000


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_ignored(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, "http://h")
    ledger.created(A, "remote-a", "e1", "uri", adopted=False)
    ledger.ack(A, events={"w": 1}, points={"w": 10}, following={"w": 20})
    ledger.close()
    size = path.stat().st_size
    ledger = Ledger(path, "http://h")
    ledger.ack(A, events={"w": 1}, points={"w": 20}, following={})
    ledger.close()
    path.write_bytes(path.read_bytes()[: size + cut])
    state = LedgerState.read(path)
    assert (state.runs[A].points, state.runs[A].doubt, state.damage) == ({"w": 10}, {"w": 20}, [])


def test_records_of_models_and_traces_are_read_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "remotes" / "lab" / "ledger.jsonl"
    ledger = Ledger(path, "http://lab")
    ledger.logged_model_created("m-1", "m-remote", "7", "mlflow-artifacts:/7")
    ledger.logged_model_file_sent("m-1", "model.pkl", "ab")
    ledger.fallback_placed("m-2", A, "run-remote", "model")
    ledger.fallback_file_sent("m-2", "MLmodel", "cd")
    ledger.fallback_settled("m-2", 12)
    ledger.trace_sent("tr-1", "print")
    ledger.close()
    state = LedgerState.read(path)
    assert state.logged["m-1"].remote_id == "m-remote"
    assert state.logged["m-1"].artifacts == {"model.pkl": "ab"}
    in_run = state.fallbacks["m-2"]
    assert (in_run.remote_run, in_run.place, in_run.artifacts, in_run.settled) == (
        "run-remote",
        "model",
        {"MLmodel": "cd"},
        12,
    )
    assert state.traces.done == {"tr-1": "print"}


def test_rejections_are_found_by_object_and_by_run(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "remotes" / "lab" / "ledger.jsonl", "http://lab")
    of_run, of_none = Rejected(A, "param", "lr", "too long"), Rejected("", "model", "net", "no such name")
    for item in (of_run, of_none):
        ledger.rejected(item)
    assert ledger.rejection(A, "param", "lr") == of_run
    assert ledger.rejection(B, "param", "lr") is None
    assert ledger.rejections(A) == [of_run]
    assert ledger.rejections() == [of_none]
    ledger.cleared(of_run)
    assert ledger.rejections(A) == []
    ledger.close()

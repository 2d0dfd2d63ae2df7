"""Answers lost, servers that say later, refusals, wrong servers: each point is there once, and the words are clear."""

from __future__ import annotations

import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import mltrack
from mltrack.disk.locks import file_lock
from mltrack.errors import BusyError, RemoteError
from mltrack.storage.runs.edit import set_tag
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from tests.support.both_sides import assert_equal
from tests.support.pair import Pair
from tests.support.proxy import Answer, Cut, Fault, LoseAnswer, Seen
from tests.support.server import free_port, params_of


def record(points: int = 3500, name: str = "run") -> str:
    with mltrack.start_run(run_name=name) as run:
        mltrack.log_param("a", 1)
        for step in range(points):
            mltrack.log_metric("m", step * 0.5, step=step)
            if step % 7 == 0:
                mltrack.log_metric("down", float(step), step=-step)
        mltrack.log_text("file", "f.txt")
        return run.run_id


def points_here(store: Store) -> int:
    return sum(run.head().points for run in store.runs())


@pytest.mark.parametrize("path", ["experiments/create", "runs/create", "log-batch", "runs/update", "f.txt", "runs/get"])
def test_a_lost_answer_duplicates_nothing(pair: Pair, path: str) -> None:
    record(2500)

    def fault(seen: Seen) -> Fault:
        return LoseAnswer() if seen.path.endswith(path) and seen.number == 1 else None

    pair.proxy.fault = fault
    report = pair.push()
    pair.assert_equal()
    assert report.complete
    assert report.points + report.found == points_here(pair.store)
    assert pair.proxy.points_taken == points_here(pair.store)


@pytest.mark.slow
def test_any_request_may_lose_its_answer_or_never_arrive(pair: Pair) -> None:
    for n in range(3):
        record(2500, f"run {n}")
    chance = random.Random(7)

    def fault(seen: Seen) -> Fault:
        return chance.choice([LoseAnswer(), Cut(), Answer(503), None, None, None, None])

    pair.proxy.fault = fault
    report = pair.push()
    pair.heal()
    pair.push()
    pair.assert_equal()
    assert report.points <= points_here(pair.store) == pair.proxy.points_taken


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_a_pause_gets_it(pair: Pair, status: int) -> None:
    record(1500)
    pair.proxy.fault = lambda seen: (
        Answer(status, headers={"Retry-After": "77"}) if seen.path.endswith("log-batch") and seen.number == 2 else None
    )
    pair.push()
    assert pair.waits == [77.0]
    pair.assert_equal()


def test_a_server_that_never_recovers_ends_the_cycle_and_the_next_cycle_continues(pair: Pair) -> None:
    for n in range(4):
        record(1500, f"run {n}")
    pair.proxy.fault = lambda seen: Answer(500, b'{"message":"out of order"}') if seen.number > 3 else None
    with pytest.raises(RemoteUnavailableError, match="out of order"):
        pair.push()
    pair.heal()
    assert pair.push().complete
    pair.assert_equal()


def test_one_run_that_the_server_fails_on_does_not_hold_the_others_back(pair: Pair) -> None:
    bad, good = record(10, "bad"), record(10, "good")
    pair.proxy.fault = lambda seen: Answer(500) if b'"run_name":"bad"' in seen.body else None
    report = pair.push()
    assert pair.server.runs(pair.experiment).keys() == {good}
    assert bad in report.problems[0]
    pair.heal()
    pair.push()
    pair.assert_equal()


def test_a_refused_login_is_one_clear_error_and_no_secret_is_in_it_or_in_the_store(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(10)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret-word")
    pair.proxy.fault = lambda seen: Answer(401, b"You are not authenticated", {"Content-Type": "text/plain"})
    with pytest.raises(RemoteAuthError, match="401") as caught:
        pair.push()
    assert "MLFLOW_TRACKING_USERNAME" in caught.value.hint
    assert "s3cret" not in str(caught.value) + repr(caught.value)
    assert not [path for path in pair.store.path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert pair.proxy.seen[0].headers["Authorization"] == "Basic bWU6czNjcmV0LXdvcmQ="


def test_a_token_is_sent_as_bearer_unless_there_are_user_and_password(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record(10)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "tok")
    pair.push()
    assert {seen.headers["Authorization"] for seen in pair.proxy.seen} == {"Bearer tok"}
    pair.proxy.seen.clear()
    (tmp_path / ".mlflow").mkdir()
    kept = "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = p%w\n"
    (tmp_path / ".mlflow" / "credentials").write_text(kept)
    record(10)
    pair.push()
    assert {seen.headers["Authorization"] for seen in pair.proxy.seen} == {"Basic bWU6cCV3"}


def test_a_refused_connection_is_reported_at_once(store: Store, waits: list[float], hasty: RetryPolicy) -> None:
    record(10)
    nowhere = Remotes(store).add("nowhere", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RemoteUnavailableError, match="can't be reached") as caught:
        push(store, nowhere, policy=hasty)
    assert "is the server running" in caught.value.hint
    assert waits == []


@pytest.mark.parametrize("status", [200, 404])
def test_a_server_that_is_not_mlflow_is_named(status: int, store: Store) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    record(10)
    page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=page.serve_forever, args=(0.05,))
    thread.start()
    try:
        remote = Remotes(store).add("page", f"http://127.0.0.1:{page.server_address[1]}")
        with pytest.raises(NotMlflowError, match="is not an MLflow server"):
            push(store, remote)
    finally:
        page.shutdown()
        page.server_close()
        thread.join()


def test_batches_that_are_too_large_are_split_and_stay_small(pair: Pair) -> None:
    record(1400)

    def fault(seen: Seen) -> Fault:
        return Answer(413, b"<html>too large</html>") if len(seen.body) > 15_000 else None

    pair.proxy.fault = fault
    assert pair.push().complete
    pair.assert_equal()
    refused = sum(len(seen.body) > 15_000 for seen in pair.proxy.seen)
    assert refused == 3  # at 1000, 500 and 250 points
    assert pair.proxy.points_taken == points_here(pair.store)


def test_a_param_that_the_server_refuses_is_rejected_and_everything_else_arrives(pair: Pair) -> None:
    with mltrack.start_run() as run:
        mltrack.log_metric("m", 1.0)
    pair.push()
    there = pair.server.runs(pair.experiment)[run.run_id]["info"]["run_id"]
    pair.server.post("runs/log-batch", run_id=there, params=[{"key": "p7", "value": "somebody else's"}])
    with mltrack.start_run(run_id=run.run_id):
        mltrack.log_params({f"p{n}": n for n in range(20)})
        for step in range(500):
            mltrack.log_metric("m", 2.0, step=step)
    report = pair.push()
    (item,) = report.rejected
    assert (item.kind, item.key) == ("param", "p7")
    assert "Changing param values is not allowed" in item.reason
    params = params_of(pair.server.runs(pair.experiment)[run.run_id])
    assert params == {**{f"p{n}": str(n) for n in range(20)}, "p7": "somebody else's"}
    assert pair.push().requests == 0
    again = pair.push(retry_rejected=True)
    assert [item.key for item in again.rejected] == ["p7"]


def test_what_the_server_would_truncate_or_refuse_is_reported_and_not_sent(pair: Pair) -> None:
    with mltrack.start_run() as run:
        mltrack.log_param("long", "x" * 6001)
        mltrack.set_tag("long", "x" * 8001)
        mltrack.log_params({"fine": 1, "100%": 1})
        for step in range(1500):
            mltrack.log_metrics({"fine": step, "loss 😀": step}, step=step)
    report = pair.push()
    assert {(r.kind, r.key, r.points) for r in report.rejected} == {
        ("param", "long", 0),
        ("tag", "long", 0),
        ("param", "100%", 0),
        ("metric", "loss 😀", 1500),
    }
    assert report.points == 1500
    there = pair.server.runs(pair.experiment)[run.run_id]
    assert params_of(there) == {"fine": "1"}
    assert [m["key"] for m in there["data"]["metrics"]] == ["fine"]
    with mltrack.start_run(run_id=run.run_id):
        mltrack.log_metrics({"fine": 1, "loss 😀": 1}, step=9999)
    report = pair.push()
    assert [r.points for r in report.rejected if r.kind == "metric"] == [1501]


def test_a_refused_metric_is_found_rejected_and_sent_once_the_server_accepts_it(pair: Pair) -> None:
    with mltrack.start_run() as run:
        for step in range(1200):
            mltrack.log_metrics({"good": step, "odd": step}, step=step)

    def fault(seen: Seen) -> Fault:
        words = b'{"error_code":"INVALID_PARAMETER_VALUE","message":"no odd ones"}'
        return Answer(400, words) if b'"key":"odd"' in seen.body else None

    pair.proxy.fault = fault
    report = pair.push()
    assert [(r.kind, r.key, r.points, r.reason) for r in report.rejected] == [("metric", "odd", 1200, "no odd ones")]
    assert report.points == 1200
    assert [m["key"] for m in pair.server.runs(pair.experiment)[run.run_id]["data"]["metrics"]] == ["good"]
    pair.heal()
    again = pair.push(retry_rejected=True)
    assert (again.points, again.rejected) == (1200, ())
    pair.assert_equal()


def test_an_experiment_deleted_on_the_remote_holds_back_only_its_own_runs(pair: Pair) -> None:
    mltrack.set_experiment(f"{pair.experiment} gone")
    gone = record(10)
    deleted = pair.server.post("experiments/create", name=f"{pair.experiment} gone")["experiment_id"]
    pair.server.post("experiments/delete", experiment_id=deleted)
    mltrack.set_experiment(pair.experiment)
    record(10)
    report = pair.push()
    assert [(r.run_id, r.kind) for r in report.rejected] == [(gone, "run")]
    assert "is deleted on the remote" in report.rejected[0].reason
    pair.assert_equal()
    pair.server.post("experiments/restore", experiment_id=deleted)
    assert pair.push(retry_rejected=True).complete
    assert_equal(pair.store, pair.server, f"{pair.experiment} gone")


def test_a_run_deleted_on_the_remote_is_rejected_with_few_requests(pair: Pair) -> None:
    run_id = record(10)
    pair.push()
    pair.server.post("runs/delete", run_id=pair.server.runs(pair.experiment)[run_id]["info"]["run_id"])
    with mltrack.start_run(run_id=run_id):
        for step in range(1000):
            mltrack.log_metric("more", 1.0, step=step)
    report = pair.push()
    assert [r.kind for r in report.rejected] == ["run"]
    assert "deleted on the remote" in report.rejected[0].reason
    assert report.requests < 10


def test_of_two_syncers_at_once_one_works_and_the_other_names_it(pair: Pair) -> None:
    record(1500)
    caught: list[BusyError] = []

    def fault(seen: Seen) -> Fault:
        if seen.path.endswith("log-batch") and seen.number == 1:
            try:
                pair.push()
            except BusyError as error:
                caught.append(error)
        return None

    pair.proxy.fault = fault
    pair.push()
    assert "process" in str(caught[0])
    pair.assert_equal()


def test_the_lock_of_a_dead_syncer_is_ignored(pair: Pair) -> None:
    folder = pair.ledger_path.parent
    folder.mkdir(parents=True)
    with file_lock(folder / "lock", timeout_s=0):
        (folder / "holder.json").write_text("{")
        with pytest.raises(BusyError):
            pair.push()
    pair.push()


def test_a_ledger_that_cannot_be_written_stops_the_push_before_anything_is_sent(pair: Pair) -> None:
    record(10)
    path = pair.ledger_path
    path.mkdir(parents=True)  # a folder where the ledger should be
    with pytest.raises(RemoteError, match="ledger"):
        pair.push()
    assert pair.proxy.seen == []


def test_a_rejected_value_that_is_corrected_is_no_longer_listed(pair: Pair) -> None:
    with mltrack.start_run() as run:
        mltrack.set_tag("note", "x" * 9000)
        mltrack.set_tag("half", "\ud800")
    assert {item.key for item in pair.push().rejected} == {"note", "half"}
    set_tag(pair.store.layout, run.run_id, "note", "short")
    set_tag(pair.store.layout, run.run_id, "half", None)
    assert pair.push().complete
    pair.assert_equal()


def test_a_redirect_is_reported_with_its_target(pair: Pair) -> None:
    record(10)
    pair.proxy.fault = lambda seen: Answer(301, headers={"Location": "https://me:pw@other.example/x?token=1"})
    with pytest.raises(NotMlflowError, match=r"redirects requests to https://other\.example/x(\n|$)"):
        pair.push()

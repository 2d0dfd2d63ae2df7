"""A file whose answer is lost is looked for before it goes again, and goes only so often, in a pass and after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import FileNotTakenError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.ledger.uploads import UploadLog
from mltrack_sync.mlflow.files.attempts import GAP_FIRST_S, SENDS_MAX, UploadAttempts
from tests.support.proxy import Answer, Cut, Fault, FaultyProxy, LoseAnswer, Seen

OF = ("run", "model.bin")
GATEWAY = Answer(504, b"<html>timeout</html>")


def record() -> str:
    with mltrack.start_run() as run:
        mltrack.log_metric("m", 1)
        mltrack.log_text("x" * 1000, "model.bin")
        mltrack.log_text("small", "other.txt")
        return run.run_id


def puts(proxy: FaultyProxy) -> int:
    return sum(seen.method == "PUT" for seen in proxy.seen)


@pytest.mark.parametrize("fault", [LoseAnswer(), "504", "502"])
def test_a_file_that_the_server_took_is_not_sent_again(
    store: Store, proxy: FaultyProxy, spoiled: Remote, hasty: RetryPolicy, fault: object
) -> None:
    run_id = record()
    spoil: Fault = fault if isinstance(fault, LoseAnswer) else None
    proxy.fault = lambda seen: spoil if seen.method == "PUT" else None
    if isinstance(fault, str):
        proxy.answer_after = lambda seen: Answer(int(fault)) if seen.method == "PUT" else None
    assert push(store, spoiled, policy=hasty).complete
    assert puts(proxy) == 2
    assert store.run(run_id).info.status == "FINISHED"
    proxy.fault = lambda seen: None
    proxy.answer_after = lambda seen: None
    assert verify(store, spoiled).same
    assert not (store.layout.remote("spoiled") / "uploads.jsonl").exists()


@pytest.mark.parametrize("fault", [Cut(), GATEWAY])
def test_a_file_that_never_arrives_is_sent_a_few_times_and_does_not_hold_back_its_run(
    store: Store, proxy: FaultyProxy, spoiled: Remote, hasty: RetryPolicy, fault: Fault
) -> None:
    record()

    def spoil(seen: Seen) -> Fault:
        return fault if seen.method == "PUT" and seen.path.endswith("model.bin") else None

    proxy.fault = spoil
    for number in range(1, 5):
        report = push(store, spoiled, policy=hasty)
        assert any("model.bin" in problem for problem in report.problems)
        assert not report.complete
        assert (
            sum(seen.method == "PUT" and "model.bin" in seen.path for seen in proxy.seen) == min(number, 2) * SENDS_MAX
        )
    assert "--retry-rejected" in report.problems[0]
    assert not verify(store, spoiled).same
    assert sum(seen.path.endswith("runs/update") for seen in proxy.seen) == 1  # it has ended over there
    proxy.fault = lambda seen: None
    assert push(store, spoiled, policy=hasty, retry_rejected=True).complete
    assert verify(store, spoiled).same


def test_a_file_that_arrived_after_all_is_found_by_the_next_cycle(
    store: Store, proxy: FaultyProxy, spoiled: Remote, hasty: RetryPolicy
) -> None:
    record()
    hidden = [True]

    def spoil(seen: Seen) -> Fault:
        if seen.method == "PUT" and seen.path.endswith("model.bin"):
            return LoseAnswer()
        return Answer(200, b'{"files":[]}') if hidden[0] and seen.path.endswith("artifacts/list") else None

    proxy.fault = spoil
    assert not push(store, spoiled, policy=hasty).complete
    before = puts(proxy)
    hidden[0] = False
    assert push(store, spoiled, policy=hasty).complete
    assert puts(proxy) == before


# --- counting ----------------------------------------------------------------------------------------------------


class Remote504:
    """Takes no file, and tells how often it was sent one and was asked."""

    def __init__(self) -> None:
        self.sent = self.looked = 0
        self.holds = False
        self.error: Exception = RemoteUnavailableError("504", in_doubt=True, status=504)

    def send(self) -> None:
        self.sent += 1
        raise self.error

    def is_there(self) -> bool:
        self.looked += 1
        return self.holds


def test_a_server_that_disappears_after_a_file_was_sent_may_have_the_file(path: Path) -> None:
    remote = Remote504()

    def is_there() -> bool:
        raise RemoteUnavailableError("it can't be reached", in_doubt=False)

    with pytest.raises(FileNotTakenError, match="it can't be reached; whether it has arrived is not known"):
        attempts(path).send(OF, "ab", remote.send, is_there)
    with pytest.raises(FileNotTakenError, match="504; it has not arrived"):
        attempts(path).send(OF, "ab", remote.send, remote.is_there)


def test_a_server_that_dies_again_and_again_is_not_the_fault_of_the_file_that_was_sent(path: Path) -> None:
    remote = Remote504()
    remote.error = RemoteUnavailableError("connection reset", in_doubt=True)
    alive = [False]

    def is_there() -> bool:
        if not alive[0]:
            raise RemoteUnavailableError("it can't be reached", in_doubt=False)
        return remote.is_there()

    def dies() -> None:
        alive[0] = False
        remote.send()

    for number in range(1, 6):
        alive[0] = True  # it is started again, and answers what is asked before the file is sent again
        with pytest.raises(FileNotTakenError, match="whether it has arrived is not known"):
            attempts(path).send(OF, "ab", dies, is_there)
        assert remote.sent == number  # at once: it does not have to wait
    alive[0] = True
    one_cycle(path, remote, 1e9)  # now other requests are answered, and the file alone fails
    one_cycle(path, remote, 1e9)
    before = remote.sent
    one_cycle(path, remote, 1e9)
    assert remote.sent == before
    remote.holds = True
    attempts(path).send(OF, "ab", remote.send, remote.is_there)
    assert not path.exists()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "uploads.jsonl"


def attempts(path: Path, now: Callable[[], float] = lambda: 1e9, *, force: bool = False) -> UploadAttempts:
    policy = RetryPolicy(sleep=lambda seconds: None)
    return UploadAttempts(UploadLog(path), policy=policy, check=lambda: None, force=force, clock=now)


def one_cycle(path: Path, remote: Remote504, now: float, *, force: bool = False) -> None:
    with pytest.raises(FileNotTakenError):
        attempts(path, lambda: now, force=force).send(OF, "ab", remote.send, remote.is_there)


def test_pauses_between_cycles_grow_and_each_cycle_asks_the_remote(path: Path) -> None:
    remote, now = Remote504(), 1e9
    one_cycle(path, remote, now)
    one_cycle(path, remote, now)
    assert (remote.sent, remote.looked) == (4, 5)
    for _ in range(3):
        one_cycle(path, remote, now + GAP_FIRST_S - 1)
    assert (remote.sent, remote.looked) == (4, 8)
    one_cycle(path, remote, now + GAP_FIRST_S)
    assert remote.sent == 6
    one_cycle(path, remote, now + 3 * GAP_FIRST_S)
    assert remote.sent == 6
    one_cycle(path, remote, now + 3 * GAP_FIRST_S, force=True)
    assert remote.sent == 8
    one_cycle(path, remote, now - 1e8)  # a clock that was put back keeps nothing from going
    assert remote.sent == 10
    remote.holds = True
    attempts(path).send(OF, "ab", remote.send, remote.is_there)
    assert remote.sent == 10
    assert not path.exists()


def test_a_file_with_other_content_starts_again(path: Path) -> None:
    remote = Remote504()
    for _ in range(3):
        one_cycle(path, remote, 1e9)
    with pytest.raises(FileNotTakenError):
        attempts(path).send(OF, "cd", remote.send, remote.is_there)
    assert remote.sent == 6


def test_consecutive_failing_files_leave_the_rest_for_the_next_cycle(path: Path) -> None:
    remote, one = Remote504(), attempts(path)
    for number in range(20):
        with pytest.raises(FileNotTakenError):
            one.send(("run", str(number)), "ab", remote.send, remote.is_there)
    assert remote.sent == 5 * SENDS_MAX


def test_what_certainly_did_not_arrive_is_not_counted_as_an_attempt(path: Path) -> None:
    remote = Remote504()
    remote.error = RemoteUnavailableError("refused", in_doubt=True, not_sent=True)
    with pytest.raises(RemoteUnavailableError) as caught:
        attempts(path).send(OF, "ab", remote.send, remote.is_there)
    assert not isinstance(caught.value, FileNotTakenError)
    assert remote.sent == RetryPolicy().attempts_max
    remote.error = RemoteRefusedError("no", status=400, code="x", words="no")
    with pytest.raises(RemoteRefusedError):
        attempts(path).send(OF, "ab", remote.send, remote.is_there)
    assert not path.exists()


def test_a_policy_of_one_attempt_sends_once(path: Path) -> None:
    remote = Remote504()
    policy = replace(RetryPolicy(), attempts_max=1)
    with pytest.raises(FileNotTakenError):
        UploadAttempts(UploadLog(path), policy=policy, check=lambda: None).send(OF, "ab", remote.send, remote.is_there)
    assert remote.sent == 1

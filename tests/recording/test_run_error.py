"""What a run failed with is kept as its tag mltrack.error: whose run it is, how much, and without secrets."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mltrack

TAG = "mltrack.error"

UNCAUGHT = """
import os
import mltrack

def load():
    try:
        open("no such file")
    except OSError as error:
        raise ValueError("no spirals at https://me:hunter22@host/x, key " + os.environ["MY_API_KEY"]) from error

mltrack.start_run()
load()
"""
WORKER = """
import mltrack
mltrack.log_param("worker", 1)
raise ValueError("the worker's own")
"""


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> mltrack.Store:
    mltrack.set_store(tmp_path / "s")
    return mltrack.get_store()


def program(code: str, store: mltrack.Store, **variables: str) -> str:
    env = {**os.environ, "MLTRACK_STORE": str(store.layout.root), **variables}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr


def failed_by(error: BaseException) -> mltrack.StoredRun:
    run = mltrack.start_run()
    with pytest.raises(type(error)), run:
        raise error
    return run.stored()


def test_an_uncaught_error_is_kept_with_its_cause_and_without_secrets(store: mltrack.Store) -> None:
    told = program(UNCAUGHT, store, MY_API_KEY="ab12cd34ef56")
    (run,) = store.runs()
    assert run.info.status == "FAILED"
    shown = told[told.index("Traceback") :].strip()
    kept = shown.replace("hunter22", "[redacted]").replace("ab12cd34ef56", "[redacted]")
    assert run.tags[TAG] == kept
    assert kept.count("Traceback") == kept.count("[redacted]") == 2


def test_an_error_that_leaves_a_with_block_is_kept() -> None:
    run = failed_by(ValueError("no such spiral"))
    assert run.tags[TAG].startswith("Traceback (most recent call last):")
    assert run.tags[TAG].endswith("ValueError: no such spiral")


def test_an_interrupt_is_kept_and_an_exit_that_is_no_failure_is_not() -> None:
    stopped = failed_by(KeyboardInterrupt())
    assert (stopped.info.status, stopped.tags[TAG].splitlines()[-1]) == ("KILLED", "KeyboardInterrupt")
    assert failed_by(SystemExit("no data")).tags[TAG].endswith("SystemExit: no data")
    assert TAG not in failed_by(SystemExit(0)).tags


def test_the_error_that_is_handled_as_a_run_is_ended_is_kept() -> None:
    run = mltrack.start_run()
    try:
        raise ValueError("handled")
    except ValueError:
        mltrack.end_run("FAILED")
    assert run.stored().tags[TAG].endswith("ValueError: handled")


def test_a_run_that_fails_without_an_error_keeps_none() -> None:
    run = mltrack.start_run()
    run.end("FAILED")
    assert TAG not in run.stored().tags


def test_a_long_error_keeps_its_end() -> None:
    words = failed_by(ValueError("x" * 1_000_000 + " password=hunter22 the end")).tags[TAG]
    assert len(words) == 4_000
    assert words.startswith("...xxx")
    assert words.endswith("x password=[redacted] the end")


def test_a_group_of_errors_keeps_its_shape_and_a_secret_that_is_in_the_message_is_left_out() -> None:
    words = failed_by(ExceptionGroup("several", [ValueError("password=hunter22")])).tags[TAG]
    assert words.startswith("  + Exception Group Traceback")
    assert "\n    | ValueError: password=[redacted]\n" in words


def test_a_long_error_full_of_secrets_keeps_no_part_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "".join(map(chr, range(ord("A"), ord("Z") + 1))) * 20
    monkeypatch.setenv("MY_API_KEY", secret)
    for count in (100, 400):
        kept = failed_by(ValueError(f"{secret}\n" * count)).tags[TAG]
        assert "[redacted]" in kept
        assert "WXYZ" not in kept


def test_an_error_that_cannot_be_put_into_words_fails_nothing() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    run = failed_by(Odd())
    assert (run.info.status, "Odd" in run.tags[TAG]) == ("FAILED", True)


def test_tasks_and_threads_keep_their_own_errors() -> None:
    runs: dict[str, mltrack.Run] = {}

    def fails(name: str) -> None:
        with mltrack.start_run(run_name=name) as runs[name]:
            raise ValueError(f"of {name}")

    def in_thread() -> None:
        with pytest.raises(ValueError, match="of thread"):
            fails("thread")

    async def task(name: str) -> None:
        fails(name)

    async def tasks() -> None:
        await asyncio.gather(task("a"), task("b"), return_exceptions=True)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    asyncio.run(tasks())
    assert {name: run.stored().tags[TAG].rpartition("ValueError: ")[2] for name, run in runs.items()} == {
        name: f"of {name}" for name in ("thread", "a", "b")
    }


def test_a_resumed_run_has_no_error_until_it_fails_again() -> None:
    run = failed_by(ValueError("first"))
    with mltrack.start_run(run_id=run.run_id) as again:
        assert TAG not in again.stored().tags
    assert TAG not in again.stored().tags
    with pytest.raises(ValueError, match="second"), mltrack.start_run(run_id=run.run_id):
        raise ValueError("second")
    assert again.stored().tags[TAG].endswith("ValueError: second")


def test_a_worker_that_joins_a_live_run_leaves_its_error_alone(store: mltrack.Store) -> None:
    with mltrack.start_run() as run:
        run.set_tag(TAG, "the parent's own")
        program(WORKER, store, MLTRACK_RUN_ID=run.run_id)
    stored = run.stored()
    assert (stored.params["worker"], stored.tags[TAG]) == ("1", "the parent's own")


class _Broken:
    """Attached to a run; fails at its end."""

    def stop(self) -> None:
        raise OSError("the sensor is gone")


def test_what_else_fails_at_the_end_is_not_in_the_way(store: mltrack.Store, caplog: pytest.LogCaptureFixture) -> None:
    run = mltrack.start_run()
    run.attach(_Broken())
    with pytest.raises(ValueError, match="no spirals"), run:
        raise ValueError("no spirals")
    assert run.stored().tags[TAG].endswith("ValueError: no spirals")
    assert "the sensor is gone" in caplog.text
    with mltrack.start_run() as whole:
        whole.attach(_Broken())
    assert whole.stored().info.status == "FINISHED"

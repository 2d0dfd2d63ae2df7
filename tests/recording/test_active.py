"""Which run is active: in threads, in asyncio's tasks, in copies of a context, and where a run is ended by others."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import RunStateError


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> mltrack.Store:
    mltrack.set_store(tmp_path / "s")
    return mltrack.get_store()


def in_thread(call: Callable[[], object]) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  # it is raised again, by the thread that asked
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def keys(run: mltrack.Run) -> set[str]:
    return set(run.stored().summaries)


def test_a_thread_without_a_run_logs_to_the_main_thread_s_innermost_one_and_never_to_another_thread_s() -> None:
    began, done = threading.Event(), threading.Event()
    strangers: list[mltrack.Run] = []

    def trial() -> None:
        with mltrack.start_run(run_name="trial") as run:
            strangers.append(run)
            began.set()
            done.wait(60)

    with mltrack.start_run() as parent, mltrack.start_run(nested=True) as child:
        thread = threading.Thread(target=trial)
        thread.start()
        assert began.wait(60)
        in_thread(lambda: mltrack.log_metric("a", 1.0))
        in_thread(lambda: mltrack.log_param("p", 1))
        child.end()
        in_thread(lambda: mltrack.log_metric("b", 1.0))
        done.set()
        thread.join()
    assert (keys(child), keys(parent), keys(strangers[0])) == ({"a"}, {"b"}, set())
    assert child.data.params == {"p": "1"}


def test_threads_that_log_without_any_run_share_one_that_blocks_no_other(store: mltrack.Store) -> None:
    def work() -> None:
        mltrack.log_metric("shared", 1.0)
        with mltrack.start_run(run_name="own"):
            mltrack.log_metric("own", 1.0)
        mltrack.log_metric("shared", 2.0)

    for _ in range(3):
        in_thread(work)
    mltrack.end_run()
    found = {run.info.run_id: (run.info.run_name == "own", run.data.metrics) for run in store.search_runs()}
    assert sorted(found.values(), key=str) == [(False, {"shared": 2.0}), *[(True, {"own": 1.0})] * 3]


def test_a_run_that_is_ended_between_lookup_and_call_is_skipped() -> None:
    stop = threading.Event()
    raised: list[Exception] = []

    def log() -> None:
        try:
            while not stop.is_set():
                mltrack.log_metric("m", 1.0)
                mltrack.log_metrics({"m": 1.0, "n": 2.0})
                mltrack.set_tag("t", 1)
        except RunStateError as error:
            raised.append(error)

    outer = mltrack.start_run()
    threads = [threading.Thread(target=log) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        mltrack.start_run(nested=True).end()
    stop.set()
    for thread in threads:
        thread.join()
    outer.end()
    assert raised == []


def test_a_run_that_another_thread_ended_is_skipped_by_its_own() -> None:
    with mltrack.start_run() as outer:
        inner = mltrack.start_run(nested=True)
        mltrack.log_metric("a", 1.0)
        in_thread(inner.end)
        mltrack.log_metric("b", 1.0)
        assert mltrack.active_run() is outer
    assert (keys(inner), keys(outer)) == ({"a"}, {"b"})


def test_tasks_have_their_own_nested_runs() -> None:
    runs: dict[str, mltrack.Run] = {}

    async def trial(name: str) -> None:
        mltrack.log_metric("outer", 1.0)
        with mltrack.start_run(run_name=name, nested=True) as run:
            runs[name] = run
            for step in range(5):
                await asyncio.sleep(0)
                assert mltrack.active_run() is run
                mltrack.log_metric(name, step, step)
        mltrack.log_metric("outer", 2.0)

    async def main() -> None:
        with mltrack.start_run() as outer:
            await asyncio.gather(*[trial(name) for name in "abc"])
            assert mltrack.active_run() is outer
            runs["outer"] = outer

    asyncio.run(main())
    assert {name: keys(run) for name, run in runs.items()} == {name: {name} for name in (*"abc", "outer")}
    assert {runs[name].info.parent_run_id for name in "abc"} == {runs["outer"].run_id}


def test_what_a_task_starts_is_not_active_in_its_siblings_nor_after_it() -> None:
    async def left_open(began: asyncio.Event, done: asyncio.Event) -> mltrack.Run:
        run = mltrack.start_run()
        began.set()
        await done.wait()
        return run

    async def main() -> tuple[mltrack.Run, mltrack.Run]:
        began, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(left_open(began, done))
        await began.wait()
        assert mltrack.active_run() is None
        with mltrack.start_run() as own:
            mltrack.log_metric("own", 1.0)
        done.set()
        return await task, own

    left, own = asyncio.run(main())
    assert (keys(left), keys(own)) == (set(), {"own"})
    assert mltrack.active_run() is left  # its task is over, and left it to the thread
    left.end()


def test_a_copy_of_a_context_in_another_thread_logs_to_its_run_and_starts_others_freely() -> None:
    outside: list[mltrack.Run] = []

    def work() -> None:
        mltrack.log_metric("before", 1.0)
        with mltrack.start_run() as run:  # not nested: in a thread of its own nothing stands in its way
            outside.append(run)
            mltrack.log_metric("in the thread", 1.0)
        with mltrack.start_run(nested=True) as run:
            outside.append(run)

    async def main() -> None:
        await asyncio.to_thread(work)
        await asyncio.get_running_loop().run_in_executor(None, mltrack.log_metric, "executor", 1.0)

    with mltrack.start_run() as parent:
        asyncio.run(main())
        with ThreadPoolExecutor(1) as pool:
            context = contextvars.copy_context()
            pool.submit(context.run, mltrack.log_metric, "pool", 1.0).result()
    assert keys(parent) == {"before", "executor", "pool"}
    assert keys(outside[0]) == {"in the thread"}
    assert [run.info.parent_run_id for run in outside] == [None, parent.run_id]
    context.run(mltrack.log_metric, "after", 1.0)  # the context holds a run that has ended
    assert "after" not in keys(parent)
    mltrack.end_run()


def test_the_run_that_ended_last_is_the_last_active_one() -> None:
    assert mltrack.active_run() is None
    with mltrack.start_run() as parent:
        with mltrack.start_run(nested=True):
            pass
        assert mltrack.last_active_run() is parent
    assert mltrack.last_active_run() is parent


def test_the_run_of_a_thread_that_ended_blocks_no_other() -> None:
    in_thread(lambda: mltrack.start_run(run_name="left"))
    with mltrack.start_run() as own:
        mltrack.log_metric("a", 1.0)
    assert keys(own) == {"a"}

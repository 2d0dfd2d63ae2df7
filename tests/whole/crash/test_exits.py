"""The status of runs that a process leaves open is what its exit code says, however it comes about."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mltrack.store import Store
from tests.support.recording import run_python, start_python

ENDINGS = {
    "sys.exit()": ("FINISHED", 0),
    "sys.exit(0)": ("FINISHED", 0),
    "sys.exit(False)": ("FINISHED", 0),
    "sys.exit(256)": ("FINISHED", 0),  # what the system is given
    "sys.exit(3)": ("FAILED", 3),
    "sys.exit(-1)": ("FAILED", 255),
    "sys.exit(2**70)": ("FAILED", 255),  # as of any that is no C long
    "sys.exit('words')": ("FAILED", 1),
    "raise SystemExit": ("FINISHED", 0),
    "raise SystemExit(3)": ("FAILED", 3),
    "exit(2)": ("FAILED", 2),
    "quit(0)": ("FINISHED", 0),
    "argparse.ArgumentParser().parse_args(['--help'])": ("FINISHED", 0),
    "argparse.ArgumentParser().parse_args(['--wrong'])": ("FAILED", 2),
    "click.command()(lambda: None)(args=[])": ("FINISHED", 0),
    "click.command()(lambda: None)(args=['--wrong'])": ("FAILED", 2),
    "runpy.run_path(sys.argv[2], run_name='__main__')": ("FAILED", 7),
    "asyncio.run(main(4))": ("FAILED", 4),
    "mltrack.start_run(nested=True); sys.exit(3)": ("FAILED", 3),
    "threading.Thread(target=sys.exit, args=(3,)).start()": ("FINISHED", 0),
}
CAUGHT = """
import inspect, pickle
assert pickle.loads(pickle.dumps(sys.exit)) is sys.exit
assert str(inspect.signature(sys.exit)) == "(status=None, /)"
try: sys.exit(3)
except SystemExit as error: assert error.code == 3
try: raise SystemExit(4)
except SystemExit as error: error.code = 5; assert error.code == 5
"""


OPENINGS = {"open": "mltrack.start_run(); {}", "with": "with mltrack.start_run(): {}"}
WITH_TOO = ("sys.exit(0)", "sys.exit(3)", "raise SystemExit(3)", "asyncio.run(main(4))")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("opening", "code"),
    [
        pytest.param(line, code, id=f"{name}-{code}", marks=[pytest.mark.slow] if slow else [])
        for name, line in OPENINGS.items()
        for code in ENDINGS
        for slow in [name == "with" and code not in WITH_TOO]
    ],
)
def test_runs_end_with_the_exit_code_of_the_process(tmp_path: Path, code: str, opening: str) -> None:
    status, number = ENDINGS[code]
    other = tmp_path / "other.py"
    other.write_text("raise SystemExit(7)")
    script = f"""
import argparse, asyncio, click, runpy, sys, threading, mltrack
async def main(code): sys.exit(code)
mltrack.set_store(sys.argv[1])
with mltrack.start_run(run_name="first"): pass
{CAUGHT}
{opening.format(code)}
"""
    run_python(script, tmp_path / "s", other, status=number)
    found = Store.open(tmp_path / "s").search_runs(filter_string="attributes.run_name != 'first'")
    assert {(run.info.status, run.info.crashed) for run in found} == {(status, False)}


def test_a_caught_system_exit_does_not_decide_the_end(tmp_path: Path) -> None:
    code = f"import sys, mltrack\nmltrack.set_store(sys.argv[1])\nmltrack.start_run()\n{CAUGHT}"
    run_python(code, tmp_path / "s")
    assert [run.info.status for run in Store.open(tmp_path / "s").search_runs()] == ["FINISHED"]


def test_a_module_that_is_run_ends_its_run_by_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "import sys, mltrack\nmltrack.set_store(sys.argv[1])\nmltrack.start_run()\nraise SystemExit(int(sys.argv[2]))"
    )
    script = "import runpy; runpy.run_module('module', run_name='__main__')"
    for number, status in ((0, "FINISHED"), (9, "FAILED")):
        store = tmp_path / f"s{number}"
        run_python(script, store, number, env={"PYTHONPATH": str(tmp_path)}, status=number)
        assert [run.info.status for run in Store.open(store).search_runs()] == [status]


def test_ctrl_c_in_a_task_of_asyncio_kills_its_run(tmp_path: Path) -> None:
    code = """
import asyncio, os, signal, sys, mltrack
mltrack.set_store(sys.argv[1])
async def main():
    with mltrack.start_run():
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    process = start_python(code, tmp_path / "s")
    process.communicate(timeout=100)
    assert process.returncode != 0
    assert [run.info.status for run in Store.open(tmp_path / "s").search_runs()] == ["KILLED"]


CHILDREN = """
import multiprocessing, os, sys, mltrack

def open_run(store): mltrack.set_store(store); mltrack.start_run(run_name="open"); mltrack.log_metric("m", 1)
def left(store): open_run(store)
def exits(store): open_run(store); sys.exit(0)
def fails(store): open_run(store); sys.exit(3)
def raises(store): open_run(store); raise ValueError("child")
def leaves(store): open_run(store); os._exit(0)
def in_with(store):
    mltrack.set_store(store)
    with mltrack.start_run(run_name="with"): mltrack.log_metric("m", 1)
    os._exit(0)

WORK = {work.__name__: work for work in (left, exits, fails, raises, leaves, in_with)}

if __name__ == "__main__":
    store, method = sys.argv[1:]
    mltrack.set_store(store + "/parent")
    context = multiprocessing.get_context(method)
    with mltrack.start_run() as parent:
        children = [context.Process(target=work, args=(f"{store}/{name}",)) for name, work in WORK.items()]
        for child in children: child.start()
        for child in children: child.join()
        parent.log_metric("parent", 1.0)
    with context.Pool(2) as pool:
        pool.map(left, [store + "/pool"] * 1)
        pool.close()
        pool.join()
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_ends_its_own_run_as_its_exit_code_says(tmp_path: Path, method: str) -> None:
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    code = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    assert sys.executable
    run_python(code, script, tmp_path, method)
    found = {
        path.name: [(run.info.status, run.info.crashed) for run in Store.open(path).search_runs()]
        for path in tmp_path.iterdir()
        if path.is_dir()
    }
    assert found == {
        "parent": [("FINISHED", False)],
        "left": [("FINISHED", False)],
        "exits": [("FINISHED", False)],
        "fails": [("FAILED", False)],
        "raises": [("FAILED", False)],
        "leaves": [("FAILED", True)],  # nothing is called at its end
        "in_with": [("FINISHED", False)],
        "pool": [("FINISHED", False)],
    }

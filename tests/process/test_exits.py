from __future__ import annotations

import subprocess
import sys

from tests.support import ROOT

EXITING = """
import atexit
from mltrack.process.exits import Stage, at_exit, not_at_exit

def fail():
    print("fails", flush=True)
    raise OSError("the disk is full")

def gone():
    print("gone", flush=True)

at_exit(Stage.PLUGIN, lambda: print("plugin", flush=True))
atexit.register(lambda: print("mlflow", flush=True))
at_exit(Stage.RECORDING, lambda: print("recording", flush=True))
at_exit(Stage.RECORDING, gone)
at_exit(Stage.STORAGE, lambda: print("traces", flush=True))
at_exit(Stage.STORAGE, fail)
not_at_exit(gone)
"""

CHILD = """
import multiprocessing
from mltrack.process.exits import Stage, at_exit, is_child, on_end_of_child

def work():
    assert is_child()
    for stage in (Stage.JOURNAL, Stage.PLUGIN, Stage.STORAGE, Stage.RECORDING):
        on_end_of_child(stage, lambda name=stage.name: print(name.lower(), flush=True))
    for held in on_end_of_child(Stage.PLUGIN, lambda: print("cancelled", flush=True)):
        held.cancel()

at_exit(Stage.STORAGE, lambda: print("parent", flush=True))
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""


def test_hooks_run_around_those_of_libraries_by_their_stages_and_storage_last() -> None:
    done = subprocess.run([sys.executable, "-c", EXITING], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["recording", "mlflow", "plugin", "fails", "traces"]
    assert "the disk is full" in done.stderr


def test_a_child_of_multiprocessing_runs_its_own_hooks_by_their_stages_and_none_of_its_parents() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["plugin", "recording", "journal", "storage", "parent"]


def test_no_other_module_registers_hooks_of_its_own() -> None:
    found = {
        path.name
        for folder in ("src", "sync")
        for path in (ROOT / folder).rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in ("atexit.register(", "Finalize(", "import atexit"))
    }
    assert found == {"exits.py"}

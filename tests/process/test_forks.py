from __future__ import annotations

import subprocess
import sys

from tests.support import ROOT

FORKING = """
import os
from mltrack.process.forks import Stage, after_fork_in_child

def fail():
    print("fails", flush=True)
    raise OSError("the disk is full")

after_fork_in_child(Stage.PLUGIN, lambda: print("plugin", flush=True))
after_fork_in_child(Stage.DISK, fail)
after_fork_in_child(Stage.RECORDING, lambda: print("recording", flush=True))
after_fork_in_child(Stage.DISK, lambda: print("disk", flush=True))
if os.fork() == 0:
    os._exit(0)
os.wait()
"""


def test_hooks_run_by_their_stages_and_a_failing_one_stops_no_other() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["fails", "disk", "recording", "plugin"]
    assert "the disk is full" in done.stderr


def test_no_other_module_registers_hooks_of_its_own() -> None:
    found = [
        path.name
        for folder in ("src", "sync")
        for path in (ROOT / folder).rglob("*.py")
        if "register_at_fork(" in path.read_text(encoding="utf-8")
    ]
    assert found == ["forks.py"]

"""What ends a program whose run is asked to stop."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path

import psutil

from mltrack.launch.stopper import Stopper
from mltrack.recording import current_store, fluent
from mltrack.storage.runs.stop_file import set_stop

STUBBORN = "trap '' TERM; (trap '' TERM; while :; do sleep 0.05; done) & echo $!; wait"


def test_a_program_that_does_not_end_when_it_is_asked_to_is_killed_with_what_it_started(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / ".mltrack")
    said: list[str] = []
    with fluent.start_run() as run, subprocess.Popen(["sh", "-c", STUBBORN], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        child = psutil.Process(int(program.stdout.readline()))
        stopper = Stopper(run, said.append, grace_s=0.1)
        set_stop(run.folder)
        stopper.watch(program)
        try:
            assert program.communicate(timeout=60)[0] == b""  # at once when nobody has its output open
            assert program.returncode == -signal.SIGKILL
            stopper.stop()
        finally:
            program.kill()
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    assert said == ["it was asked to stop"]
    assert run.stored().tags["mltrack.stopped"] == "it was asked to stop"

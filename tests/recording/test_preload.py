"""What is loaded when a run starts, for the moments when nothing more can be opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ENDED_WITHOUT_DESCRIPTORS = """
import ctypes, os, resource, threading, time
import mltrack

mltrack.set_store("store")
run = mltrack.start_run()
library = ctypes.CDLL(None)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
ending = threading.Thread(target=lambda: library.pthread_exit(None), daemon=True)
ending.start()
try:
    while os.sched_getaffinity(ending.native_id):  # as long as the system knows the thread
        time.sleep(0.01)
except ProcessLookupError:
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's C library")
def test_a_thread_can_end_when_no_more_files_can_be_opened(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDED_WITHOUT_DESCRIPTORS], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")

"""Large files that runs recorded, and what of them came to a server, and past it to an object store."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import mltrack
from tests.support.object_store import ObjectStore
from tests.support.pair import Pair
from tests.support.proxy import Fault, Seen

PART = 5 << 20
CONTENT = random.Random(7).randbytes(3 * PART + 12_345)
PARTS = [1, 2, 3, 4]
NAME = "größe.bin"


class LargeFiles:
    """Records files of several parts, and looks for them where the pair's server keeps them."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.pair = pair
        self._folder = folder

    def record(self, content: bytes = CONTENT) -> str:
        """A run with a file; returns its id."""
        path = self._folder / NAME
        path.write_bytes(content)
        with mltrack.start_run() as run:
            mltrack.log_artifact(path, "models")
            return run.run_id

    def arrived(self, run_id: str) -> bytes:
        """The run's file, as the server has it."""
        return self.pair.server.artifact(self.pair.server.runs(self.pair.experiment)[run_id], f"models/{NAME}")

    @property
    def puts(self) -> int:
        """Files that went through the server."""
        return sum(seen.method == "PUT" for seen in self.pair.proxy.seen)

    def asked(self, call: str) -> int:
        """Requests about uploads in parts: create, complete, abort."""
        return sum(f"mpu/{call}" in seen.path for seen in self.pair.proxy.seen)

    @property
    def log(self) -> Path:
        """The upload log."""
        return self.pair.ledger_path.parent / "uploads.jsonl"

    def assert_arrived_in_parts(self, run_id: str, objects: ObjectStore) -> None:
        """The file is there, by each part once, and nothing is left of the upload."""
        assert self.arrived(run_id) == CONTENT
        assert sorted(objects.parts) == PARTS
        assert objects.uploads() == []
        assert not self.log.exists()


def fail_part(number: int, fault: Fault, times: int = 1) -> Callable[[Seen], Fault]:
    """Spoils the n-th PUT that comes to the object store, and those after it, so many times."""
    left = [times]

    def spoil(seen: Seen) -> Fault:
        if seen.method == "PUT" and seen.number >= number and left[0] > 0:
            left[0] -= 1
            return fault
        return None

    return spoil


def killed_when(pair: Pair, reached: threading.Event) -> None:
    """A real sync, killed once the moment is reached."""
    command = [sys.executable, "-m", "mltrack", "--store", str(pair.store.path), "sync", pair.remote.name]
    process = subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.DEVNULL)
    while not reached.wait(0.01) and process.poll() is None:
        pass
    assert process.poll() is None
    process.kill()
    process.wait()

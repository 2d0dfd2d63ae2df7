"""Processes that use MLflow, each forked from one that has imported it and done nothing else: importing takes long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["Template"]

_TEMPLATE = """
import json, os, signal, sys, threading
import mlflow, mlflow.tracking.fluent
import mltrack.mlflow_plugin.tracking
for line in sys.stdin:
    job = json.loads(line)
    children = []
    for number in range(job["count"]):
        child = os.fork()
        if child == 0:
            os.environ["MLFLOW_TRACKING_URI"] = job["uri"]
            out = os.open(job["out"] + str(number), os.O_CREAT | os.O_WRONLY)
            os.dup2(out, 1)
            os.dup2(out, 2)
            exec(job["script"], {"NUMBER": number, "__name__": "__main__"})
            sys.exit()
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(codes), flush=True)
"""


class Template:
    """The process that others are forked from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TEMPLATE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"},
        )

    def run(self, folder: Path, *lines: str, count: int = 1, code: int = 0) -> None:
        """Run lines of Python in ``count`` processes at once, each with its NUMBER, on the store in a folder."""
        out = folder / "output."
        script = "\n".join(["import os, signal, sys, threading, mlflow", "from mlflow import MlflowClient", *lines])
        job = {"uri": f"mltrack://{folder}/.mltrack", "out": str(out), "count": count, "script": script}
        codes = self._asked(job)
        said = "\n".join(Path(f"{out}{number}").read_text() for number in range(count))
        assert codes == [code] * count, said
        assert "Traceback" not in said, said

    def _asked(self, job: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()

"""An MLflow server that is up again in a moment after it was killed: forked from a process that has all imported.

``python -m tests.support.forked_server FOLDER PORT`` forks one for each line of its input and answers with the
process id.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support import ROOT
from tests.support.server import START_TIMEOUT_S, MlflowServer


class ForkedServer(MlflowServer):
    """Killed by its id; the id stays taken until the next start."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        with open(folder / "server.log", "ab") as log:
            self._forker = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forked_server", str(folder), str(self.port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                text=True,
                env={**environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )
        self._pid = 0

    def start(self) -> None:
        """Return when it answers."""
        assert self._forker.stdin is not None and self._forker.stdout is not None
        self._forker.stdin.write("\n")
        self._forker.stdin.flush()
        self._pid = int(self._forker.stdout.readline())
        until = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > until:
                raise RuntimeError((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.02)

    def kill(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = 0

    def close(self) -> None:
        super().close()
        self._forker.communicate()


def fork_for_each_line(folder: str, port: int) -> None:
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{folder}/mlflow.db"
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = f"{folder}/artifacts"
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    import uvicorn
    from mlflow.server.fastapi_app import app
    from mlflow.store.artifact import local_artifact_repo  # noqa: F401
    from mlflow.store.tracking import sqlalchemy_store  # noqa: F401

    _make_tables(folder)
    pid = 0
    for _ in sys.stdin:
        if pid:
            os.waitpid(pid, 0)
        pid = os.fork()
        if not pid:
            uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
            os._exit(0)
        print(pid, flush=True)
    if pid:  # whoever had it started is gone
        os.kill(pid, signal.SIGKILL)
    os._exit(0)  # without taking all that was imported down piece by piece


def _make_tables(folder: str) -> None:
    """Here, and not with the first request; in a process of its own, as no connection may go through a fork."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    pid = os.fork()
    if not pid:
        SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts")
        os._exit(0)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    fork_for_each_line(sys.argv[1], int(sys.argv[2]))

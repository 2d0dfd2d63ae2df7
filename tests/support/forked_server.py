"""An MLflow server that is up again in a moment after it was killed: forked from a process that has all imported.

``python -m tests.support.forked_server FOLDER PORT`` starts or kills one for each line of its input, ``start`` or
``kill``, and answers with a line when that is done. As under ``mlflow server``, one that ends by itself is replaced;
the log says how it ended.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support import ROOT
from tests.support.server import START_TIMEOUT_S, MlflowServer

ENDED = "ended by itself"
ended_by_themselves: list[str] = []
"""Log lines of servers that nobody killed, for the summary of the tests."""


class ForkedServer(MlflowServer):
    """Killed by the process that forked it."""

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

    def start(self) -> None:
        """Return when it answers."""
        self._tell("start")
        until = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > until:
                raise RuntimeError((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.02)

    def kill(self) -> None:
        if self._forker.poll() is None:
            self._tell("kill")

    def close(self) -> None:
        super().close()
        self._forker.communicate()
        log = (self.folder / "server.log").read_text(errors="replace")
        if ENDED in log:
            ended_by_themselves.append(log[-4000:])

    def _tell(self, word: str) -> None:
        assert self._forker.stdin is not None and self._forker.stdout is not None
        self._forker.stdin.write(f"{word}\n")
        self._forker.stdin.flush()
        assert self._forker.stdout.readline() == f"{word}\n"


class Forker:
    """Forks ``serve``, again when that ends without having been killed."""

    def __init__(self, serve: Callable[[], None]) -> None:
        self._serve = serve
        self._pid = 0
        signal.signal(signal.SIGCHLD, self._replace)

    def start(self) -> None:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            faulthandler.enable()
            self._serve()
            os._exit(0)
        self._pid = pid

    def kill(self) -> None:
        pid, self._pid = self._pid, 0
        if pid:
            os.kill(pid, signal.SIGKILL)  # dead or not, it was not waited for: the id is its own
            os.waitpid(pid, 0)

    def _replace(self, *_: object) -> None:
        if not self._pid:
            return
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._pid = 0
            print(f"server {pid} {ENDED}: {os.waitstatus_to_exitcode(status)}", file=sys.stderr, flush=True)
            time.sleep(0.1)  # where it always ends at once
            self.start()


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
    forker = Forker(lambda: uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning"))
    for line in sys.stdin:
        forker.start() if line == "start\n" else forker.kill()
        print(line, end="", flush=True)
    forker.kill()  # whoever had it started is gone
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

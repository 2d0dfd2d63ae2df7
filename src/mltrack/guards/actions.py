"""What is done when a guard fires: the run is tagged and asked to stop, a command is started, a webhook is called."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.environment import (
    MLTRACK_ALERT_MESSAGE,
    MLTRACK_ALERT_RULE,
    MLTRACK_ALERT_RUN_ID,
    MLTRACK_ALERT_RUN_NAME,
    MLTRACK_STORE,
)
from mltrack.storage.runs.alerts import append_action, claim_action
from mltrack.storage.runs.stop_file import set_stop
from mltrack.text.figures import utc_ns
from mltrack.text.redaction import hide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mltrack.disk.layout import Layout
    from mltrack.entities import Alert, RunInfo
    from mltrack.guards.rules import Guard

__all__ = ["DONE", "STARTED", "Actions", "facts_of", "is_process", "is_undone", "post"]

DONE = "done"
STARTED = "started"

COMMAND_TIMEOUT_S = 600.0
WEBHOOK_TIMEOUT_S = 5.0
WEBHOOK_ATTEMPTS = 5
WEBHOOK_PAUSE_S = 0.5
OUTPUT_CHARACTERS_MAX = 300

_CALLING = re.compile(r"calling from (.+):([0-9]{1,9})", re.DOTALL)

_VARIABLES = {
    "rule": MLTRACK_ALERT_RULE,
    "message": MLTRACK_ALERT_MESSAGE,
    "run_id": MLTRACK_ALERT_RUN_ID,
    "run_name": MLTRACK_ALERT_RUN_NAME,
}
"""What of an alert a command gets in its environment."""


def _calling() -> str:
    return f"calling from {socket.gethostname()}:{os.getpid()}"


def is_undone(outcome: str) -> bool:
    """Whether an action is still to be done: it was not begun, or the process that called a webhook is gone."""
    found = _CALLING.fullmatch(outcome)
    return not outcome or (found is not None and not is_process(found[1], int(found[2])))


def is_process(host: str, pid: int) -> bool:
    """Whether a process of that number runs, if it is one of this host; another host's is taken to run."""
    if host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def facts_of(alert: Alert, info: RunInfo) -> dict[str, Any]:
    """An alert for a program: what a webhook and a command get. ``text`` is a sentence, as chat programs show it."""
    return {
        "text": f"mltrack: {info.run_name}: {alert.message}",
        "alert_id": alert.alert_id,
        "rule": alert.rule,
        "condition": alert.condition,
        "message": alert.message,
        "time": utc_ns(alert.time),
        "metric": alert.metric or None,
        "step": alert.step,
        "value": None if alert.value is None else repr(alert.value),
        "run_id": info.run_id,
        "run_name": info.run_name,
        "experiment": info.experiment_name,
    }


def post(url: str, facts: dict[str, Any], key: str, *, sleep: Callable[[float], None] = time.sleep) -> str:
    """Post to a webhook, again if it is busy or can't be reached; returns how that went. ``key`` names the alert."""
    import httpx
    from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    host = urlsplit(url).hostname or ""

    class Busy(Exception):
        pass

    def once() -> str:
        answer = httpx.post(url, json=facts, headers={"Idempotency-Key": key}, timeout=WEBHOOK_TIMEOUT_S)
        if answer.status_code == 429 or answer.status_code >= 500:
            raise Busy(f"{host} answered {answer.status_code}")
        return DONE if answer.is_success else f"failed: {host} answered {answer.status_code}"

    attempts = Retrying(
        sleep=sleep,
        stop=stop_after_attempt(WEBHOOK_ATTEMPTS),
        wait=wait_exponential(multiplier=WEBHOOK_PAUSE_S, max=10),
        retry=retry_if_exception_type((httpx.TransportError, Busy)),
    )
    try:
        return attempts(once)
    except RetryError as error:
        cause = error.last_attempt.exception()
        return hide(f"failed: {cause}" if isinstance(cause, Busy) else f"failed: {host}: {type(cause).__name__}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return hide(f"failed: {host}: {type(error).__name__}")


def run_command(command: tuple[str, ...], facts: dict[str, Any], store: Path) -> str:
    """Run a program with an alert, to its end, with the store as its own; returns how that went."""
    variables = {variable: str(facts[name]) for name, variable in _VARIABLES.items()}
    try:
        done = subprocess.run(
            list(command),
            input=json.dumps(facts).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables, MLTRACK_STORE: str(store)},
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"failed: {command[0]} was ended after {COMMAND_TIMEOUT_S:.0f} s"
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return hide(f"failed: {command[0]}: {words}")
    if not done.returncode:
        return DONE
    said = hide(done.stdout.decode(errors="replace").strip())[-OUTPUT_CHARACTERS_MAX:]
    return f"failed: exit code {done.returncode}{f': {said}' if said else ''}"


@dataclass(frozen=True, slots=True)
class Actions:
    """Does what guards say, for the alerts of one run, and records how it went.

    Tags come with the alert itself. Asking to stop twice changes nothing. A command is started at most once: that it is
    to be is recorded before. A webhook is called until it has answered, so it may get an alert twice, with one key.
    """

    layout: Layout
    info: Callable[[], RunInfo]
    in_background: Callable[[Callable[[], None]], None]
    fs: FileSystem = LOCAL

    def perform(self, guard: Guard, alert: Alert) -> None:
        """Do what is left to do for an alert.

        Raises:
            MltrackError, OSError: something can't be recorded.
        """
        run_id = self.info().run_id
        if "stop" in alert.actions:
            set_stop(self.layout.run(run_id), fs=self.fs)
        facts = facts_of(alert, self.info())
        command = tuple(guard.command)
        if command and alert.actions.get("command") == "" and self._claim(alert, "command", STARTED):
            self.in_background(lambda: self._note(alert, "command", run_command(command, facts, self.layout.root)))
        if (
            guard.webhook
            and is_undone(alert.actions.get("webhook", DONE))
            and self._claim(alert, "webhook", _calling())
        ):
            key = f"{run_id}.{alert.alert_id}"
            self.in_background(lambda: self._note(alert, "webhook", post(guard.webhook, facts, key)))

    def _claim(self, alert: Alert, action: str, outcome: str) -> bool:
        return claim_action(self.layout, alert, self.info().run_id, action, outcome, fs=self.fs)

    def _note(self, alert: Alert, action: str, outcome: str) -> None:
        append_action(self.layout, self.info().run_id, alert.alert_id, action, outcome, fs=self.fs)

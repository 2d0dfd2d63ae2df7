"""``kill -9`` of whoever watches, at any moment: each rule fires once, and what is to be done is done by the next."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mltrack.recording import current_store, fluent
from mltrack.store import Store
from tests.support.raw_server import RawServer, answer, raw_server

RULES = 60
KILLS = 25
WATCHERS = 2


def rules_file(folder: Path, webhook: str) -> Path:
    """A rule for each metric, with a command that adds a line to a file of its own, and a webhook."""
    path = folder / "rules.toml"
    tables = [
        f"[guards.rule-{n}]\nwhen = 'm{n} is NaN for 2 points'\ntag = 'tag-{n}'\n"
        f"command = ['sh', '-c', 'echo $MLTRACK_ALERT_RULE >> {folder}/ran-{n}']\nwebhook = '{webhook}'\n"
        for n in range(RULES)
    ]
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


@pytest.mark.slow
def test_each_rule_fires_once_though_watchers_are_killed(tmp_path: Path) -> None:
    with raw_server(lambda connection, request: connection.sendall(answer())) as server:
        keys = watched(tmp_path, random.Random(1), f"{server.url}/hook", server)
    assert keys == RULES


def watched(tmp_path: Path, chance: random.Random, webhook: str, server: RawServer) -> int:
    """Watch a run, kill the watchers, and look at the alerts; returns of how many the webhook was told."""
    store = tmp_path / ".mltrack"
    current_store.set_store(store)
    run = fluent.start_run(run_name="watched")
    words = ["-m", "mltrack", "--store", str(store), "watch", "--guards", str(rules_file(tmp_path, webhook))]
    watchers: list[subprocess.Popen[bytes]] = []
    logged = 0

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    try:
        for _ in range(KILLS):
            watchers += [start() for _ in range(WATCHERS - len(watchers))]
            for _ in range(chance.randrange(4)):
                if logged < RULES:
                    run.log_metric(f"m{logged}", math.nan, 1)
                    run.log_metric(f"m{logged}", math.nan, 2)
                    logged += 1
            time.sleep(chance.uniform(0, 1.2))
            watcher = watchers.pop(chance.randrange(len(watchers)))
            watcher.send_signal(signal.SIGKILL)
            watcher.wait()
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.wait()
    for n in range(logged, RULES):
        run.log_series(f"m{n}", [math.nan, math.nan])
    for _ in range(2):  # the second finds nothing left to do
        subprocess.run([sys.executable, *words, "--once"], check=True, capture_output=True)
    alerts = Store.open(store).run(run.run_id).alerts()
    assert sorted(alert.rule for alert in alerts) == sorted(f"rule-{n}" for n in range(RULES))
    assert {alert.actions["tag"] for alert in alerts} == {"done"}
    assert {alert.actions["command"] for alert in alerts} <= {"done", "started"}
    assert {alert.actions["webhook"] for alert in alerts} == {"done"}
    for n in range(RULES):
        ran = tmp_path / f"ran-{n}"
        done = next(alert for alert in alerts if alert.rule == f"rule-{n}").actions["command"] == "done"
        assert (ran.read_text() if ran.exists() else "") in (f"rule-{n}\n", *([] if done else [""]))
    assert {f"tag-{n}" for n in range(RULES)} <= run.data.tags.keys()
    return len(
        {line for seen in server.seen for line in seen.split(b"\r\n") if line.lower().startswith(b"idempotency")}
    )

"""A lake on S3, against moto's server in a process of its own: as in a folder, and when answers to commits are lost."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes
from tests.support.object_store import S3Proxy
from tests.support.proxy import Fault, LoseAnswer, Seen

BUCKET = "lakes"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of an S3 with a bucket."""
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], **quiet)  # type: ignore[call-overload]
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.1)
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=url, **keys)
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield url
    finally:
        process.terminate()
        process.wait()


class Machine:
    """A store whose commands reach S3 through a proxy."""

    def __init__(self, path: Path, url: str, place: str) -> None:
        self.path = path
        self._env = os.environ | {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }
        mltrack.set_store(path)
        with mltrack.start_run(run_name="on s3"):
            mltrack.log_param("lr", 0.1)
            for step in range(50):
                mltrack.log_metric("loss", 1 / (step + 1), step=step)
            mltrack.log_text("notes", "notes.txt")
        mltrack.set_store(None)
        Remotes(Store.open(path)).add("lake", place)

    def run(self, *args: str) -> Any:
        """What a command prints as JSON."""
        command = [sys.executable, "-m", "mltrack", "--store", str(self.path), *args, "--json"]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)


def test_a_lake_on_s3_is_pushed_to_verified_and_asked(moto: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "store", moto, f"s3://{BUCKET}/plain")
    assert machine.run("sync", "lake")["points"] == 50
    assert machine.run("sync", "lake")["points"] == 0
    assert machine.run("verify", "lake")["differences"] == []
    query = "SELECT key, count(*) AS n FROM metrics GROUP BY key"
    assert machine.run("sql", "--remote", "lake", query) == [{"key": "loss", "n": 50}]
    secrets = [path for path in machine.path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    assert secrets == []


@pytest.mark.parametrize("table", ["points", "runs"])
def test_a_commit_whose_answer_the_network_lost_is_made_once(moto: str, tmp_path: Path, table: str) -> None:
    lost: list[str] = []

    def lose_the_first(seen: Seen) -> Fault:
        if seen.method == "PUT" and seen.path.endswith(f"{table}/_delta_log/00000000000000000001.json") and not lost:
            lost.append(seen.path)
            return LoseAnswer()
        return None

    with contextlib.closing(S3Proxy(moto)) as proxy:
        proxy.fault = lose_the_first
        machine = Machine(tmp_path / "store", proxy.url, f"s3://{BUCKET}/lost-{table}")
        assert machine.run("sync", "lake")["points"] == 50
        assert len(lost) == 1
        assert machine.run("verify", "lake")["differences"] == []
        status = {each["table"]: each for each in machine.run("lake", "status", "lake")}
        assert (status[table]["version"], status["points"]["rows"]) == (1, 50)

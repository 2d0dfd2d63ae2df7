"""A lake on S3, against moto's server in a process of its own: as in a folder, and when answers to commits are lost."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lake_machine import Machine, free_port, served
from tests.support.object_store import S3Proxy
from tests.support.proxy import Fault, LoseAnswer, Seen

BUCKET = "lakes"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The address of an S3 with a bucket."""
    import boto3

    port = free_port()
    with served([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port) as url:
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=url, **keys)
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield url


def machine_at(path: Path, url: str, name: str) -> Machine:
    """A store whose commands reach S3 at a URL."""
    env = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }
    return Machine(path, env, f"s3://{BUCKET}/{name}")


def test_a_lake_on_s3_is_pushed_to_verified_and_asked(moto: str, tmp_path: Path) -> None:
    machine = machine_at(tmp_path / "store", moto, "plain")
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
        machine = machine_at(tmp_path / "store", proxy.url, f"lost-{table}")
        assert machine.run("sync", "lake")["points"] == 50
        assert len(lost) == 1
        assert machine.run("verify", "lake")["differences"] == []
        status = {each["table"]: each for each in machine.run("lake", "status", "lake")}
        assert (status[table]["version"], status["points"]["rows"]) == (1, 50)

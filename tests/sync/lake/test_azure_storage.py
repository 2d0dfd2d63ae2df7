"""A lake on Azure's storage, against Azurite, Microsoft's own emulator: as in a folder, and under kills.

It is skipped where Azurite is not installed: npm install azurite, with node_modules/.bin on the PATH.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from mltrack.store import Store
from tests.support.lake_machine import Machine, free_port, served
from tests.support.object_store import S3Proxy
from tests.support.proxy import Fault, LoseAnswer, Seen

AZURITE = shutil.which("azurite-blob")
ACCOUNT, CONTAINER = "devstoreaccount1", "lakes"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, which everybody knows."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(AZURITE is None, reason="no azurite-blob: npm install azurite, and put its .bin on the PATH"),
]


@pytest.fixture(scope="module")
def azurite() -> Iterator[str]:
    """The address of a storage with a container."""
    port = free_port()
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    with served([str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port), *options], port) as url:
        make_container(url)
        yield url


def make_container(url: str) -> None:
    """Make the container, in a request that is signed by hand."""
    now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": now, "x-ms-version": "2021-08-06"}
    named = "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed = f"PUT{12 * chr(10)}{named}/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    answer = httpx.put(f"{url}/{ACCOUNT}/{CONTAINER}?restype=container", headers=headers)
    assert answer.status_code == 201, answer.text


def machine_at(path: Path, url: str, name: str) -> Machine:
    """A store whose commands reach the emulator at a URL."""
    env = {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": url}
    return Machine(path, env, f"abfss://{CONTAINER}@{ACCOUNT}.dfs.core.windows.net/{name}")


def test_a_lake_on_azure_is_pushed_to_joined_verified_and_pulled(azurite: str, tmp_path: Path) -> None:
    machine = machine_at(tmp_path / "store", azurite, "plain")
    for points in range(1, 5):
        assert machine.run("sync", "lake")["points"] == (50 if points == 1 else points)
        machine.record(points + 1)
    machine.run("sync", "lake")
    machine.run("lake", "compact", "lake")
    status = {each["table"]: each for each in machine.run("lake", "status", "lake")}
    assert (status["runs"]["files"], status["runs"]["rows"], status["points"]["rows"]) == (1, 5, 64)
    assert machine.run("verify", "lake")["differences"] == []
    query = "SELECT key, count(*) AS n FROM metrics GROUP BY key"
    assert machine.run("sql", "--remote", "lake", query) == [{"key": "loss", "n": 64}]
    other = machine_at(tmp_path / "other", azurite, "plain")
    assert other.run("pull", "lake")["points"] == 64
    mine, theirs = Store.open(machine.path), Store.open(other.path)
    for run_id in mine.run_ids():
        assert theirs.run(run_id).metrics("loss").equals(mine.run(run_id).metrics("loss"))
        (notes,) = mine.run(run_id).artifacts
        assert theirs.run(run_id).artifacts == [notes]
        assert (theirs.run(run_id).folder.artifacts / notes.path).is_file()


@pytest.mark.parametrize("table", ["points", "runs"])
def test_a_commit_whose_answer_the_network_lost_is_made_once(azurite: str, tmp_path: Path, table: str) -> None:
    lost: list[str] = []

    def lose_the_first(seen: Seen) -> Fault:
        if seen.method == "PUT" and seen.path.endswith(f"{table}/_delta_log/00000000000000000001.json") and not lost:
            lost.append(seen.path)
            return LoseAnswer()
        return None

    with contextlib.closing(S3Proxy(azurite)) as proxy:
        proxy.fault = lose_the_first
        machine = machine_at(tmp_path / "store", proxy.url, f"lost-{table}")
        assert machine.run("sync", "lake")["points"] == 50
        assert len(lost) == 1
        assert machine.run("verify", "lake")["differences"] == []
        status = {each["table"]: each for each in machine.run("lake", "status", "lake")}
        assert (status[table]["version"], status["points"]["rows"]) == (1, 50)


def test_machines_that_push_at_once_all_arrive(azurite: str, tmp_path: Path) -> None:
    machines = [machine_at(tmp_path / f"store {number}", azurite, "many") for number in range(3)]
    for process in [machine.start("sync", "lake") for machine in machines]:
        out, said = process.communicate(timeout=120)
        assert process.returncode == 0, said + out
    for machine in machines:
        assert machine.run("verify", "lake")["differences"] == []


@pytest.mark.timeout(1200)
def test_killed_at_random_requests_nothing_is_lost_or_twice(azurite: str, tmp_path: Path) -> None:
    chance = random.Random(15)
    with contextlib.closing(S3Proxy(azurite)) as proxy:
        machine = machine_at(tmp_path / "store", proxy.url, "killed")
        deaths = 0
        for number in range(6):
            deaths += machine.push_and_die(proxy, chance.randint(1, 90), arrives=chance.random() < 0.5)
            if number % 3 == 0:
                machine.record(chance.randint(1, 50))
        machine.run("sync", "lake")
        assert machine.run("verify", "lake")["differences"] == []
        assert machine.run("sync", "lake")["runs"] == 0
        assert deaths > 1

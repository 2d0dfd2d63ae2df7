"""The recipes of docs/roads.md, typed block by block as the page has them, on two machines that are two folders."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from tests.support import ROOT
from tests.support.forked_server import ForkedServer
from tests.support.pages import Block, blocks_in
from tests.support.server import MlflowServer
from tests.support.server_content import make_experiment, make_run, make_version, put_file, series
from tests.support.ssh_server import NO_SSHD, SshServer, has_ssh
from tests.support.written_runs import write_run

PAGE = ROOT / "docs" / "roads.md"


def recipe(title: str) -> list[Block]:
    """The blocks of one section of the page."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return blocks_in(text)


class Machine:
    """A home folder with a project, and a shell in it. Paths of the page are folders of the test."""

    def __init__(self, home: Path, places: dict[str, str]) -> None:
        self.home, self.project, self._places = home, home / "project", places
        (home / "bin").mkdir(parents=True)
        self.project.mkdir()
        ssh = home / "bin" / "ssh"  # the real one asks the system for the home folder, and not the environment
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F "$HOME/.ssh/config" "$@"\n')
        ssh.chmod(0o755)

    @property
    def store(self) -> Store:
        return Store.open(self.project / ".mltrack")

    def record(self, *names: str) -> None:
        """Runs in the project's store."""
        path = self.project / ".mltrack"
        store = Store.open(path) if path.exists() else Store.create(path)
        for name in names:
            write_run(store, name=name, metrics={"loss": [(step, 1 / (step + 1)) for step in range(50)]})

    def type(self, block: Block) -> str:
        """Type a block; each command of it must succeed."""
        text = block.text
        for shown, real in self._places.items():
            text = text.replace(shown, real)
        path = os.pathsep.join([str(self.home / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.project,
            env={"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def assert_same(one: Store, other: Store) -> None:
    """Both have the same runs, and nothing is wrong with them."""
    assert one.run_ids() == other.run_ids()
    for run_id in one.run_ids():
        assert one.run(run_id).metrics().equals(other.run(run_id).metrics())
    for store in (one, other):
        assert [str(finding) for finding in check_store(store.path).findings] == []


def test_every_block_of_the_page_that_is_typed_is_run_here() -> None:
    titles = re.findall(r"^## (.*)$", PAGE.read_text(), re.MULTILINE)
    run = {title for title in titles if any(b.language == "sh" for b in recipe(title))}
    own = {"A USB disk", "A data diode", "A cluster behind a login node"}
    assert run == own | {"Long histories", "To repair a remote", "Moving a server"}


@pytest.mark.slow
def test_the_recipe_for_a_usb_disk(tmp_path: Path) -> None:
    (tmp_path / "media" / "usb").mkdir(parents=True)
    places = {"/media/usb": str(tmp_path / "media" / "usb")}
    here, there = Machine(tmp_path / "here", places), Machine(tmp_path / "there", places)
    here.record("a", "b")
    out, back = recipe("A USB disk")
    here.type(out)
    assert there.type(back).count("Default") == 2
    assert_same(here.store, there.store)
    here.record("c")
    assert "1 (1 new)" in here.type(out)
    there.type(back._replace(text=back.text.replace("mltrack init", "true")))
    assert_same(here.store, there.store)


@pytest.mark.slow
def test_the_recipe_for_a_data_diode(tmp_path: Path) -> None:
    low, high = Machine(tmp_path / "low", {}), Machine(tmp_path / "high", {})
    low.record("a", "b")
    first, arrived, accepted = recipe("A data diode")
    low.type(first)
    shutil.copy(low.project / "week-1.mltb", high.project)
    high.type(arrived)
    assert_same(low.store, high.store)
    shutil.copy(high.project / "week-1.receipt", low.project)
    low.record("c")
    assert "week-2.mltb: 1 run" in low.type(accepted)
    shutil.copy(low.project / "week-2.mltb", high.project)
    second = arrived._replace(text=arrived.text.replace("week-1", "week-2").replace("mltrack init", "true"))
    high.type(second)
    assert_same(low.store, high.store)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[SshServer, SshServer]]:
    """The login node, and the node behind it."""
    if not has_ssh():
        pytest.skip(NO_SSHD)
    login, node = SshServer(tmp_path / "login"), SshServer(tmp_path / "node")
    try:
        yield login, node
    finally:
        login.close()
        node.close()


def write_config(machine: Machine, block: Block, servers: tuple[SshServer, SshServer]) -> None:
    """The page's ~/.ssh/config, with where the two nodes are in this test, and keys."""
    text = block.text.replace("User me", f"User {getpass.getuser()}")
    known = []
    for name, server in zip(("login.example.org", "node7"), servers, strict=True):
        keys = f"Port {server.port}\n    IdentityFile {server.folder}/user_key"
        text = text.replace(f"HostName {name}", f"HostName 127.0.0.1\n    {keys}")
        known.append((server.folder / "known_hosts").read_text())
    folder = machine.home / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "known").write_text("".join(known))
    (folder / "config").write_text(f"{text}\nHost *\n    IdentitiesOnly yes\n    UserKnownHostsFile {folder}/known\n")


@pytest.mark.slow
def test_the_recipe_for_a_cluster_behind_a_login_node(tmp_path: Path, servers: tuple[SshServer, SshServer]) -> None:
    scratch = tmp_path / "scratch" / "me"
    laptop = Machine(tmp_path / "laptop", {"/scratch/me": str(scratch)})
    config, both_ways = recipe("A cluster behind a login node")
    write_config(laptop, config, servers)
    laptop.record("from the laptop")
    cluster = Store.create(scratch / ".mltrack")
    write_run(cluster, name="from the cluster", metrics={"loss": [(0, 1.0)]})
    laptop.type(both_ways)
    assert_same(laptop.store, cluster)
    assert len(cluster.run_ids()) == 2
    for server in servers:  # each let us in: the way led through the login node
        assert "Accepted publickey" in (server.folder / "sshd.log").read_text()
    assert "nothing to send" in laptop.type(both_ways)


# --- with MLflow servers ---


@pytest.fixture
def two_servers(tmp_path: Path) -> Iterator[tuple[MlflowServer, MlflowServer]]:
    """Two real servers, each with a database of its own."""
    found = []
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            found.append(ForkedServer(tmp_path / name))
            found[-1].start()
        yield found[0], found[1]
    finally:
        for server in found:
            server.close()


@pytest.mark.slow
def test_the_recipes_for_long_histories_and_for_repairs(
    tmp_path: Path, two_servers: tuple[MlflowServer, MlflowServer]
) -> None:
    lab, _ = two_servers
    here, there = Machine(tmp_path / "here", {}), Machine(tmp_path / "there", {})
    mltrack.set_store(here.project / ".mltrack")
    mltrack.set_experiment("mine")
    with mltrack.start_run(run_name="long") as run:
        for step in range(20_000):
            mltrack.log_metric("loss", 1 / (step + 1), step=step)
    mltrack.set_store(None)
    run_id = run.run_id
    add = Block("sh", "", f"mltrack remote add lab {lab.url}")
    for machine in (here, there):
        machine.type(add._replace(text=f"mltrack init || true; {add.text}"))
    (send,) = recipe("Long histories")
    assert "(1 new)" in here.type(send)
    (row,) = lab.runs("mine").values()
    sent = sum(1 for _ in lab.history(row["info"]["run_id"], "loss"))
    assert 1_000 < sent <= 4_000  # about N to 2N, with N = 2,000
    for command in ("verify", "pull"):  # as the text below the block says
        (here if command == "verify" else there).type(add._replace(text=f"mltrack {command} lab"))
    assert there.store.run(run_id).metrics().equals(here.store.run(run_id).metrics())
    root = row["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    (spoiled, *_) = sorted((lab.folder).glob(f"**/{root}/mltrack/segments/*.parquet"))
    spoiled.write_bytes(b"x" * spoiled.stat().st_size)
    (repair,) = recipe("To repair a remote")
    look, *rest = repair.text.splitlines()
    assert "difference" in here.type(repair._replace(text=f"{look.partition('#')[0]} || true"))
    here.type(repair._replace(text="\n".join(rest)))


@pytest.mark.slow
def test_the_recipe_for_moving_a_server(tmp_path: Path, two_servers: tuple[MlflowServer, MlflowServer]) -> None:
    old, new = two_servers
    experiment = make_experiment(old, "theirs")
    run_id = make_run(old, experiment, points=series("m", 1500), params={"lr": "0.1"}, tags={"team": "red"})
    put_file(old, run_id, "model/weights.bin", b"1234")
    source = old.get("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"]
    make_version(old, "tree", f"{source}/model", run_id=run_id)
    mover = Machine(tmp_path / "mover", {"https://old.example.org": old.url, "https://new.example.org": new.url})
    (block,) = recipe("Moving a server")
    said = mover.type(block._replace(text=f"mltrack init; {block.text}"))
    assert "0 differences" in said
    (row,) = new.runs("theirs").values()
    assert sum(1 for _ in new.history(row["info"]["run_id"], "m")) == 1500
    assert "nothing to send" in mover.type(block._replace(text="mltrack pull old && mltrack sync new"))

"""The demonstration, in small: what it records, its server, its count of both sides; and it leaves nothing running."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from mltrack.cli import main
from mltrack.demo.compare import Counts, count_local, count_remote
from mltrack.demo.server import free_port, mlflow_server
from mltrack.demo.training import EXPERIMENT, sweep, trials
from mltrack.errors import RemoteError
from mltrack.recording import current_store
from mltrack.store import Store

pytestmark = pytest.mark.slow

POINTS = 800


@pytest.fixture
def recorded(tmp_path: Path) -> Store:
    current_store.set_store(tmp_path / "store")
    sweep(trials(POINTS), done=lambda trial, accuracy: None, advanced=lambda steps: None)
    current_store.set_store(None)
    return Store.open(tmp_path / "store")


def test_about_as_many_points_as_requested_are_recorded() -> None:
    for points in (5_000, 100_000):
        planned = sum(trial.steps * 4.1 for trial in trials(points))
        assert planned == pytest.approx(points, rel=0.05)


def test_the_sweep_is_a_parent_with_children_whose_loss_falls(recorded: Store) -> None:
    runs = {run.info.run_name: run for run in recorded.runs()}
    parent = runs.pop("sweep")
    assert len(runs) == 6
    assert {run.info.parent_run_id for run in runs.values()} == {parent.run_id}
    for run in runs.values():
        assert {"decision.png", "model/model.npz", "notes.txt"} == {artifact.path for artifact in run.artifacts}
        assert run.params["steps"] == str(run.summaries["loss"].count)
    losses = runs["h32-lr0.03"].get_metrics("loss")["loss"]
    assert isinstance(losses, list)
    assert losses[-1] < losses[0]


def test_no_two_points_of_a_metric_have_the_same_step_and_time(recorded: Store) -> None:
    for run in recorded.runs():
        for key in run.summaries:
            table = run.metrics(key)
            places = set(zip(table.column("step").to_pylist(), table.column("time").to_pylist(), strict=True))
            assert len(places) == table.num_rows


def test_a_demo_without_sync_needs_no_server_and_keeps_its_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("mltrack-demo", "mltrack-demo-2"):
        assert main(["demo", "--no-sync", "--points", "500"]) == 0
        assert len(Store.open(tmp_path / folder / ".mltrack").run_ids()) == 7
        assert f"mltrack --store {folder}/.mltrack ls" in capsys.readouterr().out
        assert not (tmp_path / folder / "mlflow").exists()


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("x")
    assert main(["demo", "--no-sync", "--keep", str(tmp_path)]) == 2
    assert "already exists" in capsys.readouterr().err


def test_a_discarded_demo_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert main(["demo", "--no-sync", "--points", "500", "--discard"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_whole_demo_ends_with_both_sides_equal_and_no_server(tmp_path: Path) -> None:
    line = [
        sys.executable,
        "-m",
        "mltrack",
        "demo",
        "--json",
        "--points",
        str(POINTS),
        "--keep",
        str(tmp_path / "demo"),
    ]
    done = subprocess.run(line, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["equal"] is True
    assert facts["local"] == facts["remote"]
    assert facts["local"]["points"] == facts["recorded"]["points"] == facts["local"]["equal points"]
    assert facts["sync"]["points"] == facts["recorded"]["points"]
    assert facts["sync_again"]["points"] == facts["sync_again"]["artifacts"] == 0
    assert not servers_of(tmp_path)


def servers_of(folder: Path) -> list[psutil.Process]:
    """Processes whose command line names the folder."""
    return [p for p in psutil.process_iter(["cmdline"]) if any(str(folder) in word for word in p.info["cmdline"] or [])]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_ends_its_server(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    line = [sys.executable, "-m", "mltrack", "demo", "--points", "500", "--keep", str(folder)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for said in process.stdout:
        if "Starting an MLflow server" in said:
            break
    while not [p for p in servers_of(folder) if p.pid != process.pid]:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert not servers_of(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as url:
        yield url


def on_server(url: str, store: Store) -> Counts:
    from mltrack_sync.http.retry import RetryPolicy
    from mltrack_sync.http.transport import Transport
    from mltrack_sync.mlflow.api.client import MlflowClient
    from mltrack_sync.mlflow.provider import MlflowWorkspace

    with contextlib.closing(Transport(MlflowWorkspace(url), policy=RetryPolicy())) as transport:
        return count_remote(MlflowClient(transport), store, EXPERIMENT)


def test_a_difference_between_the_sides_is_counted(recorded: Store, server: str) -> None:
    from mltrack_sync import Remotes, push

    push(recorded, Remotes(recorded).add("demo", server))
    assert count_local(recorded, EXPERIMENT) == on_server(server, recorded)
    with httpx.Client(base_url=f"{server}/api/2.0/mlflow", trust_env=False) as client:
        experiment = client.get("/experiments/get-by-name", params={"experiment_name": EXPERIMENT}).json()["experiment"]
        body = {"experiment_ids": [experiment["experiment_id"]], "max_results": 1}
        run = client.post("/runs/search", json=body).json()["runs"][0]
        point = {"run_id": run["info"]["run_id"], "key": "loss", "value": 1.0, "timestamp": 1, "step": 10**9}
        client.post("/runs/log-metric", json=point).raise_for_status()
    local, remote = count_local(recorded, EXPERIMENT), on_server(server, recorded)
    assert remote.points == local.points + 1
    assert remote.equal_points == local.points


def test_a_server_that_does_not_start_is_reported_with_its_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database")
    with pytest.raises(RemoteError, match="ended with code"), mlflow_server(tmp_path, free_port()):
        pass
    assert "  | " in capsys.readouterr().err
    assert str(os.getpid())  # this process is still here: only the server's own group was ended
    assert not servers_of(tmp_path)

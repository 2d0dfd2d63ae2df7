"""A server with several workspaces: each remote is one of them, and what one has says nothing of another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mlflow.genai.label_schemas import InputText, LabelSchemaType

import mltrack
from mltrack.errors import RemoteError, UsageError
from mltrack.mlflow_plugin.tables_reader import read_tables, stored_records
from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.store import Store
from mltrack_sync import Remotes, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.remotes.ledgers import read_ledger
from mltrack_sync.status import status_of
from tests.support.server import MlflowServer
from tests.support.tables import judge

HEADER = "X-MLFLOW-WORKSPACE"


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server with the workspaces ``default``, ``team-a`` and ``team-b``."""
    server = MlflowServer(tmp_path_factory.mktemp("divided"), environ={"MLFLOW_ENABLE_WORKSPACES": "true"})
    try:
        server.start()
        for name in ("team-a", "team-b"):
            url = f"{server.url}/api/3.0/mlflow/workspaces"
            httpx.post(url, json={"name": name}, timeout=60).raise_for_status()
        yield server
    finally:
        server.close()


def run_names(server: MlflowServer, workspace: str, experiment: str) -> list[str]:
    url, headers = f"{server.url}/api/2.0/mlflow", {HEADER: workspace}
    asked = {"filter": f"name = '{experiment}'", "max_results": 10}
    found = httpx.post(f"{url}/experiments/search", json=asked, headers=headers, timeout=60).raise_for_status().json()
    ids = [each["experiment_id"] for each in found.get("experiments", [])]
    if not ids:
        return []
    runs = httpx.post(f"{url}/runs/search", json={"experiment_ids": ids}, headers=headers, timeout=60).json()
    return [run["info"]["run_name"] for run in runs.get("runs", [])]


@pytest.mark.slow
def test_runs_go_to_the_workspace_of_the_remote_and_each_has_a_ledger_of_its_own(
    divided: MlflowServer, store: Store, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mltrack.start_run(run_name="one") as run:
        mltrack.log_metric("m", 1.0)
        mltrack.log_text("hello", "note.txt")
    remotes = Remotes(store)
    remotes.add("lab", divided.url)
    lab = remotes.configure("lab", ["workspace=team-a"])
    assert push(store, lab).runs == 1
    assert [run_names(divided, name, experiment) for name in ("team-a", "team-b", "default")] == [["one"], [], []]
    assert not verify(store, lab).differences
    # another workspace is another place
    assert status_of(store, lab).pending_runs == 0
    lab = remotes.configure("lab", ["workspace=team-b"])
    assert status_of(store, lab).pending_runs == 1
    assert push(store, lab).runs == 1
    assert run_names(divided, "team-b", experiment) == ["one"]
    remotes.configure("lab", ["workspace="])
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    lab = remotes.get("lab")
    assert lab.mlflow_workspace == "team-a"
    push(store, lab)
    assert run_names(divided, "team-a", experiment) == ["one"]
    assert set(read_ledger(store, lab).runs) == {run.run_id}
    other = Store.create(tmp_path / "other" / ".mltrack")
    there = Remotes(other).add("lab", divided.url)
    assert pull(other, there).runs == 1


@pytest.mark.slow
def test_evaluation_datasets_scorers_and_label_schemas_are_those_of_the_workspace(
    divided: MlflowServer, store: Store, experiment: str, tmp_path: Path
) -> None:
    tracking = TrackingStore(f"mltrack://{store.path}")
    home = str(tracking.get_experiment_by_name(experiment).experiment_id)
    dataset = tracking.create_dataset("questions", experiment_ids=[home]).dataset_id
    tracking.upsert_dataset_records(dataset, [{"inputs": {"q": n}} for n in range(3)])
    tracking.register_scorer(home, "short", judge("first"))
    tracking.create_label_schema(home, name="good", type=LabelSchemaType.FEEDBACK, input=InputText())
    remotes = Remotes(store)
    remotes.add("lab", divided.url)
    for workspace in ("team-a", "team-b"):
        lab = remotes.configure("lab", [f"workspace={workspace}"])
        assert push(store, lab).evaluation_items == 3
        assert verify(store, lab).differences == ()
    records = stored_records(store, dataset)
    tracking.delete_dataset_records(dataset, [records[0].record_id])
    assert push(store, lab).complete
    found = []
    for workspace in ("team-a", "team-b", "default"):
        other = Store.create(tmp_path / workspace / ".mltrack")
        Remotes(other).add("lab", divided.url)
        there = Remotes(other).configure("lab", [f"workspace={workspace}"])
        pull(other, there, selection=Selection(experiments=(experiment,)) if workspace != "default" else Selection())
        tables = read_tables(other)
        count = sum(each.records for each in tables.datasets if each.name == "questions")
        found.append((count, len(tables.scorers), len(tables.schemas)))
    assert found == [(3, 1, 1), (2, 1, 1), (0, 0, 0)]


@pytest.mark.slow
def test_a_workspace_that_the_server_lacks_is_named_with_what_to_do(
    divided: MlflowServer, server: MlflowServer, store: Store
) -> None:
    with mltrack.start_run():
        mltrack.log_metric("m", 1.0)
    for name, url, words in (
        ("lacks", divided.url, "'team-x' not found"),
        ("none", server.url, "workspaces are not enabled"),
    ):
        Remotes(store).add(name, url)
        remote = Remotes(store).configure(name, ["workspace=team-x"])
        with pytest.raises(RemoteError, match=words) as caught:
            push(store, remote)
        assert "mltrack remote set NAME workspace=W" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["Team", "-a", "a/b", "a" * 64])
def test_a_name_that_no_workspace_has_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    remotes = Remotes(store)
    remotes.add("lab", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match="no workspace of an MLflow server is called"):
        remotes.configure("lab", [f"workspace={name}"])
    monkeypatch.setenv("MLFLOW_WORKSPACE", name)
    with pytest.raises(UsageError, match="is not the name of a workspace"):
        remotes.get("lab")


def test_only_remotes_of_mlflow_servers_have_a_workspace(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    remotes = Remotes(store)
    assert remotes.add("usb", "/media/usb/.mltrack").mlflow_workspace == ""
    assert remotes.add("lab", "http://127.0.0.1:1").place == "http://127.0.0.1:1#workspace=team-a"

"""Which workspace is meant: config.json in all its forms, tracking URIs old and new."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import NotFoundError, UsageError
from mltrack_sync.azureml.scope import Scope, TrackingUri, find_config, read_config

FIELDS = {"subscription_id": "s-1", "resource_group": "g 1", "workspace_name": "w-1"}
SCOPE = Scope("s-1", "g 1", "w-1")
PATH = "/subscriptions/s-1/resourceGroups/g%201/providers/Microsoft.MachineLearningServices/workspaces/w-1"


@pytest.mark.parametrize("name", [".azureml/config.json", "aml_config/project.json", "config.json", "project.json"])
def test_a_config_is_found_where_azure_looks_for_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(FIELDS))
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_config(deep) == path
    assert read_config(tmp_path) == read_config(path) == SCOPE
    monkeypatch.chdir(deep)
    assert read_config() == SCOPE


def test_the_nearest_config_wins_and_its_own_folder_before_others(tmp_path: Path) -> None:
    for name in ("config.json", ".azureml/config.json", "a/project.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert find_config(tmp_path) == tmp_path / ".azureml/config.json"
    assert find_config(tmp_path / "a") == tmp_path / "a/project.json"


def test_the_search_ends_after_twenty_levels(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(FIELDS))
    deep = tmp_path.joinpath(*"abcdefghijklmnopqrst")
    deep.mkdir(parents=True)
    assert find_config(deep.parent) == tmp_path / "config.json"
    with pytest.raises(NotFoundError, match=r"no config\.json"):
        find_config(deep)


def test_a_scope_in_a_config_wins(tmp_path: Path) -> None:
    path = tmp_path / "any.json"
    path.write_text("\ufeff" + json.dumps({"Id": None, "Scope": PATH, "workspace_name": "other"}), encoding="utf-8")
    assert read_config(path) == SCOPE


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"Scope": "/subscriptions/x"}', '{"subscription_id": "s"}'])
def test_a_config_without_a_workspace_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        read_config(path)
    with pytest.raises(NotFoundError, match="missing"):
        read_config(tmp_path / "missing.json")


def test_a_tracking_uri_is_parsed_and_shown_without_its_token() -> None:
    plain = TrackingUri.parse(f"azureml://h.api.azureml.ms/mlflow/v1.0{PATH}?")
    assert (plain.host, plain.scope, plain.token) == ("h.api.azureml.ms", SCOPE, "")
    old = TrackingUri.parse(f"azureml://h:1/mlflow/v1.0{PATH}?auth-type=ServicePrincipal&auth=se%2Bcret")
    assert (old.host, old.token) == ("h:1", "se+cret")
    assert str(old) == f"azureml://h:1/mlflow/v1.0{PATH}"
    assert "cret" not in repr(old)
    assert str(TrackingUri.parse(f"azureml:{PATH}")) == f"azureml:{PATH}"
    assert TrackingUri.parse(f"azureml://h/mlflow/v2.0{PATH}").scope.is_same(Scope("S-1", "G 1", "W-1"))


@pytest.mark.parametrize(
    "uri", ["http://h/", "azureml:", "azureml://h/x", f"azureml://secret@h/mlflow/v1.0{PATH}", f"azureml://h{PATH}"]
)
def test_what_is_not_a_tracking_uri_is_refused_without_its_secrets(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrackingUri.parse(f"{uri}?auth=secret")
    assert "secret" not in str(caught.value)


def test_the_public_workspace_reads_its_config(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(FIELDS))
    workspace = mltrack.Workspace.from_config(path)
    assert (workspace.name, workspace.subscription_id, workspace.resource_group) == ("w-1", "s-1", "g 1")
    assert repr(workspace) == "Workspace('w-1', subscription_id='s-1')"

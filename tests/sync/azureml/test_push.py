"""A store pushed to an Azure ML workspace: equal contents, once, whatever tokens and endpoints do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.azureml import AzureWorkspace, TrackingUri
from mltrack_sync.errors import RemoteAuthError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.remotes.ledgers import ledger_path
from tests.support.azure.emulator import (
    AzureEmulator,
    Contents,
    Do,
    LoseAnswer,
    Slow,
    throttled,
    unauthorized,
    unavailable,
)
from tests.support.azure.stores import record, scope_url
from tests.support.both_sides import assert_equal

LOG_BATCH = "mlflow/runs/log-batch"
HASTY = RetryPolicy(sleep=lambda seconds: None)


def points_here(store: Store) -> int:
    return sum(run.head().points for run in store.runs())


def assert_all_there_once(store: Store, azure: AzureEmulator, contents: Contents, experiment: str) -> None:
    assert_equal(store, contents, experiment)
    assert azure.points_twice() == []


def test_a_store_is_pushed_and_both_sides_are_equal(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    record()
    with mltrack.start_run(run_name="parent"), mltrack.start_run(run_name="child", nested=True):
        mltrack.log_metric("loss", 1.0)
    report = push(azure_store, azure_remote)
    assert report.complete, report
    assert_all_there_once(azure_store, azure, azure_contents, experiment)
    assert azure.traffic.count("mlflow/logged-models*") == 0
    again = push(azure_store, azure_remote)
    assert (again.runs, again.points, again.requests) == (0, 0, 0)
    ledger_path(azure_store, azure_remote).unlink()
    found = push(azure_store, azure_remote)
    assert (found.created, found.points, found.complete) == (0, 0, True)
    assert_all_there_once(azure_store, azure, azure_contents, experiment)


def test_an_experiment_with_a_slash_is_created_once(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    name = f"team/{experiment}"
    mltrack.set_experiment(name)
    record(3, files=False)
    azure.faults.on("mlflow/experiments/create", LoseAnswer())
    assert push(azure_store, azure_remote, policy=HASTY).complete
    ledger_path(azure_store, azure_remote).unlink()
    assert push(azure_store, azure_remote).complete
    assert_equal(azure_store, azure_contents, name)


# --- tokens and endpoints ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tokens_with_a_lifetime_of_two_seconds_suffice_for_a_long_push(
    azure: AzureEmulator,
    azure_store: Store,
    azure_contents: Contents,
    experiment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    for name, value in azure.environ().items():
        monkeypatch.setenv(name, value)
    azure.tokens.life_s = 2
    azure.faults.on(LOG_BATCH, Slow(before_s=0.35), times=None)
    record(1500)
    record(1500, "second")
    report = push(azure_store, Remote("prod", scope_url(azure), "azure"))
    assert report.complete, report
    assert_all_there_once(azure_store, azure, azure_contents, experiment)
    assert len(azure.tokens.issued) > 2
    assert points_here(azure_store) == report.points + report.found


def test_a_token_that_is_revoked_in_the_middle_is_replaced_once(
    azure: AzureEmulator,
    azure_store: Store,
    azure_remote: Remote,
    azure_contents: Contents,
    token_file: Path,
    experiment: str,
) -> None:
    record(900)

    def renew() -> None:
        azure.tokens.revoke()
        token_file.write_text(azure.tokens.issue().text)

    azure.faults.on(LOG_BATCH, Do(renew), skip=3)
    azure.faults.on(LOG_BATCH, unauthorized(), skip=1)
    assert push(azure_store, azure_remote, jobs=1).complete
    assert_all_there_once(azure_store, azure, azure_contents, experiment)
    assert azure.traffic.count(LOG_BATCH, 401) == 2


def test_an_invalid_token_ends_the_push_and_says_what_to_do(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote
) -> None:
    record(5)
    azure.tokens.revoke()
    with pytest.raises(RemoteAuthError) as caught:
        push(azure_store, azure_remote)
    assert "The access token expiry UTC time is earlier" in str(caught.value)
    assert azure.secrets_in(str(caught.value), caught.value.hint) == []


@pytest.mark.parametrize("old", [401, 403])
def test_a_refresh_that_returns_another_base_url_is_followed(
    azure: AzureEmulator,
    azure_store: Store,
    azure_remote: Remote,
    azure_contents: Contents,
    experiment: str,
    old: int,
) -> None:
    record(900)
    azure.faults.on(LOG_BATCH, Do(lambda: azure.move(old)), skip=2)
    assert push(azure_store, azure_remote).complete
    assert_all_there_once(azure_store, azure, azure_contents, experiment)


def test_an_endpoint_that_moved_is_found(
    azure: AzureEmulator,
    azure_store: Store,
    azure_remote: Remote,
    azure_contents: Contents,
    experiment: str,
) -> None:
    azure.move()  # so that the resource manager is not where the front is
    record(900)
    gone = azure.url
    azure.faults.on(LOG_BATCH, Do(azure.leave), skip=2)
    waits: list[float] = []
    assert push(azure_store, azure_remote, policy=RetryPolicy(sleep=waits.append)).complete
    assert azure.url != gone
    assert_all_there_once(azure_store, azure, azure_contents, experiment)


def test_lost_answers_throttling_and_errors_duplicate_nothing(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    record(1000)
    record(300, "second")
    for kind in ("mlflow/runs/create", "mlflow/runs/update", LOG_BATCH, "mlflow/runs/search"):
        azure.faults.on(kind, LoseAnswer(), times=1)
        azure.faults.on(kind, throttled(retry_after=1), skip=1)
        azure.faults.on(kind, unavailable(500), skip=2)
    report = push(azure_store, azure_remote, policy=HASTY)
    assert report.complete, report
    assert_all_there_once(azure_store, azure, azure_contents, experiment)


def test_the_resource_manager_may_be_busy_or_omit_the_uri(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    record(10)
    azure.faults.on("arm", unavailable(503), times=2)
    assert push(azure_store, azure_remote, policy=HASTY).complete
    assert_equal(azure_store, azure_contents, experiment)
    azure.manager.tracking_uri_missing = True
    workspace = azure_remote.workspace()
    assert isinstance(workspace, AzureWorkspace)
    uri = workspace.get_mlflow_tracking_uri()
    assert uri == f"azureml://westeurope.api.azureml.ms/mlflow/v1.0{azure.scope.path}"
    assert workspace.location == "westeurope"


def test_the_public_workspace_gives_name_location_and_uri(
    azure: AzureEmulator, azure_store: Store, tmp_path: Path, token_file: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(azure.config))
    workspace = mltrack.Workspace.from_config(tmp_path / "config.json", token_file=token_file)
    assert workspace.get_mlflow_tracking_uri() == azure.tracking_uri
    assert (workspace.name, workspace.location) == (azure.scope.workspace, "westeurope")
    assert (workspace.subscription_id, workspace.resource_group) == (
        azure.scope.subscription,
        azure.scope.resource_group,
    )


@pytest.mark.slow
def test_an_old_style_uri_in_the_environment_works_until_its_token_dies(
    azure: AzureEmulator,
    azure_store: Store,
    azure_contents: Contents,
    experiment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = azure.tracking_uri_with_token()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    record(10)
    remote = Remotes(azure_store).add("prod", uri.partition("?")[0])
    assert push(azure_store, remote).complete
    assert_equal(azure_store, azure_contents, experiment)
    by_scope = Remote("other", scope_url(azure), "azure")  # where it is comes from the URI then, too
    assert push(azure_store, by_scope).found
    assert azure.traffic.count("arm") == 0
    record(5, "later")
    azure.tokens.revoke()
    with pytest.raises(RemoteAuthError):
        push(azure_store, remote)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", azure.tracking_uri_with_token())
    assert push(azure_store, remote).complete
    assert_equal(azure_store, azure_contents, experiment)


@pytest.mark.slow
def test_a_jobs_own_token_is_renewed(
    azure: AzureEmulator,
    azure_store: Store,
    azure_contents: Contents,
    experiment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
    for name, value in azure.job_environ(*ids, life_s=60).items():
        monkeypatch.setenv(name, value)
    azure.faults.on(LOG_BATCH, Slow(before_s=1.0), times=None)
    azure.tokens.life_s = 2
    azure.tokens.grace_s = 60  # on a busy machine a request may take longer than what is left
    record(2000, files=False)
    report = push(azure_store, Remote("prod", azure.tracking_uri.partition("?")[0], "azure"))
    assert report.complete, report
    assert azure.traffic.count("run-token", 200) >= 2
    assert_all_there_once(azure_store, azure, azure_contents, experiment)


@pytest.mark.slow
def test_a_jobs_token_for_another_server_is_not_sent_here(
    azure: AzureEmulator, azure_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "for elsewhere")
    monkeypatch.setitem(os.environ, "IDENTITY_ENDPOINT", "http://127.0.0.1:9/none")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    workspace = AzureWorkspace(TrackingUri.parse(azure.tracking_uri))
    with pytest.raises(RemoteAuthError):
        workspace.endpoint()
    assert azure.traffic.seen == []


def test_a_token_command_is_run_for_each_token(
    azure: AzureEmulator,
    azure_store: Store,
    azure_contents: Contents,
    token_file: Path,
    experiment: str,
    tmp_path: Path,
) -> None:
    record(10)
    remote = Remotes(azure_store).add("prod", scope_url(azure), token_command=f"cat {token_file}")
    assert push(azure_store, remote).complete
    assert_equal(azure_store, azure_contents, experiment)
    assert Remotes(azure_store).get("prod") == remote

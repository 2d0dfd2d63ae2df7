"""The command line with an Azure ML workspace; and nothing secret on disk or on the screen, whatever happens."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import mltrack
from mltrack.errors import MltrackError, UsageError
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.cli.remote import remote as remote_command
from mltrack_sync.cli.sync import sync
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.remotes.resolver import remote_for
from tests.support.azure.emulator import Answer, AzureEmulator, Contents, Cut, Do, LoseAnswer, unauthorized, unavailable
from tests.support.azure.emulator.faults import Fault
from tests.support.azure.stores import record, scope_url

HASTY = RetryPolicy(sleep=lambda seconds: None)


def test_a_workspace_is_added_from_its_config(azure: AzureEmulator, azure_store: Store, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(azure.config))
    store = {"store": str(azure_store.path)}
    done = CliRunner().invoke(
        remote_command, ["add", "prod", "azureml:", "--config", str(tmp_path / "config.json")], obj=store
    )
    assert (done.exit_code, done.output) == (0, f"prod: {scope_url(azure)}\n")
    assert Remotes(azure_store).get("prod") == Remote("prod", scope_url(azure), "azure")
    for url, words in (("http://h", "no --config file"), (scope_url(azure), "goes with azureml: alone")):
        with pytest.raises(UsageError, match=words):
            CliRunner().invoke(remote_command, ["add", "x", url, "--config", "c"], obj=store, catch_exceptions=False)


def test_a_uri_with_a_token_is_refused_and_stored_nowhere(azure: AzureEmulator, azure_store: Store) -> None:
    uri = azure.tracking_uri_with_token()
    with pytest.raises(UsageError, match="holds a token, and tokens are never written to disk") as caught:
        Remotes(azure_store).add("prod", uri)
    assert azure.secrets_in(str(caught.value), caught.value.hint) == []
    assert not (azure_store.path / "remotes.toml").exists()


def test_a_uri_with_a_token_in_the_environment_is_used_and_remembered_without_it(
    azure: AzureEmulator, azure_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", azure.tracking_uri_with_token())
    target = remote_for(azure_store, None)
    assert (target.name, target.kind) == (azure.scope.workspace, "azure")
    assert target.url == azure.tracking_uri.partition("?")[0]
    assert azure.secrets_in((azure_store.path / "remotes.toml").read_bytes()) == []
    record(3)
    done = CliRunner().invoke(sync, [], obj={"store": str(azure_store.path)})
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("options", [{"token_file": "/t"}, {"token_command": "x"}])
def test_token_options_are_for_azure_alone(options: dict[str, str], azure_store: Store) -> None:
    with pytest.raises(UsageError, match="takes no token file or command"):
        Remotes(azure_store).add("lab", "http://127.0.0.1:1", **options)


def everything_on_disk(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_no_secret_is_written_or_shown_whatever_fails(
    azure: AzureEmulator,
    azure_store: Store,
    azure_remote: Remote,
    token_file: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "azure", "urllib3"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    told: list[str] = []
    faults: list[tuple[str, Fault]] = [("arm", unauthorized()), ("arm", Cut())]
    faults += [("mlflow/runs/log-batch", Answer(418, message="no")), ("artifacts/batch-metadata", Answer(403))]
    faults += [("blob/put", fault) for fault in (Answer(403), Answer(418), unavailable(503), LoseAnswer(), Cut())]
    for number, (kind, fault) in enumerate(faults):
        record(2, f"run {number}")
        azure.faults.on(kind, fault, times=9)
        try:
            told.append(repr(push(azure_store, azure_remote, policy=HASTY)))
        except MltrackError as error:
            seen: BaseException | None = error
            met: list[BaseException] = []
            while seen is not None and seen not in met:
                met.append(seen)
                told += [str(seen), repr(seen), getattr(seen, "hint", "")]
                seen = seen.__cause__ or seen.__context__
        azure.faults.clear()
    told.append(repr(azure_remote.workspace()) + repr(azure_remote.workspace().endpoint()))
    secret = token_file.read_text()
    token_file.unlink()
    assert secret.strip() in azure.secrets()
    assert len(azure.blobs.signatures) > 9
    out = capfd.readouterr()
    assert azure.secrets_in(*told, caplog.text, out.out, out.err, *everything_on_disk(azure_store.path.parent)) == []


@pytest.mark.slow
def test_nothing_secret_of_azure_identity_or_the_command_line_is_shown(
    azure: AzureEmulator, azure_store: Store, azure_contents: Contents, experiment: str
) -> None:
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    record(3)
    Remotes(azure_store).add("prod", scope_url(azure))
    azure.faults.on("mlflow/runs/log-batch", Do(azure.tokens.revoke))
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)\n"
        "from mltrack_sync.cli.sync import sync\n"
        "sync(['prod', '--json'], obj={'store': sys.argv[1]})\n"
    )
    environ = {**os.environ, **azure.environ()}
    done = subprocess.run(
        [sys.executable, "-c", code, str(azure_store.path)], env=environ, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert b"DEBUG" in done.stderr
    assert json.loads(done.stdout)["complete"]
    assert len(azure.tokens.issued) > 1
    assert azure.secrets_in(done.stdout, done.stderr, *everything_on_disk(azure_store.path)) == []
    assert len(azure_contents.runs(experiment)) == 1


def test_a_bare_import_of_mltrack_loads_nothing_of_azure() -> None:
    code = "import sys, mltrack; print([m for m in sys.modules if 'azure' in m or 'httpx' in m or 'mltrack_sync' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert "Workspace" in dir(mltrack)

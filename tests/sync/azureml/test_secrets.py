"""Azure's tokens and secrets, planted wherever they come from: none is written or shown, whatever goes wrong."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mltrack
from mltrack.cli.app import main
from mltrack.text import redaction
from tests.support.azure.emulator import Certificate
from tests.support.leaks import MODES, SECRET, Echo, echo_server, leak_in, search

PATH = "/subscriptions/0/resourceGroups/r/providers/Microsoft.MachineLearningServices/workspaces/w"


@pytest.fixture
def echo(azure_certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server over TLS that gives back all it gets; its host and port."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(azure_certificate.bundle, azure_certificate.key)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(azure_certificate.bundle))
    with echo_server(tls) as url:
        yield url.removeprefix("https://")


def a_token_file(folder: Path, host: str) -> tuple[list[str], dict[str, str]]:
    (folder / "planted").write_text(f"{SECRET}\n")
    return ["--token-file", str(folder / "planted")], {}


def a_bad_token_file(folder: Path, host: str) -> tuple[list[str], dict[str, str]]:
    (folder / "planted").write_text(f"two\n{SECRET}\n")
    return ["--token-file", str(folder / "planted")], {}


def command(code: str) -> Callable[[Path, str], tuple[list[str], dict[str, str]]]:
    def plant(folder: Path, host: str) -> tuple[list[str], dict[str, str]]:
        (folder / "planted").write_text(f"import sys\nsecret = {SECRET!r}\n{code}")
        return ["--token-command", f"{sys.executable} {folder / 'planted'}"], {}

    return plant


def a_variable(name: str, form: str = "{}") -> Callable[[Path, str], tuple[list[str], dict[str, str]]]:
    return lambda folder, host: ([], {name: form.format(SECRET, host=host, path=PATH)})


def a_client_secret(folder: Path, host: str) -> tuple[list[str], dict[str, str]]:
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    environ = {"AZURE_CLIENT_SECRET": f"{SECRET}\n", "AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t"}
    environ["AZURE_TOKEN_CREDENTIALS"] = "EnvironmentCredential"  # no waiting for the others
    return [], {**environ, "AZURE_AUTHORITY_HOST": f"https://{host}"}


SOURCES = {
    "token file": a_token_file,
    "token file with two lines": a_bad_token_file,
    "command": command("print(secret)"),
    "command in JSON": command("print('{\"accessToken\": \"' + secret + '\"}')"),
    "command that prints too much": command("print(secret, secret)"),
    "command that fails": command("print(secret); sys.exit(secret)"),
    "command that is killed": command("import os; print(secret, flush=True); os.kill(os.getpid(), 9)"),
    "job's token": a_variable("MLFLOW_TRACKING_TOKEN", "{}\n"),
    "job's bad token": a_variable("MLFLOW_TRACKING_TOKEN", "a\n{}"),
    "token in the URI": a_variable("MLFLOW_TRACKING_URI", "azureml://{host}/mlflow/v1.0{path}?auth={}"),
    "variable with a command": a_variable("MLTRACK_AZURE_TOKEN_COMMAND", "/nonexistent --password {}"),
    "variable with a command that does not parse": a_variable("MLTRACK_AZURE_TOKEN_COMMAND", "get 'x {}"),
    "client secret": a_client_secret,
}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_no_secret_is_written_or_shown_whatever_fails(
    source: str,
    echo: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.chdir(tmp_path)
    mltrack.set_store(tmp_path / ".mltrack")
    with mltrack.start_run() as run:
        run.log_metric("loss", 1)
    options, environ = SOURCES[source](tmp_path_factory.mktemp("planted"), echo)
    assert main(["remote", "add", "lab", f"azureml://{echo}/mlflow/v1.0{PATH}", *options]) == 0
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    Echo.secret = SECRET
    for mode in ("401", "cut off", "not JSON", MODES[-1]):
        Echo.mode = mode
        for words in ("sync", "status --json", "remote ls --json", "verify"):
            redaction.forget()
            code = main(words.split())
            out = capfd.readouterr()
            found = leak_in((out.out + out.err).encode(), SECRET)
            assert not found, f"{mode}, {words}: {found!r}"
            assert "Traceback" not in out.err, f"{mode}, {words}: {out.err}"
            assert code in (0, 1, 2, 3, 7), f"{mode}, {words}: {out.err}"
        search(tmp_path, set(), SECRET)

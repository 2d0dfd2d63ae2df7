"""A .netrc gives user and password for its host, where nothing else does; its content is never shown."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from mltrack.errors import RemoteError
from mltrack_sync.mlflow.provider import MlflowWorkspace
from mltrack_sync.remotes.config import check_url

FILE = "machine mlflow.example.com login me password netrc-secret\n"


def authorization(home: Path, url: str = "http://mlflow.example.com:5000", **environ: str) -> str:
    headers = MlflowWorkspace(url, environ=environ, home=home).endpoint().authorize()
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    return base64.b64decode(value).decode() if scheme == "Basic" else value


def test_the_login_of_a_host_is_found(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(FILE)
    assert authorization(tmp_path) == "me:netrc-secret"
    assert authorization(tmp_path, "https://MLFLOW.example.com/path") == "me:netrc-secret"
    assert authorization(tmp_path, "http://other.example.com") == ""
    (tmp_path / ".netrc").write_text(f"{FILE}default login any password else-secret\n")
    assert authorization(tmp_path, "http://other.example.com") == "any:else-secret"
    (tmp_path / ".netrc").rename(tmp_path / "_netrc")
    assert authorization(tmp_path) == "me:netrc-secret"


def test_a_variable_names_another_file(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(FILE)
    (tmp_path / ".netrc").write_text(FILE.replace("me", "not-me", 1))
    assert authorization(tmp_path, NETRC=f"{tmp_path}/mine\n") == "me:netrc-secret"
    assert authorization(tmp_path, NETRC=str(tmp_path / "none")) == ""


def test_credentials_given_elsewhere_take_precedence(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(FILE)
    assert authorization(tmp_path, MLFLOW_TRACKING_TOKEN="token-secret") == "token-secret"
    login = {"MLFLOW_TRACKING_USERNAME": "you", "MLFLOW_TRACKING_PASSWORD": "other-secret"}
    assert authorization(tmp_path, **login) == "you:other-secret"
    (tmp_path / ".mlflow").mkdir()
    kept = "[mlflow]\nmlflow_tracking_username = kept\nmlflow_tracking_password = kept-secret\n"
    (tmp_path / ".mlflow/credentials").write_text(kept)
    assert authorization(tmp_path) == "kept:kept-secret"


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    workspace = MlflowWorkspace("http://h", environ={}, home=tmp_path)
    (tmp_path / ".netrc").write_text("machine h login a password first-secret")
    first = workspace.endpoint().authorize()
    (tmp_path / ".netrc").write_text("machine h login a password the-second-secret")
    assert workspace.endpoint().authorize() != first


@pytest.mark.parametrize("text", ["machine", "rubbish SECRET", "machine h SECRET", "\udcff"])
def test_an_unreadable_netrc_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / ".netrc").write_bytes(os.fsencode(text))
    assert authorization(tmp_path, "http://h") == ""


def test_a_netrc_that_is_not_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".netrc")
    assert authorization(tmp_path) == ""
    assert authorization(tmp_path, NETRC="/dev/zero") == ""


def test_an_impossible_password_is_refused_without_being_shown(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text('machine h login a password "SEC\x07RET"')
    with pytest.raises(RemoteError, match=r"\.netrc") as caught:
        authorization(tmp_path, "http://h")
    assert "RET" not in str(caught.value)


def test_a_url_in_capitals_is_the_same_remote() -> None:
    assert check_url("HTTP://Host.Example.COM:5000/Path/") == "http://host.example.com:5000/Path"
    assert check_url("HTTPS://h") == "https://h"

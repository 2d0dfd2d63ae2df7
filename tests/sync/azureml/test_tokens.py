"""Tokens: where they come from, when they are asked for again, and what is said when there are none."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from pathlib import Path

import pytest

from mltrack.errors import UsageError
from mltrack_sync.azureml.tokens import (
    CommandTokens,
    EnvironmentTokens,
    FileTokens,
    FirstTokens,
    IdentityTokens,
    NoToken,
    Token,
    expiry_of,
)
from mltrack_sync.errors import RemoteAuthError
from tests.support.azure.emulator import AzureEmulator


def jwt(expires_at: float) -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": expires_at}).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{payload}.c2ln"


def test_the_expiry_of_a_jwt_is_read_as_utc_in_any_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = jwt(1_700_000_000)
    for zone in ("UTC", "Asia/Tokyo", "America/Los_Angeles"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert expiry_of(text) == 1_700_000_000.0
    monkeypatch.delenv("TZ")
    time.tzset()
    assert expiry_of("opaque") is None
    assert expiry_of("a.b.c") is None


def test_the_expiry_of_a_renewed_token_is_utc_although_it_has_no_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        for text in ("2023-11-14T22:13:20", "2023-11-14T22:13:20Z", "2023-11-14T22:13:20+00:00"):
            answer = {"token": "new", "expiryTimeUtc": text}
            source = EnvironmentTokens(lambda: jwt(100), "X", renew=lambda old, a=answer: a, now=lambda: 50.0)  # type: ignore[misc]
            assert source.token("") == Token("new", 1_700_000_000.0)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_a_token_is_not_shown(tmp_path: Path) -> None:
    assert "secret" not in repr(Token("secret")) + str(Token("secret"))


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    source = FileTokens(path)
    assert source.token("") == Token("one")
    assert source.newer() is None
    fresh = tmp_path / "fresh"
    fresh.write_text(jwt(1000))
    os.replace(fresh, path)
    assert source.newer() == Token(jwt(1000), 1000.0)
    assert source.newer() is None
    path.write_text("")  # being written: the old one is good enough for now
    assert source.newer() is None
    with pytest.raises(RemoteAuthError, match="holds no token"):
        source.token("")
    path.unlink()
    assert source.newer() is None
    with pytest.raises(RemoteAuthError, match="can't be read: No such file"):
        source.token("")


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("bare", Token("bare")),
        (json.dumps({"accessToken": "cli", "expires_on": 1234}), Token("cli", 1234.0)),
        (json.dumps({"token": jwt(99), "expires_on": "5"}), Token(jwt(99), 99.0)),
    ],
)
def test_a_command_prints_a_token_bare_or_as_json(printed: str, expected: Token, tmp_path: Path) -> None:
    path = tmp_path / "what it prints; not $(a shell)"
    path.write_text(printed)
    assert CommandTokens(f"cat '{path}'").token("") == expected


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/nonexistent/tool --x", "token command '/nonexistent/tool' can't be run: No such file or directory"),
        (f"{sys.executable} -c 'import sys; sys.exit(\"secret in the error\")'", "ended with 1"),
        ("true", "holds no token"),
        ("echo two words", "holds no token"),
    ],
)
def test_a_command_that_gives_no_token_is_reported_without_its_output(command: str, words: str) -> None:
    with pytest.raises(RemoteAuthError) as caught:
        CommandTokens(command).token("")
    assert words in str(caught.value)
    assert "secret in" not in str(caught.value)


def test_a_token_command_has_a_time_limit() -> None:
    with pytest.raises(RemoteAuthError, match=r"took over 0\.05 s"):
        CommandTokens("sleep 10", timeout_s=0.05).token("")


@pytest.mark.parametrize("command", ["", "'open"])
def test_an_invalid_token_command_is_misuse(command: str) -> None:
    with pytest.raises(UsageError):
        CommandTokens(command)


def test_the_next_source_is_asked_when_the_first_has_none_or_it_was_refused() -> None:
    given = [jwt(100)]
    first = EnvironmentTokens(lambda: given[0], "the first")
    second = EnvironmentTokens(lambda: "2nd-token", "the second")
    now = [50.0]
    source = FirstTokens([first, second], now=lambda: now[0])
    assert source.token("").text == given[0]
    now[0] = 150.0
    assert source.token("").text == "2nd-token"
    now[0] = 50.0
    assert source.token(given[0]).text == "2nd-token"
    with pytest.raises(RemoteAuthError, match="the first has expired or was refused; the second has expired"):
        source.token("2nd-token")


def test_a_token_that_looks_expired_is_still_used_when_there_is_no_other() -> None:
    late = EnvironmentTokens(lambda: jwt(100), "the first")
    none = EnvironmentTokens(lambda: "", "the second")
    assert FirstTokens([late, none], now=lambda: 1e9).token("").text == jwt(100)


def test_azure_identity_is_asked_by_its_environment(azure: AzureEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("azure.identity", reason="azure-identity is not installed")
    for name, value in azure.environ().items():
        monkeypatch.setenv(name, value)
    source = IdentityTokens("https://management.azure.com")
    token = source.token("")
    assert token.text == azure.tokens.issued[-1].text
    assert token.expires_at == int(azure.tokens.issued[-1].expires_at)
    assert source.token(token.text).text != token.text


def test_a_missing_azure_identity_is_reported_with_the_command_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(NoToken) as caught:
        IdentityTokens("https://management.azure.com").token("")
    assert "azure-identity is not installed" in str(caught.value)
    assert caught.value.hint == "pip install 'mltrack-local[azure]'"

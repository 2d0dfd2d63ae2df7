"""Bearer tokens and where they come from. A token is kept in memory only, and never shown."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from mltrack.errors import UsageError
from mltrack.text.redaction import hide, remember
from mltrack_sync.errors import RemoteAuthError
from mltrack_sync.secret_values import checked_password, checked_token

__all__ = [
    "CommandTokens",
    "EnvironmentTokens",
    "FileTokens",
    "FirstTokens",
    "IdentityTokens",
    "NoToken",
    "Token",
    "TokenSource",
    "expiry_of",
]

COMMAND_TIMEOUT_S = 120.0
TOKEN_CHARACTERS_MAX = 1 << 20
"""What a file or a command gives beyond this size is not a token."""

IDENTITY_SECRETS = (
    *(
        "AZURE_CLIENT_SECRET",
        "AZURE_PASSWORD",
        "AZURE_CLIENT_CERTIFICATE_PASSWORD",
        "AZURE_CLIENT_ID",
        "AZURE_TENANT_ID",
    ),
    *("AZURE_USERNAME", "IDENTITY_HEADER", "MSI_SECRET"),
)
"""What azure-identity takes from the environment as it is."""

INSTALL = "pip install 'mltrack-local[azure]'"


@dataclass(frozen=True, slots=True)
class Token:
    """``expires_at`` is in seconds since the epoch; None when unknown."""

    text: str = field(repr=False)
    expires_at: float | None = None

    def __post_init__(self) -> None:
        """From now on, remove it from every message."""
        remember(self.text)


class NoToken(RemoteAuthError):
    """This source has no token; another may have one."""


class TokenSource(Protocol):
    """Gives tokens. May be asked from several threads, one at a time."""

    @property
    def for_resources(self) -> bool:
        """Whether its tokens also open Azure's resource manager."""

    def token(self, refused: str) -> Token:
        """A token, other than ``refused`` if possible.

        Raises:
            RemoteAuthError: no token can be had.
        """

    def newer(self) -> Token | None:
        """A token that has appeared since the last one was given; asked for before each request."""


def expiry_of(text: str) -> float | None:
    """When a JWT expires (seconds since the epoch, in UTC as it is written); None if it is not a JWT."""
    parts = text.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None


def _read_token(text: str, origin: str) -> Token:
    """A token as it is printed by tools: bare, or in a JSON object such as ``az account get-access-token`` gives."""
    remember(text)
    text = text.strip().strip("\ufeff").strip()
    if text.startswith("{"):
        try:
            fields = json.loads(text)
        except ValueError:
            fields = {}
        names = ("accessToken", "access_token", "token")
        found = next((str(fields[name]) for name in names if fields.get(name)), "")
        expires = fields.get("expires_on")
        known = float(expires) if isinstance(expires, int | float) or str(expires).isdigit() else None
    else:
        found, known = text, None
    try:
        found = checked_token(found, origin)
    except RemoteAuthError as error:
        words = f"{origin} holds no token: {str(error).rpartition(': ')[2]}"
        raise RemoteAuthError(words, hint="it should hold a bearer token and nothing else") from None
    return Token(found, expiry_of(found) or known)


class FileTokens:
    """A file that somebody else keeps fresh; read again whenever it changes."""

    for_resources = True

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path).expanduser()
        self._seen: tuple[int, ...] = ()

    def token(self, refused: str) -> Token:
        """What the file holds now."""
        try:
            self._seen = self._signature()
            with self._path.open(encoding="utf-8") as file:
                text = file.read(TOKEN_CHARACTERS_MAX)
            return _read_token(text, f"token file {self._path}")
        except (OSError, UnicodeDecodeError) as error:
            raise RemoteAuthError(
                f"token file {self._path} can't be read: {getattr(error, 'strerror', None) or 'it is not text'}",
                hint="see --token-file and MLTRACK_AZURE_TOKEN_FILE",
            ) from error

    def newer(self) -> Token | None:
        """The file's token once it has changed; while it is being written the old one is good enough."""
        try:
            return self.token("") if self._signature() != self._seen else None
        except (OSError, RemoteAuthError):
            return None

    def _signature(self) -> tuple[int, ...]:
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_size, found.st_ino


class CommandTokens:
    """A command that prints a token. It is run without a shell."""

    for_resources = True

    def __init__(self, command: str, *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        """Raises UsageError when the command does not parse."""
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"the token command does not parse: {error}", hint="check its quotes") from None
        if not self._words:
            raise UsageError("the token command is empty", hint="leave it out, or give a program with its arguments")
        self._timeout_s = timeout_s

    def token(self, refused: str) -> Token:
        """What the command prints now. What it says on its error stream is not shown: it may hold secrets."""
        name = self._words[0]
        hint = "run it by hand to see why"
        try:
            code, printed = _run(self._words, self._timeout_s)
        except subprocess.TimeoutExpired:
            raise RemoteAuthError(f"token command {name!r} took over {self._timeout_s:g} s", hint=hint) from None
        except OSError as error:
            raise RemoteAuthError(f"token command {name!r} can't be run: {error.strerror}", hint=hint) from None
        except ValueError:
            raise RemoteAuthError("the token command can't be run: it holds a zero byte", hint=hint) from None
        if code != 0:
            remember(printed)
            raise RemoteAuthError(f"token command {name!r} ended with {code}", hint=hint)
        if len(printed) >= TOKEN_CHARACTERS_MAX:
            raise RemoteAuthError(f"token command {name!r} prints too much for a token", hint=hint)
        return _read_token(printed, f"what token command {name!r} prints")

    def newer(self) -> Token | None:
        """None: it is asked only when needed."""
        return None


def _run(words: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Run a command; returns its exit code and the beginning of what it printed, and leaves nothing of it behind.

    Raises:
        OSError, ValueError, subprocess.TimeoutExpired: it can't be run, or does not end.
    """
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that what it started is ended with it
    )
    assert process.stdout is not None
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill_group(process.pid)

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        with process.stdout as printed:
            text = printed.read(TOKEN_CHARACTERS_MAX)
        code = process.wait()
    except BaseException:
        _kill_group(process.pid)
        process.wait()
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise subprocess.TimeoutExpired(words[0], timeout_s)
    return code, text.decode("utf-8", "replace")


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class IdentityTokens:
    """azure-identity's DefaultAzureCredential: environment, managed identity, Azure CLI and more."""

    for_resources = True

    def __init__(self, resource: str) -> None:
        """``resource`` is what tokens are for, such as ``https://management.azure.com``."""
        self._resource = resource
        self._credential: Any = None

    def token(self, refused: str) -> Token:
        """What the credential gives; a cached token that was refused is discarded first."""
        try:
            from azure.core.exceptions import AzureError
            from azure.identity import DefaultAzureCredential
        except ImportError as error:
            raise NoToken("azure-identity is not installed, and no other token was found", hint=INSTALL) from error
        hint = "run az login, or give --token-file, --token-command or MLTRACK_AZURE_TOKEN_FILE"
        _check_identity(os.environ)
        try:
            if self._credential is None:
                self._credential = DefaultAzureCredential()
            given = self._credential.get_token(f"{self._resource}/.default")
            if refused and given.token == refused:  # from its cache: only a new credential object asks again
                self._credential = DefaultAzureCredential()
                given = self._credential.get_token(f"{self._resource}/.default")
        except (AzureError, ValueError) as error:
            words = hide(str(getattr(error, "message", "") or error)).strip().partition("\n")[0]
            raise RemoteAuthError(f"azure-identity gives no token: {words}", hint=hint) from None
        return Token(given.token, float(given.expires_on))

    def newer(self) -> Token | None:
        """None: the credential is asked only when needed."""
        return None


def _check_identity(environ: MutableMapping[str, str]) -> None:
    """Check what azure-identity reads itself, and strip the line break that a mounted secret file ends with.

    Raises:
        RemoteAuthError: it can't be used.
    """
    for name in IDENTITY_SECRETS:
        given = environ.get(name)
        if given:
            checked = checked_password(given, name)
            if checked != given:
                environ[name] = checked


class EnvironmentTokens:
    """A token that was given to this process: by an old-style tracking URI or a job's ``MLFLOW_TRACKING_TOKEN``."""

    for_resources = False

    def __init__(
        self,
        given: Callable[[], str],
        what: str,
        *,
        renew: Callable[[str], Mapping[str, Any]] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``given()`` is the token, or ""; ``renew(token)`` is asked for the answer of Azure's run-token service."""
        self._given = given
        self._what = what
        self._renew = renew
        self._now = now
        self._renewed: Token | None = None
        self._dead: set[str] = set()

    def token(self, refused: str) -> Token:
        """The one that was given, while it lives; where it can be renewed, the new one."""
        if refused:
            self._dead.add(refused)
        given = self._given()
        text = checked_token(given, self._what) if given else ""
        ours = Token(text, expiry_of(text)) if text else None
        tokens = [token for token in (self._renewed, ours) if token is not None]
        alive = [token for token in tokens if token.text not in self._dead]
        if not alive and not (tokens and self._renew):
            words = "has expired or was refused" if text else "is not set"
            raise NoToken(f"{self._what} {words}", hint="set it to a valid token, or use another kind of credential")
        known = (alive or tokens)[0]
        if self._renew is None:
            return known
        due = known.expires_at is not None and known.expires_at - self._now() < RENEW_AHEAD_S
        if not due and known in alive and not refused:
            return known
        self._renewed = _renewed(self._renew(known.text), self._what)
        return self._renewed

    def newer(self) -> Token | None:
        """None: it does not change."""
        return None


RENEW_AHEAD_S = 300.0


def _renewed(fields: Mapping[str, Any], what: str) -> Token:
    text = str(fields.get("token") or "")
    if not text:
        raise RemoteAuthError(f"{what} could not be renewed: the answer holds no token")
    expires = expiry_of(text)
    if expires is None and fields.get("expiryTimeUtc"):
        try:
            moment = datetime.fromisoformat(str(fields["expiryTimeUtc"]))
            expires = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except ValueError:
            expires = None
    return Token(text, expires)


class FirstTokens:
    """Several sources: the first that has a token is used, and the next one when it has none any more."""

    def __init__(self, sources: Sequence[TokenSource], *, now: Callable[[], float] = time.time) -> None:
        self._sources = sources
        self._now = now
        self._used: TokenSource = sources[0]

    @property
    def for_resources(self) -> bool:
        """That of the source used last."""
        return self._used.for_resources

    def token(self, refused: str) -> Token:
        """A token that is valid by this machine's clock; otherwise one that may be valid, as clocks can be wrong."""
        missing: list[NoToken] = []
        late: list[tuple[TokenSource, Token]] = []
        for source in self._sources:
            try:
                token = source.token(refused)
            except NoToken as error:
                missing.append(error)
                continue
            except RemoteAuthError:
                if late:
                    break
                raise
            if token.expires_at is not None and token.expires_at <= self._now() and source is not self._sources[-1]:
                late.append((source, token))
                continue
            self._used = source
            return token
        if late:
            self._used, token = late[0]
            return token
        reasons = [str(error) for error in missing if not str(error).endswith("is not set")] or [str(missing[-1])]
        raise RemoteAuthError("; ".join(reasons), hint=missing[-1].hint)

    def newer(self) -> Token | None:
        """That of the source used last."""
        return self._used.newer()

"""Stores behind ssh: ``ssh://[user@]host[:port]/path/.mltrack``, reached by the system's own ssh program.

Its configuration, keys, agents and ProxyJump are used as they are; it asks for a password on the terminal by itself.
On the other side it starts ``mltrack serve-store --stdio -- PATH``.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from mltrack.environment import MLTRACK_SSH
from mltrack.errors import MltrackError, RemoteError, UsageError
from mltrack_sync.errors import RemoteAuthError, RemoteUnavailableError
from mltrack_sync.stores.hello import Opening, VersionError
from mltrack_sync.stores.program import ProgramWire, has_terminal
from mltrack_sync.stores.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEME", "SshAddress", "is_ssh_url", "ssh_session"]

SCHEME = "ssh"
MLTRACK = "mltrack"
SHOWN_CHARS = 300

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+=-]{0,99}")


def is_ssh_url(text: str) -> bool:
    """Whether a text is meant as the URL of a store behind ssh."""
    return text.lower().startswith(f"{SCHEME}://")


@dataclass(frozen=True, slots=True)
class SshAddress:
    """A store on another machine. A ``path`` that begins with ``~`` is in that machine's home folder."""

    host: str
    path: str
    user: str = ""
    port: int | None = None

    @classmethod
    def parse(cls, url: str) -> SshAddress:
        """The address in a URL.

        Raises:
            UsageError: it is not one, or holds a password, or what ssh or a shell could take for something else.
        """
        wanted = "give ssh://[user@]host[:port]/path/.mltrack, or ssh://host/~/path/.mltrack"
        try:
            parts = urlsplit(url)
            port, user = parts.port, unquote(parts.username or "")
        except ValueError as error:
            raise UsageError("that is not the URL of a store behind ssh", hint=wanted) from error
        if parts.password is not None:
            raise UsageError("the URL holds a password", hint="leave it out: ssh asks for it, or better uses a key")
        host = _host_of(parts.netloc)
        if parts.scheme.lower() != SCHEME or not _HOST.fullmatch(host) or parts.query or parts.fragment:
            raise UsageError(f"{host!r} is not a host, or the URL not one of a store behind ssh", hint=wanted)
        if user and not _USER.fullmatch(user):
            raise UsageError("the user in the URL is not one", hint=f"{wanted}; or name the user in ~/.ssh/config")
        path = unquote(parts.path).rstrip("/")
        path = path[1:] if path.startswith("/~") else path
        if not path or not path.isprintable():
            raise UsageError(f"the URL of a store on {host!r} has no path", hint=wanted)
        return cls(host, path, user, port)

    @property
    def url(self) -> str:
        """The URL in the form it is kept in."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        port = f":{self.port}" if self.port is not None else ""
        path = self.path if self.path.startswith("/") else f"/{self.path}"
        return f"{SCHEME}://{user}{host}{port}{quote(path, safe='/~')}"

    def argv(self, program: str, command: str, *, interactive: bool) -> list[str]:
        """The local command that runs mltrack on the other machine.

        Args:
            program: ssh, or what is run in its place, with arguments as a shell takes them.
            command: mltrack on the other machine, as its shell takes it.
            interactive: ssh may ask for a password.
        """
        options = ["-T"]
        if not interactive and os.environ.get("SSH_ASKPASS_REQUIRE") not in ("force", "prefer"):
            options += ["-o", "BatchMode=yes"]
        if self.port is not None:
            options += ["-p", str(self.port)]
        if self.user:
            options += ["-l", self.user]
        remote = f"{command} serve-store --stdio -- {_quoted(self.path)}"
        return [*shlex.split(program), *options, "--", self.host, remote]


def _host_of(netloc: str) -> str:
    """The host as it was written: ``hostname`` of urlsplit makes it lower-case, and ssh's aliases are not."""
    host = netloc.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _quoted(path: str) -> str:
    """A path for the other machine's shell; ``~`` is replaced by mltrack itself, not by the shell."""
    return "'" + path.replace("'", "'\\''") + "'"


def ssh_session(
    url: str,
    opening: Opening,
    *,
    command: str = "",
    name: str = "NAME",
    environ: Mapping[str, str] = os.environ,
) -> Session:
    """A session with the store at a URL; nothing is started before it is used.

    Args:
        url: The store's.
        opening: What is wanted of the other side.
        command: mltrack on the other machine, as its shell takes it; "" for ``mltrack``.
        name: The remote's name, for hints.
        environ: The environment, in which MLTRACK_SSH may name another program than ssh.

    Raises:
        UsageError: the URL is not a valid one.
    """
    address = SshAddress.parse(url)
    program = environ.get(MLTRACK_SSH, "").strip() or "ssh"

    def explain(code: int | None, said: str, noise: str) -> MltrackError:
        return _explain(address, name, code, said, noise)

    def dial() -> ProgramWire:
        interactive = has_terminal()
        argv = address.argv(program, command or MLTRACK, interactive=interactive)
        try:
            return ProgramWire(argv, explain, interactive=interactive)
        except OSError as error:
            raise RemoteError(
                f"{argv[0]} can't be started: {error.strerror}",
                hint=f"install OpenSSH's client, or set {MLTRACK_SSH} to another program",
            ) from error

    return Session(dial, opening, address.host)


# --- why no store answered -------------------------------------------------------------------------------------------

_UNKNOWN_HOST = re.compile(r"could not resolve|name or service not known|nodename nor servname", re.IGNORECASE)
_REFUSED = re.compile(r"permission denied|too many authentication failures|no supported authentication", re.IGNORECASE)
_HOST_KEY = re.compile(r"host key verification failed|remote host identification has changed", re.IGNORECASE)
_OLD_COMMAND = re.compile(r"no such command|no such option", re.IGNORECASE)
_MISSING = re.compile(r"not found|no such file", re.IGNORECASE)


def _explain(address: SshAddress, name: str, code: int | None, said: str, noise: str) -> MltrackError:
    host, line = address.host, _last_line(said) or _last_line(noise)
    if code == 255 or (code is not None and code < 0):
        return _ssh_failed(host, said, line)
    if code in (126, 127) or (code and _MISSING.search(line) and MLTRACK in line):
        return RemoteError(
            f"{host} has no mltrack where it was looked for: {line}",
            hint=f"install it there, or say where it is: mltrack remote set {name} command=~/venv/bin/mltrack",
        )
    if code == 2 and _OLD_COMMAND.search(said):
        return VersionError(
            f"{host} has an mltrack that does not know how to serve its store",
            hint="upgrade it there: pip install -U mltrack-local",
        )
    if code is None:
        return RemoteUnavailableError(f"{host}: mltrack did not answer in time", in_doubt=False)
    return RemoteError(
        f"{host}: no mltrack answered (exit code {code}): {line or 'it said nothing'}",
        hint=f"try by hand: ssh {host} mltrack --version",
    )


def _ssh_failed(host: str, said: str, line: str) -> MltrackError:
    """ssh itself ended with an error."""
    if _UNKNOWN_HOST.search(said):
        return RemoteUnavailableError(
            f"{host} is unknown: {line}",
            hint="check the name, and the network; or give it in ~/.ssh/config",
            in_doubt=False,
        )
    if _HOST_KEY.search(said):
        return RemoteAuthError(f"{host}: its key is not the known one: {line}", hint=f"look at it by hand: ssh {host}")
    if _REFUSED.search(said):
        return RemoteAuthError(
            f"{host} refuses the login: {line}",
            hint=f"this must work first: ssh {host} (a password is only asked for on a terminal)",
        )
    return RemoteUnavailableError(
        f"{host} can't be reached: {line or 'ssh said nothing'}",
        hint=f"this must work first: ssh {host}",
        in_doubt=False,
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:SHOWN_CHARS] if lines else ""

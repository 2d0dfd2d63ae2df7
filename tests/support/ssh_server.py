"""A real sshd on loopback with keys and settings of its own, and what stands in for ssh where there is none."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or ""
WAIT_S = 30.0

NO_SSHD = "!!! NOT TESTED: there is no sshd here (apt-get install openssh-server) !!!"


def has_ssh() -> bool:
    """Whether a real ssh can be used here."""
    return bool(SSHD and shutil.which("ssh") and shutil.which("ssh-keygen"))


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def far_path() -> str:
    """A PATH with this environment's mltrack."""
    return f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


class SshServer:
    """sshd as the current user, with one host ``cluster`` in the client's settings."""

    def __init__(self, folder: Path, *, path: str | None = None, via_port: int | None = None) -> None:
        """Start it.

        Args:
            folder: For its keys, settings and log.
            path: The PATH of the commands that it runs.
            via_port: Where clients connect to, if not to the server itself.
        """
        folder.mkdir(parents=True)
        folder.chmod(0o700)
        self.folder, self.port = folder, free_port()
        self.via_port = via_port or self.port
        for name in ("host_key", "user_key"):
            self.make_key(name)
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        (folder / "sshd_config").write_text(self._server_settings(path or far_path()))
        self.write_settings()
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        self._log = open(folder / "sshd.log", "wb")  # noqa: SIM115
        self._process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stdin=subprocess.DEVNULL, stderr=self._log
        )
        self._await()

    def make_key(self, name: str, passphrase: str = "") -> None:
        """A key pair in the folder."""
        path = str(self.folder / name)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", path]
        subprocess.run(command, check=True, capture_output=True)

    def _server_settings(self, path: str) -> str:
        return "\n".join(
            [
                f"Port {self.port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {self.folder}/host_key",
                f"AuthorizedKeysFile {self.folder}/authorized_keys",
                f"PidFile {self.folder}/sshd.pid",
                "StrictModes no",
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "PermitRootLogin yes",
                "PrintMotd no",
                "MaxStartups 100",
                f"SetEnv PATH={path}",
                "",
            ]
        )

    def write_settings(self, key: str = "user_key", host_key: str = "host_key", more: str = "") -> None:
        """The client's settings: it knows the server by ``host_key``, and shows ``key``."""
        public = (self.folder / f"{host_key}.pub").read_text().rsplit(" ", 1)[0]
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.via_port} {public}\n")
        (self.folder / "config").write_text(
            f"Host cluster\n  HostName 127.0.0.1\n  Port {self.via_port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.folder}/{key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile none\n"
            f"  StrictHostKeyChecking yes\n{more}"
        )

    @property
    def ssh(self) -> str:
        """The value of MLTRACK_SSH with which ``cluster`` is this server."""
        return shlex.join(["ssh", "-F", str(self.folder / "config")])

    def _await(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError((self.folder / "sshd.log").read_text())

    def close(self) -> None:
        """End it. Connections that are open stay."""
        self._process.terminate()
        self._process.wait(WAIT_S)
        self._log.close()


def stand_in(folder: Path) -> str:
    """The value of MLTRACK_SSH of a program that runs the command on this machine, as ssh would on another one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ssh"
    path.write_text(
        f"#!/bin/sh\n# the last argument is the command; the host before it is this machine\n"
        f'for last; do :; done\nPATH={shlex.quote(far_path())} exec /bin/sh -c "$last"\n'
    )
    path.chmod(0o755)
    return str(path)

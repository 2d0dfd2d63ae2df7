"""Stores behind ssh: addresses, a real sshd, a stand-in for it, and each thing that can keep mltrack from answering."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
import threading
from pathlib import Path

import pytest

from mltrack.errors import MltrackError, RemoteError, StoreError, UsageError
from mltrack.store import Store
from mltrack_sync.errors import RemoteAuthError, RemoteUnavailableError
from mltrack_sync.http.rate_limit import RateLimiter
from mltrack_sync.selection import Selection
from mltrack_sync.stores.copying import CopyOptions, copy_units
from mltrack_sync.stores.hello import Opening, VersionError
from mltrack_sync.stores.local_source import LocalSource
from mltrack_sync.stores.local_target import LocalTarget
from mltrack_sync.stores.remote_store import RemoteSource, RemoteTarget
from mltrack_sync.stores.session import Session
from mltrack_sync.stores.ssh import SshAddress, ssh_session
from tests.support.ssh_server import SshServer
from tests.support.written_runs import write_run

# --- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address", "kept"),
    [
        ("ssh://Login/data/.mltrack", SshAddress("Login", "/data/.mltrack"), None),
        ("SSH://h/data/.mltrack/", SshAddress("h", "/data/.mltrack"), "ssh://h/data/.mltrack"),
        ("ssh://ann@h:2222/a%20b", SshAddress("h", "/a b", "ann", 2222), None),
        ("ssh://h/~/p/.mltrack", SshAddress("h", "~/p/.mltrack"), None),
        ("ssh://h/~bob/.mltrack", SshAddress("h", "~bob/.mltrack"), None),
        ("ssh://ann@[::1]:22/a", SshAddress("::1", "/a", "ann", 22), None),
        ("ssh://ann%40corp@h/a", SshAddress("h", "/a", "ann@corp"), None),
    ],
)
def test_a_url_is_read_and_kept_in_a_canonical_form(url: str, address: SshAddress, kept: str | None) -> None:
    assert SshAddress.parse(url) == address
    assert address.url == (kept or url)
    assert SshAddress.parse(address.url) == address


@pytest.mark.parametrize(
    "url",
    [
        "ssh://-oProxyCommand=id/a",
        "ssh://-l@h/a",
        "ssh://h$(id)/a",
        "ssh://a;id@h/a",
        "ssh://h",
        "ssh://h/",
        "ssh:///a",
        "ssh://h:x/a",
        "ssh://h:99999/a",
        "ssh://h/a%0Ab",
        "ssh://h/a?b",
        "ssh://h/a#b",
        "ssh://[::1/a",
        "ssh://ann%20bob@h/a",
        "ssh://%2Doption@h/a",
    ],
)
def test_what_ssh_or_a_shell_could_misread_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        SshAddress.parse(url)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="holds a password") as caught:
        SshAddress.parse("ssh://ann:hunter22hunter@h/a")
    assert "hunter22" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("path", ["/a'b; touch pwned", "/$(touch pwned)", "/`touch pwned`", "~/x y", "/--help", "/\\"])
def test_a_path_reaches_the_far_side_unchanged_whatever_its_shell_is(path: str, tmp_path: Path) -> None:
    argv = SshAddress("h", path).argv("ssh -F 'my config'", "printf '%s|'", interactive=True)
    assert argv[:3] == ["ssh", "-F", "my config"]
    assert argv[-3:-1] == ["--", "h"]
    assert shlex.split(argv[-1]) == ["printf", "%s|", "serve-store", "--stdio", "--", path]
    assert "BatchMode=yes" not in argv


def test_without_a_terminal_ssh_is_run_in_batch_mode() -> None:
    argv = SshAddress("h", "/a", "ann", 7).argv("ssh", "mltrack", interactive=False)
    assert argv[:-2] == ["ssh", "-T", "-o", "BatchMode=yes", "-p", "7", "-l", "ann", "--"]


# --- copies --------------------------------------------------------------------------------------------------------


def open_store(ssh: str, path: Path | str, *, write: bool = False, create: bool = False, command: str = "") -> Session:
    environ = {"MLTRACK_SSH": ssh}
    opening = Opening(write, create)
    return ssh_session(f"ssh://cluster{path}", opening, command=command, name="cluster", environ=environ)


def full_store(path: Path, runs: int = 5) -> Store:
    store = Store.create(path)
    for number in range(runs):
        write_run(store, name=f"run {number}", metrics={"loss": [(step, step / 3) for step in range(2000)]})
    return store


@pytest.mark.slow
def test_runs_are_pushed_and_pulled_over_ssh_and_a_second_sync_moves_nothing(ssh: str, tmp_path: Path) -> None:
    here, back = full_store(tmp_path / "here"), Store.create(tmp_path / "back")
    there = tmp_path / "th ere's" / ".mltrack"
    source = LocalSource(here)
    there.parent.mkdir()
    session = open_store(ssh, str(there).replace(" ", "%20"), write=True, create=True)
    try:
        target = RemoteTarget(session)
        assert copy_units(source, target, source.units(Selection())).problems == []
        again = copy_units(source, target, source.units(Selection()))
        assert (again.units, again.unchanged) == ([], 5)
    finally:
        session.close()
    session = open_store(ssh, str(there).replace(" ", "%20"))
    try:
        remote = RemoteSource(session)
        assert remote.info().store_id == Store.open(there).store_id
        copy_units(remote, LocalTarget(back), remote.units(Selection()))
    finally:
        session.close()
    assert back.run_ids() == here.run_ids()
    for run_id in here.run_ids():
        assert back.run(run_id).metrics().equals(here.run(run_id).metrics())


class CountedClock:
    """Time that passes only while the limiter sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


@pytest.mark.slow
@pytest.mark.parametrize("runs", [2, 12], ids=["one by one", "together"])
@pytest.mark.parametrize("way", ["push", "pull"])
def test_no_more_bytes_go_over_ssh_than_the_cap_allows(ssh: str, tmp_path: Path, way: str, runs: int) -> None:
    full, empty = full_store(tmp_path / "full", runs), Store.create(tmp_path / "empty")
    session = open_store(ssh, (empty if way == "push" else full).path, write=way == "push")
    clock, rate = CountedClock(), 50_000
    seen: list[tuple[float, int]] = []  # when so many bytes had arrived, by the limiter's clock
    options = CopyOptions(
        workers=1,
        pace=RateLimiter(rate, clock=clock, sleep=clock.sleep),
        applied=lambda applied: seen.append((clock.now, applied.bytes)),
    )
    try:
        if way == "push":
            here = LocalSource(full)
            report = copy_units(here, RemoteTarget(session), here.units(Selection()), options)
        else:
            far = RemoteSource(session)
            report = copy_units(far, LocalTarget(empty), far.units(Selection()), options)
    finally:
        session.close()
    assert report.problems == []
    assert empty.run_ids() == full.run_ids()
    assert report.bytes > 60_000 * runs
    assert clock.now >= report.bytes / rate - 0.3  # a quarter of a second's bytes may go at once
    arrived = 0
    for at, count in seen:
        arrived += count
        assert arrived <= rate * (at + 0.3)


def failure(session: Session) -> MltrackError:
    with pytest.raises(MltrackError) as caught:
        session.info()
    session.close()
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_path_that_is_not_a_store_is_reported(ssh: str, tmp_path: Path) -> None:
    error = failure(open_store(ssh, tmp_path))
    assert isinstance(error, RemoteUnavailableError)
    assert str(error) == f"cluster: no mltrack store at {tmp_path}/.mltrack"


def test_a_far_side_without_mltrack_is_reported_with_what_to_do(ssh: str, tmp_path: Path) -> None:
    error = failure(open_store(ssh, tmp_path, command="mltrack-is-not-here"))
    assert isinstance(error, RemoteError)
    assert "cluster has no mltrack where it was looked for" in str(error)
    assert "mltrack remote set cluster command=~/venv/bin/mltrack" in error.hint


def test_a_far_side_with_an_older_mltrack_is_reported(ssh: str, tmp_path: Path) -> None:
    old = tmp_path / "mltrack"
    old.write_text("#!/bin/sh\necho \"Error: No such command 'serve-store'.\" >&2\nexit 2\n")
    old.chmod(0o755)
    error = failure(open_store(ssh, tmp_path, command=str(old)))
    assert isinstance(error, VersionError)
    assert "upgrade it there" in error.hint


@pytest.mark.parametrize(("protocol", "which"), [([7, 9], "here"), ([0, 0], "there")])
def test_versions_without_one_in_common_say_which_side_to_upgrade(
    protocol: list[int], which: str, ssh: str, tmp_path: Path
) -> None:
    other = tmp_path / "mltrack"
    code = (
        "import sys; from mltrack_sync.stores.frames import *;"
        f"write_all(1, [MAGIC, *encode_frame(FrameKind.HELLO, 0, dict(protocol={protocol}, format=1, version='9.9'))]);"
        "sys.stdin.read()"
    )
    other.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    other.chmod(0o755)
    error = failure(open_store(ssh, tmp_path, command=str(other)))
    assert isinstance(error, VersionError)
    assert "9.9" in str(error)
    assert f"upgrade it {which}" in error.hint


def test_an_unexpected_reply_of_the_far_side_is_shown(ssh: str, tmp_path: Path) -> None:
    error = failure(open_store(ssh, tmp_path, command="echo This account is not available.; exit 1; :"))
    assert "no mltrack answered (exit code 1): This account is not available." in str(error)


def test_a_store_served_read_only_refuses_a_push(ssh: str, tmp_path: Path) -> None:
    full_store(tmp_path / "s", 1)
    wrapper = tmp_path / "mltrack"
    wrapper.write_text(f"#!/bin/sh\nexec mltrack serve-store --stdio --read-only -- {tmp_path}/s\n")
    wrapper.chmod(0o755)
    error = failure(open_store(ssh, "/anything", command=str(wrapper), write=True))
    assert isinstance(error, StoreError)
    assert "for reading only" in str(error)
    session = open_store(ssh, "/anything", command=str(wrapper))
    assert len(list(RemoteSource(session).units(Selection()))) == 1
    session.close()


def test_a_missing_ssh_is_reported(tmp_path: Path) -> None:
    error = failure(open_store(str(tmp_path / "no-ssh"), "/a"))
    assert "no-ssh can't be started" in str(error)
    assert "MLTRACK_SSH" in error.hint


def test_an_unknown_host_is_reported(ssh_server: SshServer) -> None:
    session = ssh_session("ssh://nowhere.invalid/a", Opening(False), environ={"MLTRACK_SSH": ssh_server.ssh})
    error = failure(session)
    assert isinstance(error, RemoteUnavailableError)
    assert "nowhere.invalid is unknown" in str(error)


def test_a_port_without_a_listener_is_reported(ssh_server: SshServer) -> None:
    session = ssh_session("ssh://127.0.0.1:1/a", Opening(False), environ={"MLTRACK_SSH": ssh_server.ssh})
    error = failure(session)
    assert isinstance(error, RemoteUnavailableError)
    assert "Connection refused" in str(error)


def test_a_refused_key_is_reported(ssh_server: SshServer) -> None:
    if not (ssh_server.folder / "other_key").exists():
        ssh_server.make_key("other_key")
    ssh_server.write_settings(key="other_key")
    error = failure(open_store(ssh_server.ssh, "/a"))
    assert isinstance(error, RemoteAuthError)
    assert "cluster refuses the login" in str(error)
    assert "Permission denied" in str(error)


def test_a_changed_host_key_is_reported(ssh_server: SshServer) -> None:
    if not (ssh_server.folder / "another_host").exists():
        ssh_server.make_key("another_host")
    ssh_server.write_settings(host_key="another_host")
    error = failure(open_store(ssh_server.ssh, "/a"))
    assert isinstance(error, RemoteAuthError)
    assert "its key is not the known one" in str(error)


def test_login_output_is_harmless(ssh_server: SshServer, tmp_path: Path) -> None:
    store = full_store(tmp_path / "s", 1)
    ssh_server.write_settings()
    session = open_store(ssh_server.ssh, store.path, command="echo Welcome to the cluster; echo quota: 3% >&2; mltrack")
    assert session.info().store_id == store.store_id
    session.close()


def test_the_user_and_the_port_of_a_url_are_used(ssh_server: SshServer, tmp_path: Path) -> None:
    store = full_store(tmp_path / "s", 1)
    ssh_server.write_settings(more=f"Host 127.0.0.1\n  IdentityFile {ssh_server.folder}/user_key\n")
    config = f"{ssh_server.ssh} -o UserKnownHostsFile={ssh_server.folder}/known_hosts -o IdentitiesOnly=yes"
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{ssh_server.port}{store.path}"
    session = ssh_session(url, Opening(False), environ={"MLTRACK_SSH": config})
    assert session.info().store_id == store.store_id
    session.close()


def test_a_path_in_the_home_folder_is_found(ssh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = full_store(tmp_path / "home" / "p" / ".mltrack", 1)
    session = open_store(ssh, "/~/p/.mltrack", command=f"HOME={shlex.quote(str(tmp_path / 'home'))} mltrack")
    assert session.info().store_id == store.store_id
    assert session.info().host == os.uname().nodename
    session.close()

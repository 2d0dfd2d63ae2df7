"""Secrets are planted wherever one can come from, everything that can go wrong goes wrong, and all that was written is
searched: each file of the store, of the home and of the working folder, and both streams.

The search knows nothing of how secrets are hidden: it decodes what it finds, and takes eight characters for a leak.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

import mltrack
from mltrack.cli.app import main
from mltrack.store import Store
from mltrack.text import redaction
from tests.support.leaks import MODES, ODD, SECRET, Echo, echo_server, leak_in, search


@pytest.mark.parametrize("secret", [SECRET, ODD])
@pytest.mark.parametrize(
    "form",
    [
        str,
        quote,
        repr,
        ascii,
        json.dumps,
        lambda s: repr(repr(s.encode())),
        lambda s: re.sub("%..", lambda m: m[0].lower(), quote(s, safe="")),
        lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
        lambda s: base64.urlsafe_b64encode(f"Bearer {s} and more".encode()).decode(),
        lambda s: s.encode().hex(),
        lambda s: f"cut off: {s[:12]}",
        lambda s: f"cut in its middle: {s[:9]}...{s[-9:]} and more",
    ],
)
def test_the_search_finds_each_form_and_the_redactor_hides_it(form: Callable[[str], str], secret: str) -> None:
    text = f"before {form(secret)}"
    assert leak_in(text.encode(), secret)
    redaction.remember(secret)
    assert not leak_in(redaction.hide(text).encode(), secret)
    assert redaction.hide(text).startswith("before ")


def test_the_name_of_a_registered_version_is_no_secret() -> None:
    assert redaction.hide("waiting for models:/spiral@champion") == "waiting for models:/spiral@champion"
    assert "hunter2" not in redaction.hide("models://me:hunter2@host")


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """The URL of a server that gives back all it gets."""
    with echo_server() as url:
        yield url


# --- where secrets come from ---


@dataclass
class Scene:
    """A store with a run and one remote, a home, a working folder; ``planted`` are files that hold the secret."""

    folder: Path
    url: str
    environ: dict[str, str] = field(default_factory=dict)
    planted: set[Path] = field(default_factory=set)
    secret: str = SECRET
    sent: bool = True
    """Whether the server gets to know it."""

    @property
    def host(self) -> str:
        """Of the server."""
        return self.url.partition("://")[2]

    def plant(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o700)
        self.planted.add(path)
        return path


def in_variable(name: str, form: str = "{}") -> Callable[[Scene], None]:
    def plant(scene: Scene) -> None:
        scene.environ[name] = form.format(scene.secret)

    return plant


def in_password(scene: Scene) -> None:
    scene.secret = ODD
    scene.environ |= {"MLFLOW_TRACKING_USERNAME": "anna", "MLFLOW_TRACKING_PASSWORD": f"{ODD}\n"}


def in_bad_password(scene: Scene) -> None:
    scene.environ |= {"MLFLOW_TRACKING_USERNAME": "anna", "MLFLOW_TRACKING_PASSWORD": f"a\x1b{SECRET}"}


def in_credentials_file(scene: Scene) -> None:
    scene.secret = ODD
    text = f"[mlflow]\nmlflow_tracking_username = anna\nmlflow_tracking_password = {ODD}\n"
    scene.plant(".mlflow/credentials", text)


def in_netrc(scene: Scene) -> None:
    scene.plant(".netrc", f"machine 127.0.0.1 login anna password {SECRET}\n")


def in_broken_netrc(scene: Scene) -> None:
    scene.plant(".netrc", f"machine 127.0.0.1 login anna password {SECRET}\nnonsense {SECRET}\n")
    scene.sent = False


def in_proxy(scene: Scene) -> None:
    scene.secret = ODD
    scene.environ["http_proxy"] = f"http://anna:{quote(ODD, safe='')}@{scene.host}"


def in_broken_proxy(scene: Scene) -> None:
    scene.environ["http_proxy"] = f"http://anna:{SECRET}@{scene.host}/x:y"
    scene.sent = False


def in_remotes_file(scene: Scene) -> None:
    path = scene.folder / ".mltrack" / "remotes.toml"
    path.write_text(f'[remotes.lab]\nurl = "http://anna:{quote(SECRET, safe="")}@{scene.host}"\n')
    scene.planted.add(path)


def in_tracking_uri(scene: Scene) -> None:
    (scene.folder / ".mltrack" / "remotes.toml").unlink()
    scene.environ["MLFLOW_TRACKING_URI"] = f"http://anna:{quote(SECRET, safe='')}@{scene.host}"


SOURCES: dict[str, Callable[[Scene], None]] = {
    "token": in_variable("MLFLOW_TRACKING_TOKEN"),
    "token with a line break at its end": in_variable("MLFLOW_TRACKING_TOKEN", "{}\n"),
    "token with a line break inside": in_variable("MLFLOW_TRACKING_TOKEN", "ab\n{}"),
    "token that is not ASCII": in_variable("MLFLOW_TRACKING_TOKEN", "ö{}"),
    "token with a control character": in_variable("MLFLOW_TRACKING_TOKEN", "\x07{}"),
    "token with a space": in_variable("MLFLOW_TRACKING_TOKEN", "Bearer {}"),
    "password": in_password,
    "password with a control character": in_bad_password,
    "credentials file": in_credentials_file,
    ".netrc": in_netrc,
    ".netrc that is broken": in_broken_netrc,
    "proxy": in_proxy,
    "proxy that is none": in_broken_proxy,
    "URL in remotes.toml": in_remotes_file,
    "MLFLOW_TRACKING_URI": in_tracking_uri,
    "another library's variable": in_variable("AWS_SECRET_ACCESS_KEY"),
}
COMMANDS = ("sync", "verify --json", "status --json")
MORE_COMMANDS = ("sync --json", "status", "remote ls --json", "sync --all-remotes", "gc --synced --dry-run", "verify")


@pytest.fixture
def scene(tmp_path: Path, echo: str, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The place where it happens: store, home and working folder in one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.chdir(tmp_path)
    mltrack.set_store(tmp_path / ".mltrack")
    with mltrack.start_run() as run:
        run.log_metric("loss", 1)
        run.log_param("lr", 1)
        run.log_text("text", "a.txt")
    made = Scene(tmp_path, echo)
    assert main(["remote", "add", "lab", echo]) == 0
    return made


QUICK = ("token with a line break at its end", "password")
"""Those that every run of the tests tries; each takes seconds."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", [pytest.param(source, marks=[] if source in QUICK else pytest.mark.slow) for source in SOURCES]
)
def test_no_secret_is_written_or_shown_whatever_fails(
    source: str, scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    SOURCES[source](scene)
    for name, value in scene.environ.items():
        monkeypatch.setenv(name, value)
    Echo.secret = scene.secret if scene.sent else ""
    for mode in MODES:
        Echo.mode = mode
        for command in (*COMMANDS, *(MORE_COMMANDS if mode == MODES[-1] else ())):
            redaction.forget()  # each command is a process of its own elsewhere
            code = main(command.split())
            out = capfd.readouterr()
            found = leak_in((out.out + out.err).encode(), scene.secret)
            assert not found, f"{mode}, {command}: {found!r}"
            assert "Traceback" not in out.err, f"{mode}, {command}: {out.err}"
            assert code in (0, 1, 2, 3, 5, 7), f"{mode}, {command}: {out.err}"
        search(scene.folder, scene.planted, scene.secret)


@pytest.mark.parametrize("mode", ["503", "hang up"])
def test_a_faulty_server_makes_no_secret_leak(
    mode: str, scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Echo.mode, Echo.secret = mode, SECRET
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    other = scene.url.replace("127.0.0.1", "localhost")
    assert main(["sync", other]) == 7
    out = capfd.readouterr()
    assert not leak_in((out.out + out.err).encode(), SECRET)
    search(scene.folder, set(), SECRET)


ARGUMENTS = [
    "http://anna:{}@127.0.0.1:9",
    "http://{}@127.0.0.1:9",
    "http:/anna:{}@127.0.0.1:9",
    "HTTP://anna:{}@127.0.0.1:9/x",
    "anna:{}@127.0.0.1:9",
    "anna:{}@localhost",
    "http://anna:{}/a/b@127.0.0.1:9",
    "http://anna:a@{}@127.0.0.1:9",
    "http://[anna:{}@127.0.0.1:9",
    "http://127.0.0.1:9/?token={}",
    "http://127.0.0.1:9/x#access_token={}",
    "azureml://anna:{}@h/mlflow/v1.0/x",
    "azureml://h/mlflow/v1.0/x?auth={}",
]


@pytest.mark.parametrize("given", ARGUMENTS)
def test_an_address_with_a_secret_is_refused_and_not_repeated(
    given: str, scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Echo.mode = "401"
    address = given.format(quote(SECRET, safe=""))
    for words in (
        ["sync", address],
        ["remote", "add", "other", address],
        ["remote", "add", address, "http://h"],
        ["verify", address],
        ["remote", "rm", address],
        ["remote", "trust", address],
        ["sync", "lab", address],
    ):
        redaction.forget()
        assert main(words) != 0, words
        out = capfd.readouterr()
        found = leak_in((out.out + out.err).encode(), SECRET)
        assert not found, f"{words[:-1]}: {found!r}"
        assert "Traceback" not in out.err
    monkeypatch.setenv("MLTRACK_SYNC", address)
    with mltrack.start_run():
        mltrack.log_metric("loss", 2)
    time.sleep(0.1)
    out = capfd.readouterr()
    assert not leak_in((out.out + out.err).encode(), SECRET)
    search(scene.folder, set(), SECRET)


# --- in processes of their own ---


@pytest.mark.parametrize(
    ("source", "mode"),
    [
        ("token with a line break at its end", "401"),
        ("token with a line break inside", "401"),
        ("password", "refuses the rest"),
    ],
)
@pytest.mark.slow
def test_the_background_syncer_keeps_secrets_out_of_its_log_and_its_note(source: str, mode: str, scene: Scene) -> None:
    SOURCES[source](scene)
    Echo.mode, Echo.secret = mode, scene.secret
    settings = {"MLTRACK_SYNC": "1", "MLTRACK_SYNC_INTERVAL": "0.1", "MLTRACK_SYNC_PATIENCE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mltrack_sync.daemon.daemon", str(scene.folder / ".mltrack")],
        env={**os.environ, **scene.environ, **settings, "MLTRACK_SYNC": "lab"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert not leak_in(done.stdout + done.stderr, scene.secret)
    remote = scene.folder / ".mltrack" / "remotes" / "lab"
    assert (remote / "sync.log").stat().st_size
    assert (remote / "live.json").stat().st_size
    search(scene.folder, scene.planted, scene.secret)


def test_an_internal_error_is_shown_whole_except_for_secrets(scene: Scene) -> None:
    program = """
import click, sys
from mltrack.cli import app

def fail():
    raise RuntimeError("a library said: Basic " + sys.argv[1])

app.cli.add_command(click.Command("fail", callback=fail))
app._MODULE_OF["fail"] = "x"
app.Commands.get_command = lambda self, ctx, name: click.Command("fail", callback=fail)
sys.exit(app.main(["fail"]))
"""
    pair = base64.b64encode(f"anna:{SECRET}".encode()).decode()
    environ = {**os.environ, "MLFLOW_TRACKING_TOKEN": SECRET}
    done = subprocess.run([sys.executable, "-c", program, pair], env=environ, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"Traceback" in done.stderr
    assert b"RuntimeError" in done.stderr
    assert not leak_in(done.stderr, SECRET)


def test_a_launch_records_no_secret(scene: Scene, tmp_path: Path) -> None:
    environ = {**os.environ, "MLFLOW_TRACKING_TOKEN": SECRET, "MLTRACK_STORE": str(tmp_path / ".mltrack")}
    basic = base64.b64encode(f"anna:{SECRET}".encode()).decode()
    words = ["-c", "pass", f"--url=http://anna:{SECRET}@h", "--token", SECRET, f"--header=Authorization: Basic {basic}"]
    done = subprocess.run(
        [sys.executable, "-m", "mltrack", "run", "--", sys.executable, *words],
        env=environ,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(Store.open(tmp_path / ".mltrack").run_ids()) == 2
    search(scene.folder, set(), SECRET)

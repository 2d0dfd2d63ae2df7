"""A store of another user: read and recorded into by anybody; its remotes get nothing of ours unless we trust them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mltrack
from mltrack.disk.trust import Grant, Trust, other_author
from mltrack.errors import StoreError, UntrustedError, UsageError
from mltrack.store import Store
from mltrack_sync import Remotes, push

STRANGER = 65534
AZURE = (
    "azureml://127.0.0.1:9/mlflow/v1.0/subscriptions/0/resourceGroups/r"
    "/providers/Microsoft.MachineLearningServices/workspaces/w"
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of ours with one run."""
    mltrack.set_store(tmp_path / ".mltrack")
    with mltrack.start_run():
        mltrack.log_metric("loss", 1)
    return Store.open(tmp_path / ".mltrack")


def write_remotes(store: Store, *lines: str, name: str = "origin", url: str = "http://127.0.0.1:9") -> None:
    text = "\n".join([f"[remotes.{name}]", f'url = "{url}"', *lines, ""])
    (store.path / "remotes.toml").write_text(text)


def give_away(*paths: Path) -> None:
    for path in paths:
        os.chown(path, STRANGER, -1)


def command(tmp_path: Path) -> tuple[str, Callable[[], bool]]:
    """A token command that leaves a mark, and whether it was run."""
    mark = tmp_path / "was-run"
    return f"{shutil.which('touch')} {mark}", mark.exists


def mltrack_command(store: Store, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mltrack", "--store", str(store.path), *words],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


IN_TURN = """
import contextlib, io, json, sys
from mltrack.cli import main
for words in sys.argv[2:]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(["--store", sys.argv[1], *words.split()])
    print(json.dumps([words, code, said.getvalue()]))
"""


def mltrack_commands(store: Store, *lines: str, folder: Path, **environ: str) -> list[tuple[str, int, str]]:
    """The exit code and the errors of several command lines, one after the other in one process."""
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, str(store.path), *lines],
        env={**os.environ, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(lines)
    return [(words, code, said) for words, code, said in outcomes]


# --- whose it is -------------------------------------------------------------------------------------------------


def test_our_own_store_is_trusted(store: Store) -> None:
    write_remotes(store)
    assert other_author(store.path) == ""
    assert Remotes(store).get("origin").refusal is None


@as_root
@pytest.mark.parametrize("part", ["", "store.json", "remotes.toml"])
def test_one_part_owned_by_another_user_makes_a_store_untrusted(part: str, store: Store) -> None:
    write_remotes(store)
    give_away(store.path / part)
    assert "belongs to " in other_author(store.path)
    refusal = Remotes(store).get("origin").refusal
    assert refusal is not None
    assert "mltrack remote trust origin" in refusal.hint


@as_root
def test_a_remotes_file_that_links_to_another_users_is_untrusted(store: Store, tmp_path: Path) -> None:
    write_remotes(store)
    elsewhere = tmp_path / "elsewhere.toml"
    shutil.move(store.path / "remotes.toml", elsewhere)
    give_away(elsewhere)
    (store.path / "remotes.toml").symlink_to(elsewhere)
    assert other_author(store.path)


def test_a_world_writable_remotes_file_is_untrusted(store: Store) -> None:
    write_remotes(store)
    (store.path / "remotes.toml").chmod(0o666)
    assert "anybody may write" in other_author(store.path)


@as_root
def test_for_root_the_user_before_sudo_counts_as_ours_as_for_git(store: Store) -> None:
    give_away(store.path)
    assert other_author(store.path, environ={"SUDO_UID": str(STRANGER)}) == ""
    assert other_author(store.path, environ={"SUDO_UID": "1"})
    assert other_author(store.path, environ={"SUDO_UID": "x"})


@as_root
@pytest.mark.parametrize("named", ["{store}", "/nowhere:{store}/../.mltrack", "*"])
def test_a_store_that_the_environment_names_is_trusted(
    named: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_remotes(store)
    give_away(store.path)
    monkeypatch.setenv("MLTRACK_TRUSTED_STORES", named.format(store=store.path))
    assert Remotes(store).get("origin").refusal is None


@as_root
def test_the_environment_never_trusts_a_command_in_the_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, was_run = command(tmp_path)
    write_remotes(store, f'kind = "azure"\ntoken_command = "{text}"', url=AZURE)
    give_away(store.path)
    monkeypatch.setenv("MLTRACK_TRUSTED_STORES", "*")
    with pytest.raises(UntrustedError, match="token command"):
        push(store, Remotes(store).get("origin"))
    assert not was_run()


# --- what needs no trust, and what does --------------------------------------------------------------------------


@pytest.mark.slow
@as_root
def test_another_users_store_is_read_and_recorded_into_and_nothing_is_sent(store: Store, tmp_path: Path) -> None:
    text, was_run = command(tmp_path)
    write_remotes(store, f'kind = "azure"\ntoken_command = "{text}"', url=AZURE)
    give_away(store.path, store.path / "store.json", store.path / "remotes.toml")
    allowed = ("ls", "check", "status", "remote ls", "remote ls --json", "sync --dry-run", "export --all -o out")
    for _, code, error in mltrack_commands(store, *allowed, folder=tmp_path):
        assert code == 0, error
    refused = ("sync", "verify", "gc --synced --yes", "sync --all-remotes", "sync --watch")
    for words, code, error in mltrack_commands(store, *refused, folder=tmp_path, MLFLOW_TRACKING_TOKEN="our-token"):
        assert code == 5, words
        assert "belongs to" in error
        assert "mltrack remote trust origin" in error or words == "sync --all-remotes"
    assert not was_run()
    assert not (store.path / "remotes" / "origin").exists()


@as_root
@pytest.mark.parametrize("asked", ["MLTRACK_SYNC=1", "sync=True", "sync='origin'"])
def test_a_training_in_another_users_store_records_and_says_why_nothing_is_pushed(
    asked: str, store: Store, tmp_path: Path
) -> None:
    text, was_run = command(tmp_path)
    write_remotes(store, f'kind = "azure"\ntoken_command = "{text}"', url=AZURE)
    give_away(store.path, store.path / "remotes.toml")
    argument = asked if asked.startswith("sync=") else ""
    program = f"import mltrack\nwith mltrack.start_run({argument}) as run: run.log_metric('a', 1)"
    environ = {**os.environ, "MLTRACK_STORE": str(store.path)} | ({} if argument else {"MLTRACK_SYNC": "1"})
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "mltrack remote trust origin" in done.stderr
    assert len(Store.open(store.path).run_ids()) == 2
    assert not was_run()
    assert not (store.path / "remotes").exists()


@as_root
def test_a_url_that_the_user_names_needs_no_trust(store: Store) -> None:
    write_remotes(store)
    give_away(store.path)
    found, known = Remotes(store).for_url("http://127.0.0.1:9")
    assert known
    assert found.refusal is None


@as_root
def test_a_remote_that_is_trusted_is_used_until_its_url_changes(store: Store) -> None:
    write_remotes(store)
    give_away(store.path, store.path / "remotes.toml")
    assert Remotes(store).trust("origin").refusal is None
    assert Remotes(store).get("origin").refusal is None
    write_remotes(store, url="http://evil.example")
    assert Remotes(store).get("origin").refusal is not None


@as_root
def test_trust_does_not_extend_to_another_users_copy_with_the_same_store_id(store: Store, tmp_path: Path) -> None:
    write_remotes(store)
    give_away(store.path)
    Remotes(store).trust("origin")
    shutil.copytree(store.path, tmp_path / "copy" / ".mltrack")
    copied = Store.open(tmp_path / "copy" / ".mltrack")
    give_away(copied.path)
    assert Remotes(copied).get("origin").refusal is not None


@as_root
def test_adding_a_remote_by_name_and_url_trusts_it_and_no_other(store: Store) -> None:
    write_remotes(store)
    give_away(store.path, store.path / "remotes.toml")
    assert Remotes(store).add("mine", "http://127.0.0.1:8").refusal is None
    assert Remotes(store).get("origin").refusal is not None


@as_root
@pytest.mark.parametrize(
    "text",
    ['[remotes.origin]\nurl = "http://evil"\n', '[remotes]\norigin = { url = "http://evil" }\n'],
    ids=["table", "inline"],
)
def test_what_another_user_wrote_into_our_store_stays_untrusted_when_we_add_to_it(text: str, store: Store) -> None:
    path = store.path / "remotes.toml"
    path.write_text(text)
    give_away(path)
    Remotes(store).add("mine", "http://127.0.0.1:8")
    assert path.stat().st_uid == os.geteuid()
    assert Remotes(store).get("origin").refusal is not None
    assert Remotes(store).get("mine").refusal is None
    Remotes(store).remove("mine")
    assert Remotes(store).get("origin").refusal is not None


def test_the_remotes_file_is_never_writable_by_the_group(store: Store) -> None:
    before = os.umask(0o002)
    try:
        Remotes(store).add("lab", "http://127.0.0.1:9")
    finally:
        os.umask(before)
    assert (store.path / "remotes.toml").stat().st_mode & 0o022 == 0


@as_root
@pytest.mark.parametrize("link", ["remotes", "remotes/mine", "remotes/mine/ledger.jsonl"])
def test_nothing_is_written_through_a_link_in_another_users_store(link: str, store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    if link.endswith("jsonl"):
        elsewhere.write_text("mine\n")
    else:
        elsewhere.mkdir()
    (store.path / link).parent.mkdir(parents=True, exist_ok=True)
    (store.path / link).symlink_to(elsewhere)
    give_away(store.path)
    Remotes(store).add("mine", "http://127.0.0.1:9")
    with pytest.raises(UntrustedError, match="is a link"):
        push(store, Remotes(store).get("mine"))
    assert elsewhere.is_dir() or elsewhere.read_text() == "mine\n"
    assert elsewhere.is_file() or not list(elsewhere.iterdir())


# --- commands and files that give tokens ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("option", ["token_command", "token_file"])
def test_token_commands_are_never_taken_from_a_store_not_even_our_own(
    option: str, store: Store, tmp_path: Path
) -> None:
    text, was_run = command(tmp_path)
    write_remotes(store, f'kind = "azure"\n{option} = "{text}"', url=AZURE)
    done = mltrack_command(store, "sync")
    assert done.returncode == 5
    assert "never taken from a store" in done.stderr
    assert "mltrack remote trust origin" in done.stderr
    assert not was_run()


@pytest.mark.slow
def test_one_step_trusts_the_command_that_our_own_store_names(store: Store, tmp_path: Path) -> None:
    text, was_run = command(tmp_path)
    write_remotes(store, f'kind = "azure"\ntoken_command = "{text}"', url=AZURE)
    done = mltrack_command(store, "remote", "trust", "origin")
    assert done.returncode == 0, done.stderr
    assert text in done.stdout
    assert not was_run()
    done = mltrack_command(store, "sync")
    assert "holds no token" in done.stderr
    assert was_run()


def test_a_command_that_changes_after_it_was_trusted_is_not_run(store: Store, tmp_path: Path) -> None:
    text, was_run = command(tmp_path)
    write_remotes(store, 'kind = "azure"\ntoken_command = "true"', url=AZURE)
    Remotes(store).trust("origin")
    assert Remotes(store).get("origin").token_command == "true"
    write_remotes(store, f'kind = "azure"\ntoken_command = "{text}"', url=AZURE)
    found = Remotes(store).get("origin")
    assert found.token_command == ""
    assert found.refusal is not None
    assert "has changed since it was trusted" in found.refusal.message
    assert not was_run()


@pytest.mark.parametrize("option", ["token_command", "token_file"])
def test_a_command_given_to_remote_add_is_kept_outside_of_the_store(option: str, store: Store) -> None:
    added = Remotes(store).add("prod", AZURE, **{option: "/opt/get-token"})
    assert getattr(added, option) == "/opt/get-token"
    assert all(b"get-token" not in path.read_bytes() for path in store.path.rglob("*") if path.is_file())
    assert Trust().path.stat().st_mode & 0o077 == 0


def test_a_moved_store_keeps_its_command_and_another_user_is_informed_of_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Remotes(store).add("prod", AZURE, token_command="get-token")
    shutil.move(store.path, tmp_path / "moved")
    moved = Store.open(tmp_path / "moved")
    assert Remotes(moved).get("prod").token_command == "get-token"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "of-another-user"))
    refusal = Remotes(moved).get("prod").refusal
    assert refusal is not None
    assert "--token-command CMD" in refusal.hint


def test_removing_a_remote_ends_its_trust(store: Store) -> None:
    Remotes(store).add("prod", AZURE, token_command="get-token")
    Remotes(store).remove("prod")
    assert Trust().all() == []


# --- the file of what is trusted -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_trusted_is_listed_and_removed_by_a_command(store: Store) -> None:
    write_remotes(store, 'kind = "azure"\ntoken_command = "get-token"', url=AZURE)
    mltrack_command(store, "remote", "trust", "origin")
    listed = json.loads(mltrack_command(store, "remote", "trust", "--list", "--json").stdout)
    assert [(each["remote"], each["url"], each["token_command"]) for each in listed] == [("origin", AZURE, "get-token")]
    assert "no longer trusted" in mltrack_command(store, "remote", "trust", "origin", "--remove").stdout
    assert mltrack_command(store, "remote", "trust", "--list").stdout == ""
    assert Remotes(store).get("origin").refusal is not None


def test_a_trust_file_that_others_may_write_is_ignored(store: Store) -> None:
    Trust().add(Grant(str(store.path), "id", "origin", "http://h"))
    Trust().path.chmod(0o666)
    with pytest.raises(StoreError, match="can be written by other users"):
        Trust().all()


@as_root
def test_a_trust_file_of_another_user_is_ignored(store: Store) -> None:
    Trust().add(Grant(str(store.path), "id", "origin", "http://h"))
    give_away(Trust().path)
    with pytest.raises(StoreError, match="can be written by other users"):
        Trust().all()


def test_a_pipe_in_place_of_the_trust_file_is_not_waited_for(store: Store) -> None:
    path = Trust().path
    path.parent.mkdir(parents=True)
    os.mkfifo(path, 0o600)
    with pytest.raises(StoreError, match="is not a settings file"):
        Trust().all()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"trusted": [{"x": 1}]}', '{"trusted": 3}', "[" * 100_000])
def test_a_damaged_trust_file_is_reported_and_trusts_nothing(text: str, store: Store) -> None:
    write_remotes(store, 'kind = "azure"\ntoken_command = "get-token"', url=AZURE)
    path = Trust().path
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(StoreError, match="is damaged"):
        Trust().all()
    assert Remotes(store).get("origin").refusal is not None


def test_a_url_with_a_password_in_the_store_s_file_is_shown_and_used_without_it(store: Store) -> None:
    write_remotes(store, url="http://me:s3cret-pw@127.0.0.1:9")
    found = Remotes(store).get("origin")
    assert found.url == "http://127.0.0.1:9"
    with pytest.raises(UntrustedError, match="holds credentials"):
        found.workspace()
    with pytest.raises(UsageError, match="credentials"):
        Remotes(store).trust("origin")


# --- as another user than root -------------------------------------------------------------------------------------


GROUP = 20_000


@pytest.fixture
def lab() -> Iterator[Path]:
    """A folder of a group, which all users reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="mltrack-users-") as base:
        Path(base).chmod(0o755)
        folder = Path(base) / "lab"
        folder.mkdir()
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2775)
        yield folder


def as_user(uid: int, lab: Path, code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as a user of the group; it imports the packages as root, as they may lie in root's home."""
    home = lab.parent / str(uid)
    home.mkdir(exist_ok=True)
    os.chown(home, uid, GROUP)
    start = f"""
import os, sys
import mltrack, mltrack.recording.fluent, mltrack.cli.app, mltrack.catalog.catalog
import mltrack.catalog.sql, mltrack.cli.runs
import mltrack.cli.formatting, mltrack.cli.select, mltrack.recording.run
import mltrack.journal.recorder, mltrack.disk.trust, rich.table, rich.cells
import mltrack_sync.mlflow.kind, mltrack_sync.mlflow.provider, mltrack_sync.azureml.kind, tomlkit, configparser
import mltrack_sync.cli.sync, mltrack_sync.cli.remote, mltrack_sync.engine.push
import mltrack_sync.remotes.config, pyarrow.parquet
import mltrack_sync.status, mltrack_sync.http.transport, mltrack_sync.mlflow.push.sending
import mltrack_sync.mlflow.api.client, getpass, psutil, numpy
import importlib.metadata, httpx, encodings.idna, rich.console, pwd; mltrack.cli.app._found()
os.umask(0o002)
os.setgroups([{GROUP}]); os.setgid({GROUP}); os.setuid({uid})
main = mltrack.cli.app.main
"""
    settings = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "USER": str(uid), **environ}
    settings["MLTRACK_STORE"] = str(lab / ".mltrack")
    return subprocess.run(
        [sys.executable, "-c", start + code], env=settings, capture_output=True, text=True, cwd="/", check=False
    )


RECORD = "with mltrack.start_run() as run: run.log_metric('a', 1)"


@as_root
@pytest.mark.slow
def test_colleagues_record_into_a_group_s_store_and_each_trusts_its_remote_once(lab: Path) -> None:
    assert as_user(30_001, lab, RECORD).returncode == 0
    assert as_user(30_001, lab, "sys.exit(main(['remote', 'add', 'lab', 'http://127.0.0.1:9']))").returncode == 0
    done = as_user(30_002, lab, RECORD, MLTRACK_SYNC="1")
    assert done.returncode == 0, done.stderr
    assert "mltrack remote trust lab" in done.stderr
    assert as_user(30_002, lab, "sys.exit(main(['ls']))").returncode == 0
    done = as_user(30_002, lab, "sys.exit(main(['sync']))")
    assert done.returncode == 5, done.stderr
    assert as_user(30_002, lab, "sys.exit(main(['remote', 'trust', 'lab']))").returncode == 0
    for uid in (30_001, 30_002):
        done = as_user(uid, lab, "sys.exit(main(['sync']))")
        assert "can't be reached" in done.stderr, done.stderr


@as_root
@pytest.mark.slow
def test_a_user_can_still_use_their_remote_after_a_colleague_added_another(lab: Path) -> None:
    as_user(30_001, lab, RECORD)
    assert as_user(30_001, lab, "sys.exit(main(['remote', 'add', 'lab', 'http://127.0.0.1:9']))").returncode == 0
    assert as_user(30_002, lab, "sys.exit(main(['remote', 'add', 'other', 'http://127.0.0.1:8']))").returncode == 0
    done = as_user(30_001, lab, "sys.exit(main(['sync', 'lab']))")
    assert "can't be reached" in done.stderr, done.stderr
    assert as_user(30_001, lab, "sys.exit(main(['sync', 'other']))").returncode == 5

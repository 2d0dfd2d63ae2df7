"""The shell around the commands: help, loading, exit codes, errors, pipes."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from importlib.metadata import distributions
from pathlib import Path

import click
import pytest

from mltrack.cli.app import _MODULE_OF, main
from mltrack.cli.app import cli as group
from mltrack.cli.exit_codes import EXIT_CODES, exit_code, report
from mltrack.errors import (
    BusyError,
    CorruptionError,
    FilterError,
    InvalidPathError,
    MltrackError,
    NotFoundError,
    RemoteError,
    RunStateError,
    StoreVersionError,
)
from mltrack.recording import current_store, fluent
from mltrack.store import Store
from tests.support import ROOT
from tests.support.command_line import Cli
from tests.support.import_cases import CASES

CONTEXT = click.Context(group, info_name="mltrack")


def commands() -> list[click.Command]:
    """Every command that can be run, those below groups too."""
    found: list[click.Command] = []
    left = [group.get_command(CONTEXT, name) for name in group.list_commands(CONTEXT)]
    while left:
        command = left.pop()
        if isinstance(command, click.Group):
            left += command.commands.values()
        elif command is not None:
            found.append(command)
    return found


SERVERS = ("ui", "serve", "watch")  # they run until they are ended: tests/cli/test_serve.py, tests/cli/test_guards.py


def own_examples() -> list[str]:
    named = [group.get_command(CONTEXT, name) for name in _MODULE_OF if name not in SERVERS]
    return [line for command in named for line in getattr(command, "examples", ())]


def python(*args: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=60, **kwargs)  # type: ignore[call-overload, no-any-return]


def test_the_help_lists_every_command_and_every_exit_code(cli: Cli) -> None:
    said = cli("--help")
    assert said.code == 0
    for name in group.list_commands(CONTEXT):
        assert f"\n  {name} " in said.out
    for code in EXIT_CODES:
        assert f"\n  {code} " in said.out


def test_the_page_on_the_command_line_lists_every_command_and_every_exit_code() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in group.list_commands(CONTEXT):
        assert f"`mltrack {name}" in page
    for code, text in EXIT_CODES.items():
        assert f"| {code} | {text} |" in page


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_every_help_ends_with_an_example(command: click.Command) -> None:
    context = click.Context(command, info_name=command.name)
    assert command.get_help(context).strip().splitlines()[-1].strip().startswith("mltrack ")


def groups() -> list[str]:
    """The names of the commands that have commands below them."""
    return [name for name in group.list_commands(CONTEXT) if isinstance(group.get_command(CONTEXT, name), click.Group)]


@pytest.mark.parametrize("name", ["", *groups()])
def test_no_summary_in_a_list_of_commands_is_cut(name: str, cli: Cli) -> None:
    said = cli(*filter(None, [name]), "--help").out
    assert "\n  -h, --help" in said
    assert [line for line in said.splitlines()[1:] if line.endswith("...")] == []


@pytest.mark.slow
@pytest.mark.parametrize("line", own_examples())
def test_every_example_runs(
    line: str, small_store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if line.startswith("mltrack import "):
        monkeypatch.setenv("MLTRACK_STORE", str(small_store.path))
        monkeypatch.chdir(tmp_path)
        for case in CASES:
            case.make(tmp_path)
    if line.startswith("mltrack stop "):  # only a live run can be stopped
        current_store.set_store(small_store.path)
        fluent.start_run(run_id=small_store.resolve("spirals-1"))
    if line.endswith(" --undo"):
        assert main(["rewind", "spirals-1", "--to-step", "5"]) == 0
    assert main(shlex.split(line)[1:]) == 0, capsys.readouterr().err


def test_help_imports_neither_duckdb_nor_pyarrow_nor_mlflow() -> None:
    code = "import sys; from mltrack.cli import main; main(['--help']); print(*sys.modules)"
    done = python("-c", code)
    assert not {"duckdb", "pyarrow", "mlflow", "pandas"} & set(done.stdout.split())


def test_the_store_option_may_come_before_and_after_the_command(
    small_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert main(["--store", str(small_store.path), "ls"]) == 0
    assert main(["ls", "--store", str(small_store.path)]) == 0
    monkeypatch.setenv("MLTRACK_STORE", str(small_store.path))
    assert main(["ls"]) == 0


def test_without_a_store_option_the_nearest_one_upward_is_used(
    small_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = small_store.path.parent / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert main(["ls"]) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MltrackError("x"), 1),
        (RunStateError("x"), 1),
        (FilterError("x"), 2),
        (InvalidPathError("x"), 2),
        (click.UsageError("x"), 2),
        (NotFoundError("x"), 4),
        (StoreVersionError("x"), 5),
        (CorruptionError("x", path="x"), 5),
        (BusyError("x"), 6),
        (RemoteError("x"), 7),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
        (OSError(5, "x"), 1),
    ],
)
def test_each_kind_of_error_has_its_documented_exit_code(error: BaseException, code: int) -> None:
    assert exit_code(error) == code
    assert code in EXIT_CODES


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EROFS, "how its disk is mounted"),
        (errno.ENOSPC, "make room"),
        (errno.EIO, "check the path, and the disk"),
    ],
)
def test_an_error_of_the_disk_comes_with_a_hint(number: int, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    report(OSError(number, os.strerror(number), "out.html"))
    error, what_to_do = capsys.readouterr().err.splitlines()
    assert error == f"error: out.html: {os.strerror(number)}"
    assert what_to_do.startswith("hint: ") and hint in what_to_do


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("list", "did you mean ls?"),
        ("sho", "did you mean show?"),
        ("verfy", "did you mean verify?"),
        ("PUSH", "did you mean sync?"),
        ("restor", "did you mean restore or report?"),
        ("xyzzy", "see: mltrack help"),
    ],
)
def test_a_mistyped_command_gets_a_guess_at_what_was_meant(typed: str, hint: str, cli: Cli) -> None:
    result = cli(typed)
    assert result.code == 2
    assert result.err.splitlines() == [f"error: there is no command {typed!r}", f"hint: {hint}"]


def test_help_shows_what_the_option_shows(cli: Cli) -> None:
    assert cli("help").out == cli("--help").out
    assert cli("help", "ls").out == cli("ls", "--help").out
    assert cli("help", "remote", "add").out == cli("remote", "add", "--help").out
    assert cli("help", "lss").err.splitlines()[-1] == "hint: did you mean ls?"
    assert "error: ls has no commands of its own" in cli("help", "ls", "x").err


def test_no_line_in_the_list_of_commands_is_cut(cli: Cli) -> None:
    assert "..." not in cli("help").out.split("Exit codes")[0].split("Options:")[1]


def test_a_store_far_above_is_named_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Store.create(tmp_path / ".mltrack")
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b" / "c")
    assert main(["ls", "--json"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"note: the store {tmp_path / '.mltrack'} was found 3 folders up; for a store in this folder:"
        " mltrack --store .mltrack init"
    ]
    assert main(["--store", str(tmp_path / ".mltrack"), "ls", "--json"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("line", [[], ["remote"]])
def test_a_command_that_needs_a_subcommand_shows_its_help_and_exits_as_misused(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Usage: mltrack")
    assert "  -h, --help" in shown
    assert "error:" not in shown


@pytest.mark.parametrize(
    ("line", "code", "named"),
    [
        ("show nosuchrun", 4, "nosuchrun"),
        ("show spirals", 4, "spirals"),
        ("ls --filter 'metrics.loss <'", 2, "metrics.loss <"),
        ("ls --order-by 'metrics.loss UPWARD'", 2, "UPWARD"),
        ("ls --experiment nosuch", 4, "nosuch"),
        ("metrics spirals-1 nosuch", 4, "nosuch"),
        ("sql 'SELECT * FROM nosuch'", 2, "nosuch"),
        ("sql 'DROP VIEW runs'", 2, ""),
        ("compare spirals-1", 2, "two runs or more"),
        ("export", 2, "--all"),
        ("nosuchcommand", 2, "nosuchcommand"),
        ("ls --nosuchoption", 2, "nosuchoption"),
    ],
)
def test_a_mistake_gets_one_line_that_names_it_a_hint_and_no_traceback(
    line: str, code: int, named: str, cli: Cli
) -> None:
    said = cli(*shlex.split(line))
    assert said.code == code
    assert not said.out
    errors = [text for text in said.err.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1
    assert named in errors[0]
    assert "hint: " in said.err
    assert "Traceback" not in said.err


def test_a_path_without_a_store_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", str(tmp_path / "none"), "ls"]) == 4
    assert f"no mltrack store at {tmp_path / 'none'}" in capsys.readouterr().err


def test_a_closed_pipe_ends_the_command_quietly(small_store: Store) -> None:
    line = ["--store", str(small_store.path), "export", "--all", "-o", "-"]
    code = f"import sys; from mltrack.cli import main; sys.exit(main({line!r}))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_interrupt_ends_a_following_tail_quietly(small_store: Store) -> None:
    code = f"""
        import sys
        from mltrack.recording import current_store
        from mltrack.recording import fluent
        from mltrack.cli import main
        current_store.set_store({str(small_store.path)!r})
        fluent.start_run(run_name="endless").log_metric("loss", 1.0)
        sys.exit(main(["--store", {str(small_store.path)!r}, "tail", "-f", "endless"]))
    """
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "loss" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not said.strip()


def is_caught(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)


def test_an_interrupt_ends_a_long_query_quietly(small_store: Store) -> None:
    line = [
        "--store",
        str(small_store.path),
        "sql",
        "select count(*) from range(1000000) a, range(1000000) b where a <> b",
    ]
    code = f"import sys; from mltrack.cli import main; print('at work'); sys.exit(main({line!r}))"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        while is_caught(process.pid, signal.SIGINT):  # not once it is in the query
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT
    assert (out, said.strip()) == ("", "")


def test_a_package_whose_commands_cannot_be_loaded_is_reported_and_skipped(tmp_path: Path) -> None:
    (tmp_path / "odd-1.dist-info").mkdir()
    (tmp_path / "odd-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (tmp_path / "odd-1.dist-info" / "entry_points.txt").write_text(
        "[mltrack.commands]\nodd = no_such_module:commands\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from mltrack.cli import main; sys.exit(main(['--help']))"
    )
    done = python("-c", code)
    assert done.returncode == 0
    assert "no_such_module" in done.stderr
    assert "\n  ls " in done.stdout


@pytest.mark.skipif(not list(distributions(name="mltrack-local")), reason="mltrack is not installed")
def test_the_version_is_shown(cli: Cli) -> None:
    said = cli("--version")
    assert said.code == 0
    assert said.out.startswith("mltrack ")

"""What comes out: no name steers a terminal, no encoding or pipe ends a command, and pipes get plain tables."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from mltrack.recording import current_store, fluent
from mltrack.store import Store
from tests.support import ROOT
from tests.support.terminal import bytes_in_terminal

EVIL = "E\x1b]0;title\x07\x1b[2J\x9b2J\u202e\n"
STEERS = (b"\x1b]", b"\x1b[2J", b"\x07", b"\xc2\x9b", "\u202e".encode())
BOXES = re.compile("[\u2500-\u259f]")  # lines, corners, blocks


def mltrack(
    store: Path, *args: str, stdout: int | None = subprocess.PIPE, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "mltrack", "--store", str(store), *args],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **(variables or {})},
        timeout=120,
    )


# one process for many command lines, as each process takes a second to start: it writes a mark, the line and its code
ALL = """
import json, sys
from mltrack.cli import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\\n<<<" + json.dumps([words, code]).encode() + b">>>\\n")
    sys.stdout.buffer.flush()
"""


def lines_of(store: Path, lines: Iterable[str], words: dict[str, str]) -> str:
    return json.dumps([["--store", str(store), *(words.get(word, word) for word in line.split())] for line in lines])


def each(said: bytes) -> Iterator[tuple[list[str], int, bytes]]:
    """The words of each line, its exit code, and what it printed."""
    for printed, mark in re.findall(rb"(.*?)\r?\n<<<(.*?)>>>\r?\n", said, re.DOTALL):
        words, code = json.loads(mark)
        yield words[2:], code, printed


@pytest.fixture
def evil_store(tmp_path: Path) -> tuple[Path, list[str]]:
    """Two runs in which every name and text steers terminals, files without an event, and a remote as bad."""
    root = tmp_path / ".mltrack"
    current_store.set_store(root)
    current_store.set_experiment(f"experiment {EVIL}")
    ids = []
    for number in range(2):
        with fluent.start_run(run_name=f"run {EVIL}", tags={f"tag {EVIL}": EVIL}) as run:
            run.log_params({f"param {EVIL}": number, "note": EVIL})
            run.log_metric(f"metric {EVIL}", float(number))
            ids.append(run.run_id)
    (root / "runs" / ids[0] / "artifacts").mkdir(exist_ok=True)
    (root / "runs" / ids[0] / "artifacts" / EVIL.replace("/", "").strip()).write_text("left")
    (root / "remotes.toml").write_text(
        '[remotes.lab]\nurl = "http://127.0.0.1:9/\\u001b]0;title\\u0007"\n', encoding="utf-8"
    )
    current_store.set_store(None)
    return root, ids


COMMANDS = (
    "ls", "ls -c METRIC", "show RUN", "tail RUN", "tail RUN -m METRIC", "metrics RUN", "metrics RUN METRIC",
    "metrics RUN none", "compare RUN OTHER", "diff RUN OTHER",
    "check", "sql QUERY", "sql QUERY --csv", "sql QUERY --json", "ls --json",
    "show RUN --json", "export RUN -o -", "export RUN --format json -o -", "remote ls", "remote ls --json", "status",
    "status --json", "sync lab --dry-run", "ls --filter EVIL", "logs RUN", "rm RUN", "restore RUN",
    "report RUN OTHER --format md -o -", "report RUN -o -",
)  # fmt: skip


@pytest.mark.slow
def test_no_name_in_a_store_controls_a_terminal(evil_store: tuple[Path, list[str]]) -> None:
    root, ids = evil_store
    words = {"RUN": ids[0], "OTHER": ids[1], "METRIC": f"metric {EVIL}", "EVIL": EVIL, "QUERY": "from params"}
    said = list(each(bytes_in_terminal(["-c", ALL, lines_of(root, COMMANDS, words)])))
    assert len(said) == len(COMMANDS)
    for line, _, shown in said:
        assert not [sign for sign in STEERS if sign in shown], (line, shown)
        assert b"Traceback" not in shown, (line, shown)


@pytest.mark.slow
def test_a_terminal_shows_the_colours_of_a_program_and_no_other_control_sequence(tmp_path: Path) -> None:
    printed = b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J done\n"
    current_store.set_store(tmp_path / ".mltrack")
    with fluent.start_run(run_name="one") as run:
        run.log_text(printed.decode(), "user_logs/std_log.txt")  # as a launcher keeps it
    shown = bytes_in_terminal(["-m", "mltrack", "--store", str(tmp_path / ".mltrack"), "logs", "one"])
    assert shown == b"\x1b[31mred\x1b[0m \\x1b]0;title\\x07 \\x1b[2J done\r\n\x1b[0m"
    assert mltrack(tmp_path / ".mltrack", "logs", "one").stdout == printed


# --- encodings ---


@pytest.fixture
def wide_store(tmp_path: Path) -> Path:
    """A run whose texts few encodings take, with a child, so that a terminal gets a tree."""
    root = tmp_path / ".mltrack"
    current_store.set_store(root)
    current_store.set_experiment("spirals")
    with fluent.start_run(run_name="plain") as run:
        run.log_params({"note": "two\nlines", "model": "模型", "odd": "\udce4 é 👩\u200d💻"})
        for step in range(50):
            run.log_metric("loss 模", float(step * step), step)
        with fluent.start_run(run_name="child", nested=True) as child:
            child.log_metric("loss 模", 1.0)
    current_store.set_store(None)
    return root


WIDE_COMMANDS = (
    "ls", "ls --json", "show plain", "show plain --json", "tail plain", "tail plain --json", "metrics plain",
    "metrics plain KEY", "compare plain child", "compare plain child --json", "sql QUERY", "sql QUERY --csv",
    "sql QUERY --json", "export plain -o -", "export plain --format json -o -", "check", "check --json", "show 模型",
    "status",
)  # fmt: skip
ENCODINGS: tuple[dict[str, str], ...] = (
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "C"},
)


@pytest.mark.parametrize(
    "variables", [ENCODINGS[0], *(pytest.param(more, marks=pytest.mark.slow) for more in ENCODINGS[1:])], ids=str
)
def test_no_encoding_of_the_output_ends_a_command(variables: dict[str, str], wide_store: Path) -> None:
    lines = lines_of(wide_store, WIDE_COMMANDS, {"KEY": "loss 模", "QUERY": "from params"})
    done = subprocess.run(
        [sys.executable, "-c", ALL, lines], capture_output=True, env={**os.environ, **variables}, timeout=300
    )
    assert b"Traceback" not in done.stderr
    said = list(each(done.stdout))
    assert len(said) == len(WIDE_COMMANDS)
    for words, code, printed in said:
        by_name = any(not word.isascii() for word in words)  # which an ASCII locale can't hand over
        assert code in ((0, 4) if by_name else (0,)), words
        if "--json" in words and "tail" not in words:
            json.loads(printed)


@pytest.mark.slow
def test_a_character_outside_of_the_output_encoding_is_shown_escaped(wide_store: Path) -> None:
    shown = mltrack(wide_store, "show", "plain", variables={"PYTHONIOENCODING": "latin-1"}).stdout.decode("latin-1")
    assert "\\u6a21\\u578b" in shown
    assert "\nnote\ntwo\nlines\n" in shown
    assert "\\udce4 é" in shown
    found = json.loads(mltrack(wide_store, "show", "plain", "--json", variables={"PYTHONIOENCODING": "ascii"}).stdout)
    assert found["params"]["model"] == "模型"


@pytest.mark.slow
def test_a_terminal_without_box_characters_gets_plain_ones(wide_store: Path) -> None:
    lines = lines_of(wide_store, ("ls", "metrics plain", "metrics plain KEY"), {"KEY": "loss 模"})
    shown = bytes_in_terminal(["-c", ALL, lines], PYTHONIOENCODING="ascii").decode("ascii")
    assert "` child" in shown
    assert "\\u2" not in shown.replace("\\u200d", ""), shown  # a param has a joiner


# --- pipes, full disks, closed streams ---


@pytest.mark.parametrize("line", ["--help", "ls", "sql 'select 1'"])
def test_a_broken_pipe_ends_a_command_quietly_with_its_code(line: str, small_store: Store) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = mltrack(small_store.path, *line.replace("'", "").split(maxsplit=1), stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
def test_errors_that_cannot_be_printed_keep_their_exit_code(small_store: Store) -> None:
    for redirected in ("2>&-", "2>/dev/full", "2>&1 | true"):
        line = (
            f'"{sys.executable}" -m mltrack --store "{small_store.path}" show nosuchrun {redirected}; '
            "exit ${PIPESTATUS[0]}"
        )
        done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60)
        assert done.returncode == 4
        assert b"Exception ignored" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("line", ["ls", "--help", "export --all -o -"])
def test_a_full_disk_behind_the_output_is_an_error_with_a_hint(line: str, small_store: Store) -> None:
    with open("/dev/full", "wb") as full:
        done = mltrack(small_store.path, *line.split(), stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr.splitlines() == [b"error: No space left on device", b"hint: make room, then try again"]


def test_a_command_without_standard_streams_works(small_store: Store) -> None:
    line = f'"{sys.executable}" -m mltrack --store "{small_store.path}" rm spirals-2 <&- >&- 2>&-'
    assert subprocess.run(["bash", "-c", line], timeout=60).returncode == 0
    assert small_store.run("spirals-2").info.lifecycle_stage == "deleted"


PIPED = (
    "ls", "show spirals-1", "tail spirals-1", "metrics spirals-1", "metrics spirals-1 loss", "remote ls",
    "compare spirals-1 spirals-2", "sql QUERY", "check", "sync http://127.0.0.1:9 --dry-run", "status", "ls --help",
    "logs spirals-1", "export --all -o out", "rm spirals-2", "restore spirals-2", "seal", "--help", "status --help",
)  # fmt: skip


@pytest.mark.parametrize("width", ["80", pytest.param("200", marks=pytest.mark.slow)])
def test_a_pipe_gets_no_boxes_no_colours_and_nothing_is_cut(width: str, small_store: Store) -> None:
    (small_store.path / "remotes.toml").write_text(
        '[remotes.lab]\nurl = "http://127.0.0.1:9/long/long/long/long/long"\n'
    )
    lines = lines_of(small_store.path, PIPED, {"QUERY": "select repeat('ab', 200) as long"})
    done = subprocess.run(
        [sys.executable, "-c", ALL, lines],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "COLUMNS": width, "TERM": "xterm-256color"},
        timeout=300,
    )
    said = list(each(done.stdout))
    assert len(said) == len(PIPED), done.stdout
    for words, code, printed in said:
        text = printed.decode()
        assert code == 0, text
        assert not BOXES.search(text), text
        assert "\x1b" not in text, text
        assert "…" not in text, text
        assert words[0] != "sql" or "ab" * 200 in text


# --- the one place ---

PRINTERS = {"print", "click.echo", "click.secho", "click.confirm", "sys.stdout.write", "sys.stderr.write", "Console"}
ALLOWED = {
    ("src/mltrack/process/trouble.py", "sys.stderr.write"),  # in a training whose logging fails
    ("src/mltrack/recording/announcements.py", "sys.stderr.write"),  # in a training, without click
    ("src/mltrack/text/printing.py", None),
    ("src/mltrack/text/frames.py", "sys.stdout.write"),  # what printing.py made
    ("src/mltrack/cli/completion.py", "click.echo"),  # a script of click's, for a shell
    ("src/mltrack/launch/submit.py", "print"),  # a program's output, through OutputFilter
}


@pytest.mark.slow
def test_only_one_module_prints() -> None:
    for folder in ("src/mltrack", "sync/mltrack_sync"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    allowed = (name, None) in ALLOWED or (name, called) in ALLOWED
                    assert called not in PRINTERS or allowed, f"{name}:{node.lineno}: {called}"


@pytest.mark.slow
def test_a_terminal_gets_a_very_long_value_in_part_and_its_length(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / ".mltrack")
    with fluent.start_run(run_name="one") as run:
        run.log_param("long", "x" * 5_000)
    shown = bytes_in_terminal(["-m", "mltrack", "--store", str(tmp_path / ".mltrack"), "show", "one"])
    assert shown.count(b"x") < 4_100
    assert b"5,000 characters: mltrack show --json" in b" ".join(shown.split())

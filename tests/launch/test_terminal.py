"""`mltrack run` at a real terminal: the program has one too, and keys do there what they do without a launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mltrack import Store
from mltrack.storage.runs.stored_run import StoredRun

TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


END = b"<that was all>"


class Terminal:
    """A terminal, with one command that runs in it at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._screen, self._keys = os.openpty()
        termios.tcsetwinsize(self._screen, (33, 77))
        self.shown = b""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("MLTRACK_", "MLFLOW_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            cwd=self.folder,
            env=env,
            start_new_session=True,
            stdin=self._keys,
            stdout=self._keys if stdout is None else stdout,
            stderr=self._keys,
        )
        return self.process

    def launch(self, program: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
        light = ("--no-snapshot", "--no-system-metrics", "--no-watch")
        command = (sys.executable, "-m", "mltrack", "run", *light, "--", sys.executable, "-c", program)
        return self.start(*command, stdout=stdout)

    def press(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def show(self, text: bytes) -> None:
        """Return once this was shown."""
        while text not in self.shown:
            self.shown += os.read(self._screen, 1 << 16)

    def wait(self) -> int:
        """The exit code; all that was shown is in ``shown``."""
        assert self.process is not None
        code = self.process.wait()
        os.write(self._keys, END)  # comes after all that was written before, which the kernel passes on in its own time
        self.show(END)
        self.shown = self.shown.replace(END, b"")
        return code

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        os.close(self._screen)
        os.close(self._keys)

    def run(self) -> StoredRun:
        (run,) = Store.open(self.folder / ".mltrack").runs()
        return run

    def output(self) -> str:
        return self.run().artifact_path("user_logs/std_log.txt").read_text()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


LOOK = """
import os, sys
for fd in (1, 2):
    os.write(fd, f"{fd} {os.isatty(fd)} {tuple(os.get_terminal_size(fd)) if os.isatty(fd) else ()}\\n".encode())
"""


def test_the_program_has_a_terminal_of_our_size_if_we_have_one(terminal: Terminal) -> None:
    terminal.launch(LOOK)
    assert terminal.wait() == 0
    assert b"1 True (77, 33)\r\n" in terminal.shown  # and not "\r\r\n": bytes pass as they are
    assert b"2 True (77, 33)\r\n" in terminal.shown
    assert sorted(terminal.output().splitlines()) == ["1 True (77, 33)", "2 True (77, 33)"]


def test_a_redirected_stream_is_not_a_terminal_and_stays_separate(terminal: Terminal) -> None:
    with open(terminal.folder / "out.txt", "wb") as file:
        terminal.launch(LOOK, stdout=file.fileno())
        assert terminal.wait() == 0
    assert (terminal.folder / "out.txt").read_text() == "1 False ()\n"
    assert b"2 True" in terminal.shown
    assert b"1 False" not in terminal.shown


def test_the_program_reads_typed_input_and_its_prompt_is_shown_at_once(terminal: Terminal) -> None:
    terminal.launch("print('hello', input('who? '))")
    terminal.show(b"who? ")
    terminal.press(b"ada\n")
    assert terminal.wait() == 0
    assert b"hello ada" in terminal.shown


INTERRUPTED = """
import signal, time
count = 0
def note(number, frame):
    global count
    count += 1
signal.signal(signal.SIGINT, note)
print("ready", flush=True)
while not count:
    time.sleep(0.01)
time.sleep(0.3)  # for a second one to come
print("got it", count, flush=True)
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.raise_signal(signal.SIGINT)
"""


def test_ctrl_c_reaches_the_program_once_and_the_run_is_killed(terminal: Terminal) -> None:
    terminal.launch(INTERRUPTED)
    terminal.show(b"ready")
    terminal.press(b"\x03")
    assert terminal.wait() == -signal.SIGINT  # which a shell shows as 130
    assert b"got it 1\r\n" in terminal.shown
    assert b"killed, exit code 130" in terminal.shown
    run = terminal.run()
    assert run.info.status == "KILLED"
    assert run.tags["mltrack.signal"] == "SIGINT"


def test_ctrl_c_ends_a_shell_loop_over_launches(terminal: Terminal) -> None:
    launch = f"{sys.executable} -m mltrack run --no-snapshot --no-system-metrics --no-watch --"
    terminal.start("bash", "-c", f"for n in 1 2 3; do {launch} sh -c 'echo ready; exec sleep 60'; done")
    terminal.show(b"ready")
    terminal.press(b"\x03")
    assert terminal.wait() == -signal.SIGINT
    assert terminal.run().info.status == "KILLED"


def test_resizing_the_terminal_resizes_it_for_the_program(terminal: Terminal) -> None:
    terminal.launch(
        "import os, signal, time\n"
        "signal.signal(signal.SIGWINCH, lambda *_: None)\n"
        "print('ready', flush=True)\n"
        "while os.get_terminal_size(1).columns != 120: time.sleep(0.01)\n"
        "print('as wide', flush=True)\n"
    )
    terminal.show(b"ready")
    termios.tcsetwinsize(terminal._screen, (40, 120))
    terminal.show(b"as wide")
    assert terminal.wait() == 0


def test_under_nohup_a_launch_continues_when_its_terminal_is_gone(terminal: Terminal) -> None:
    launch = [sys.executable, "-m", "mltrack", "run", "--no-snapshot", "--no-system-metrics", "--no-watch", "--"]
    os.mkfifo(terminal.folder / "go")
    process = terminal.start("nohup", *launch, "sh", "-c", "echo ready; read go < go; echo still here")
    written = terminal.folder / "nohup.out"
    while not (written.exists() and b"ready" in written.read_bytes()):
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    with open(terminal.folder / "go", "w") as go:
        go.write("\n")
    assert terminal.wait() == 0
    assert terminal.run().info.status == "FINISHED"
    assert "still here" in terminal.output()

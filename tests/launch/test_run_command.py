"""`mltrack run` as a user has it: real programs, real signals, and what is in the store afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from mltrack import Store
from mltrack.cli import main
from mltrack.launch.capture import TAIL_BYTES
from mltrack.launch.launcher import last_error
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.stored_run import StoredRun

NAME = "user_logs/std_log.txt"


class Launching:
    """Launches programs in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("MLTRACK_", "MLFLOW_"))}
        self.started: list[subprocess.Popen[str]] = []

    def command(self, *words: str, options: Sequence[str] = ()) -> list[str]:
        light = ("--no-snapshot", "--no-system-metrics", "--no-watch")
        return [sys.executable, "-m", "mltrack", "run", *light, *options, "--", *words]

    def __call__(self, *words: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words, options=options), cwd=self.folder, env=self.env, capture_output=True, text=True
        )

    def start(self, *words: str, options: Sequence[str] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*words, options=options),
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def python(self, program: str, *arguments: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        return self(sys.executable, self.script(program), *arguments, options=options)

    def script(self, program: str) -> str:
        (self.folder / "train.py").write_text(program, encoding="utf-8")
        return "train.py"

    def run(self) -> StoredRun:
        """The only run of the store."""
        (run,) = Store.open(self.folder / ".mltrack").runs()
        return run

    def output(self) -> str:
        return self.run().artifact_path(NAME).read_text()

    def wait_for(self, met: Callable[[], bool]) -> None:
        while not met():
            time.sleep(0.02)


@pytest.fixture
def launching(tmp_path: Path) -> Iterator[Launching]:
    launching = Launching(tmp_path)
    yield launching
    for process in launching.started:
        process.kill()
        process.communicate()


def test_output_is_passed_on_and_stored_and_the_run_finishes(launching: Launching) -> None:
    done = launching("sh", "-c", "echo to out; echo to err >&2")
    assert done.returncode == 0
    assert done.stdout == "to out\n"
    assert "to err\n" in done.stderr
    assert sorted(launching.output().splitlines()) == ["to err", "to out"]
    run = launching.run()
    assert run.info.status == "FINISHED"
    assert run.tags["mltrack.exit_code"] == "0"
    assert run.tags["mltrack.command"] == "sh -c 'echo to out; echo to err >&2'"
    assert not (run.folder.path / "live" / "std_log.txt").exists()


def test_what_the_program_logs_is_stored_in_the_same_run(launching: Launching) -> None:
    program = """
import mltrack
with mltrack.start_run() as run:
    mltrack.log_metric("loss", 0.5)
with mltrack.start_run():
    mltrack.log_param("second", 1)
"""
    options = ["-e", "spirals", "-n", "first", "-p", "lr=0.1", "-t", "team=blue"]
    assert launching.python(program, options=options).returncode == 0
    runs = {run.info.run_name: run for run in Store.open(launching.folder / ".mltrack").runs()}
    first = runs.pop("first")
    assert first.data.metrics["loss"] == 0.5
    assert first.params == {"lr": "0.1"}
    assert first.tags["team"] == "blue"
    assert first.info.experiment_name == "spirals"
    assert first.info.status == "FINISHED"
    (second,) = runs.values()  # a further run of the program is one of its own, of the same experiment
    assert second.params == {"second": "1"}
    assert second.info.experiment_name == "spirals"


MLFLOW_PROGRAM = """
import mlflow
mlflow.set_experiment("named by the script")
with mlflow.start_run(run_name="named by the script", tags={"team": "blue"}):
    mlflow.log_metric("loss", 0.5)
    with mlflow.start_run(nested=True):
        mlflow.log_metric("inner", 1)
with mlflow.start_run():
    mlflow.log_metric("second", 1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("named", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_an_unmodified_mlflow_program_logs_is_stored_in_the_same_run(launching: Launching, named: bool) -> None:
    done = launching.python(MLFLOW_PROGRAM, options=["-e", "spirals", *(["-n", "mine"] if named else [])])
    assert done.returncode == 0, done.stderr
    runs = {next(iter(run.data.metrics), ""): run for run in Store.open(launching.folder / ".mltrack").runs()}
    first = runs["loss"]
    assert first.info.experiment_name == "spirals"
    assert first.info.status == "FINISHED"
    assert first.info.run_name == ("mine" if named else "named by the script")
    assert first.tags["team"] == "blue"
    assert first.tags["mltrack.exit_code"] == "0"
    assert runs["inner"].info.parent_run_id == first.run_id
    assert runs["second"].info.experiment_name == "named by the script"
    assert len(runs) == 3


def test_a_name_cannot_control_the_terminal(launching: Launching) -> None:
    done = launching("true", options=["-n", "red\x1b[31m"])
    assert "red\\x1b[31m" in done.stderr
    assert launching.run().info.run_name == "red\x1b[31m"


def test_mlflow_in_the_program_does_not_measure_the_machine_a_second_time(launching: Launching) -> None:
    launching.env["MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"] = "true"
    line = ("sh", "-c", "echo ${MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING:-unset}")
    assert launching(*line).stdout == "true\n"  # nobody else does
    words = [word for word in launching.command(*line) if word != "--no-system-metrics"]
    done = subprocess.run(words, cwd=launching.folder, env=launching.env, capture_output=True, text=True)
    assert done.stdout == "unset\n"


@pytest.mark.slow
def test_every_process_of_the_program_logs_into_its_run(launching: Launching) -> None:
    program = """
import subprocess, sys
import mltrack
if len(sys.argv) > 1:
    mltrack.log_metric("rank", float(sys.argv[1]))
else:
    mltrack.log_metric("main", 1)
    for child in [subprocess.Popen([sys.executable, __file__, str(n)]) for n in range(3)]:
        child.wait()
"""
    assert launching.python(program).returncode == 0
    run = launching.run()
    assert sorted(run.metrics("rank").column("value").to_pylist()) == [0, 1, 2]
    assert run.data.metrics["main"] == 1


def test_a_program_that_raises_is_a_failed_run_with_its_traceback_and_its_exit_code(launching: Launching) -> None:
    done = launching.python("print('before')\ntry: 1 / 0\nexcept ArithmeticError: raise ValueError('no such spiral')")
    assert done.returncode == 1
    assert "failed, exit code 1" in done.stderr
    run = launching.run()
    assert run.info.status == "FAILED"
    assert run.tags["mltrack.error"].startswith("Traceback (most recent call last):")
    assert "\nZeroDivisionError: division by zero\n\nDuring handling" in run.tags["mltrack.error"]
    assert run.tags["mltrack.error"].endswith("ValueError: no such spiral")
    assert "before" in launching.output()


def test_of_a_group_of_errors_all_of_it_is_kept_with_what_caused_it() -> None:
    try:
        try:
            raise OSError("cause")
        except OSError as error:
            try:
                raise ValueError("first")
            except ValueError as first:
                raise ExceptionGroup("several", [first, TypeError("second")]) from error
    except ExceptionGroup as error:
        printed = "".join(traceback.format_exception(error)).rstrip()
        alone = printed[printed.index("  + Exception Group") :]
    assert last_error(f"epoch 1\n{printed}\n".encode()) == printed
    assert last_error(f"{alone}\n".encode()) == alone


def test_of_an_error_that_is_kept_from_its_middle_the_first_line_is_left_out() -> None:
    secret_and_more = b"second half of a secret\n" + b"[redacted] " * 2_000 + b"\nthe end"
    assert last_error(secret_and_more[-TAIL_BYTES:]) == "the end"
    assert last_error(b"short\nthe end") == "short\nthe end"


@pytest.mark.parametrize("code", [3, 255])
def test_the_exit_code_is_that_of_the_program(launching: Launching, code: int) -> None:
    assert launching("sh", "-c", f"exit {code}").returncode == code
    assert launching.run().tags["mltrack.exit_code"] == str(code)


def test_a_program_that_is_killed_is_a_killed_run(launching: Launching) -> None:
    assert launching("sh", "-c", "kill -9 $$").returncode == 137
    run = launching.run()
    assert run.info.status == "KILLED"
    assert run.tags["mltrack.signal"] == "SIGKILL"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_reach_the_program_which_may_clean_up(launching: Launching, number: signal.Signals) -> None:
    program = f"""
import signal, sys, time
def end(number, frame):
    print("got", number, flush=True)
    sys.exit(42)
signal.signal({int(number)}, end)
print("ready", flush=True)
time.sleep(60)
"""
    process = launching.start(sys.executable, launching.script(program))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, _ = process.communicate()
    assert out == f"got {int(number)}\n"
    assert process.returncode == 42
    run = launching.run()
    assert run.info.status == "KILLED"
    assert run.tags.get("mltrack.preempted") == (None if number == signal.SIGINT else number.name)


@pytest.mark.slow
def test_a_preempted_run_is_continued(launching: Launching) -> None:
    process = launching.start("sh", "-c", "echo one; exec sleep 60", options=["-n", "job-7"])
    assert process.stdout is not None
    assert process.stdout.readline() == "one\n"
    process.terminate()
    process.communicate()
    assert launching.run().tags["mltrack.preempted"] == "SIGTERM"
    assert launching("echo", "two", options=["--resume", "job-7"]).returncode == 0
    run = launching.run()
    assert run.info.status == "FINISHED"
    assert "mltrack.preempted" not in run.tags
    assert "mltrack.signal" not in run.tags
    assert launching.output() == "one\ntwo\n"


def test_the_old_spelling_of_resume_if_exists_is_refused_naming_the_new_one(launching: Launching) -> None:
    refused = launching("true", options=["-n", "12345", "--go-on"])
    assert refused.returncode == 2
    assert "hint: use --resume-if-exists" in refused.stderr
    assert not (launching.folder / ".mltrack").exists()


@pytest.mark.slow
def test_a_restarted_job_continues_the_run_of_its_name(launching: Launching) -> None:
    again = ["-e", "spirals", "-n", "12345", "-p", "lr=1", "--resume-if-exists"]
    assert launching("sh", "-c", "echo one; exit 75", options=again).returncode == 75
    assert launching("echo", "two", options=again).returncode == 0
    assert launching("echo", "elsewhere", options=["-n", "12345", "--resume-if-exists"]).returncode == 0
    runs = {run.info.experiment_name: run for run in Store.open(launching.folder / ".mltrack").runs()}
    assert sorted(runs) == ["Default", "spirals"]
    assert (runs["spirals"].info.status, runs["spirals"].info.run_name) == ("FINISHED", "12345")
    assert runs["spirals"].artifact_path(NAME).read_text() == "one\ntwo\n"
    assert "--name" in launching("true", options=["--resume-if-exists"]).stderr
    assert launching("true", options=["-e", "spirals", "-n", "12345"]).returncode == 0
    refused = launching("true", options=again)
    assert refused.returncode == 2
    assert "2 runs of the experiment 'spirals' are called '12345'" in refused.stderr


@pytest.mark.slow
def test_forked_processes_log_into_the_run_even_after_their_parent_did(launching: Launching) -> None:
    program = """
import os
import mlflow
import mltrack
with mltrack.start_run():
    mltrack.log_metric("before", 1)
with mlflow.start_run():
    mlflow.log_metric("before too", 1)
for tracker in (mltrack, mlflow):
    child = os.fork()
    if not child:
        with tracker.start_run():
            tracker.log_metric(tracker.__name__, 1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
    done = launching.python(program)
    assert done.returncode == 0, done.stderr
    assert launching.run().data.metrics == {"before": 1, "before too": 1, "mltrack": 1, "mlflow": 1}


def test_a_launcher_without_standard_streams_stores_the_output_and_keeps_the_exit_code(launching: Launching) -> None:
    words = launching.command("sh", "-c", "cat; echo out; echo err >&2; exit 7")
    done = subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *words], cwd=launching.folder, env=launching.env)
    assert done.returncode == 7
    assert launching.output() == "out\nerr\n"


def test_a_launch_in_a_deleted_folder_says_so(launching: Launching) -> None:
    words = launching.command("true")
    script = 'mkdir gone && cd gone && rmdir ../gone && "$@"'
    env = launching.env | {"MLTRACK_STORE": str(launching.folder / ".mltrack")}
    done = subprocess.run(
        ["sh", "-c", script, "sh", *words], cwd=launching.folder, env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (
        2,
        "error: the working folder is gone\nhint: cd to a folder that exists\n",
    )


@pytest.mark.slow
def test_what_a_killed_launcher_had_stored_can_be_read_and_continued(launching: Launching) -> None:
    program = "import os, sys, time\nprint('one', flush=True)\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    process = launching.start(sys.executable, launching.script(program), options=["-n", "job-7"])
    assert process.stdout is not None
    assert process.stdout.readline() == "one\n"
    child = int(process.stdout.readline())
    live = launching.run().folder.path / "live" / "std_log.txt"
    launching.wait_for(lambda: live.read_text().endswith(f"{child}\n"))
    process.kill()
    process.communicate()
    os.kill(child, signal.SIGKILL)
    shown = subprocess.run(
        [sys.executable, "-m", "mltrack", "logs", "job-7"], cwd=launching.folder, capture_output=True, text=True
    )
    assert shown.stdout == f"one\n{child}\n"
    assert launching("echo", "two", options=["--resume", "job-7"]).returncode == 0
    assert launching.output() == f"one\n{child}\ntwo\n"


def test_a_program_whose_launcher_is_killed_continues_and_so_does_its_log(launching: Launching) -> None:
    program = """
import os, sys, time
print("one", flush=True)
while not os.path.exists("go"): time.sleep(0.01)
for n in range(20_000): print("more", n)
print("last", file=sys.stderr, flush=True)
open("done", "w").close()
"""
    process = launching.start(sys.executable, launching.script(program), options=["-n", "job"])
    assert process.stdout is not None
    assert process.stdout.readline() == "one\n"
    process.kill()
    process.communicate()
    (launching.folder / "go").touch()
    launching.wait_for((launching.folder / "done").exists)
    launching.wait_for(lambda: any(artifact.path == NAME for artifact in launching.run().artifacts))
    kept = launching.output().splitlines()
    assert sorted(kept) == sorted(["one", *(f"more {n}" for n in range(20_000)), "last"])
    assert launching.run().info.status == "FAILED"
    assert not (launching.run().folder.path / "live").exists()


@pytest.mark.slow
def test_the_output_can_be_followed_while_the_program_runs(launching: Launching) -> None:
    program = "import time\nfor n in range(5): print('line', n, flush=True); time.sleep(0.1)"
    process = launching.start(sys.executable, launching.script(program), options=["-n", "job"])
    assert process.stdout is not None
    process.stdout.readline()
    followed = subprocess.run(
        [sys.executable, "-m", "mltrack", "logs", "-f", "job"], cwd=launching.folder, capture_output=True, text=True
    )
    assert followed.stdout == "".join(f"line {n}\n" for n in range(5))


def test_a_leftover_process_that_holds_the_output_open_does_not_keep_the_run_open(launching: Launching) -> None:
    done = launching("sh", "-c", "sleep 30 & echo $!")
    os.kill(int(done.stdout), signal.SIGKILL)
    assert done.returncode == 0
    assert launching.run().info.status == "FINISHED"


def test_output_is_stored_even_if_its_reader_is_gone(launching: Launching) -> None:
    command = " ".join(map(repr, launching.command("sh", "-c", "yes line | head -100000")))
    subprocess.run(
        ["sh", "-c", f"{command} | head -1"], cwd=launching.folder, env=launching.env, stdout=subprocess.PIPE
    )
    assert launching.output() == "line\n" * 100_000
    assert launching.run().info.status == "FINISHED"


def test_much_output_on_both_streams_is_stored_whole(launching: Launching) -> None:
    program = """
import os, threading
def write(fd, letter):
    for _ in range(200):
        os.write(fd, (letter * 4999 + "\\n").encode())
threads = [threading.Thread(target=write, args=pair) for pair in ((1, "o"), (2, "e"))]
[thread.start() for thread in threads]
"""
    done = launching.python(program)
    assert done.stdout == ("o" * 4999 + "\n") * 200
    kept = launching.output()
    assert kept.count("o") == kept.count("e") == 4999 * 200


def test_a_mistake_on_the_command_line_records_nothing(launching: Launching) -> None:
    done = launching("no-such-program")
    assert done.returncode == 2
    assert "there is no program 'no-such-program'" in done.stderr
    assert "Traceback" not in done.stderr
    done = launching("true", options=["-p", "lr"])
    assert done.returncode == 2
    assert "is not KEY=VALUE" in done.stderr
    assert not (launching.folder / ".mltrack").exists()


def test_a_file_that_is_not_a_program_is_reported(launching: Launching) -> None:
    (launching.folder / "data.txt").write_text("no program")
    done = launching("./data.txt")
    assert done.returncode == 2
    assert "can't be run: Permission denied" in done.stderr


def test_options_after_the_command_belong_to_the_command(launching: Launching) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mltrack", "run", "echo", "-n", "--name", "x"],
        cwd=launching.folder,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "--name x"


@pytest.mark.slow
def test_two_launches_that_continue_one_run_have_separate_logs(launching: Launching) -> None:
    assert launching("echo", "first", options=["-n", "job"]).returncode == 0
    os.mkfifo(launching.folder / "go")
    one = launching.start("sh", "-c", "echo one; read go < go; echo one again", options=["--resume", "job"])
    assert one.stdout is not None
    assert one.stdout.readline() == "one\n"
    assert launching("echo", "two", options=["--resume", "job"]).returncode == 0
    (launching.folder / "go").write_text("\n")
    one.communicate()
    assert launching.output() == "first\none\none again\n"
    assert launching.run().artifact_path("user_logs/std_log_1.txt").read_text() == "two\n"
    logs = [sys.executable, "-m", "mltrack", "logs", "job"]
    shown = subprocess.run([*logs, "--part", "1"], cwd=launching.folder, capture_output=True, text=True)
    assert shown.stdout == "two\n"
    shown = subprocess.run(logs, cwd=launching.folder, capture_output=True, text=True)
    assert "this run has more logs: --part 1" in shown.stderr
    assert check_store(launching.folder / ".mltrack").findings == []


@pytest.mark.slow
def test_options_that_conflict_with_the_continued_run_are_refused_before_it_is_changed(launching: Launching) -> None:
    launching("false", options=["-n", "job", "-e", "spirals", "-p", "lr=1"])
    before = launching.run().tags
    done = launching("true", options=["--resume", "job", "-p", "lr=2"])
    assert done.returncode == 2
    assert "can't become '2'" in done.stderr
    done = launching("true", options=["--resume", "job", "-e", "other"])
    assert done.returncode == 2
    assert "belongs to the experiment 'spirals'" in done.stderr
    assert launching.run().tags == before
    assert launching.run().info.status == "FAILED"
    assert launching("true", options=["--resume", "job", "-p", "lr=1", "-e", "spirals"]).returncode == 0


def test_what_a_killed_launcher_left_is_reported_by_check_and_made_an_artifact_by_seal(launching: Launching) -> None:
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    process = launching.start(sys.executable, launching.script(program), options=["-n", "job"])
    assert process.stdout is not None
    child = int(process.stdout.readline())
    live = launching.run().folder.path / "live"
    launching.wait_for(lambda: (live / "std_log.txt").read_text() == f"{child}\n")
    process.kill()
    process.communicate()
    os.kill(child, signal.SIGKILL)
    store = launching.folder / ".mltrack"
    (finding,) = check_store(store).findings
    assert (finding.severity, finding.advice) == ("note", "store it with: mltrack seal")
    assert main(["--store", str(store), "seal"]) == 0
    assert launching.output() == f"{child}\n"
    assert not live.exists()
    assert check_store(store).findings == []
    assert launching.run().info.status == "FAILED"


def test_the_log_of_a_live_launch_is_not_sealed(launching: Launching) -> None:
    process = launching.start("sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout is not None
    process.stdout.readline()
    assert main(["--store", str(launching.folder / ".mltrack"), "seal"]) == 0
    assert (launching.run().folder.path / "live" / "std_log.txt").exists()


def test_a_failed_snapshot_does_not_fail_the_launch_and_is_counted_as_lost(launching: Launching) -> None:
    sources = launching.folder / ".mltrack" / "sources"
    assert launching("true").returncode == 0
    sources.write_text("no folder")
    words = [sys.executable, "-m", "mltrack", "run", "-n", "second", "--", "echo", "hello"]
    done = subprocess.run(words, cwd=launching.folder, env=launching.env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "Traceback" not in done.stderr
    assert "training goes on, what can't be stored is counted" in done.stderr
    (note,) = check_store(launching.folder / ".mltrack").findings
    assert note.what == "says that the artifact 'code/files.json', or part of it, was lost: File exists"


def test_a_full_disk_loses_the_output_and_does_not_stop_the_program(launching: Launching) -> None:
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    disk = launching.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "mltrack-test", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        command = [sys.executable, "-m", "mltrack", "--store", str(disk / "s"), "run", "--no-system-metrics"]
        done = subprocess.run(
            [*command, "--", "sh", "-c", "yes line | head -1000000"], env=launching.env, capture_output=True, text=True
        )
        assert done.returncode == 0
        assert done.stdout == "line\n" * 1_000_000
        assert "Traceback" not in done.stderr
        assert "bytes of its output could not be written to disk" in done.stderr
        report = check_store(disk / "s")
        assert report.sound
        assert any("'user_logs/std_log.txt', or part of it, was lost" in note.what for note in report.findings)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_guard_of_the_project_ends_the_program(launching: Launching) -> None:
    (launching.folder / "mltrack.toml").write_text("[guards.nan]\nwhen = 'loss is NaN'\nstop = true", encoding="utf-8")
    program = "import mltrack, time; mltrack.log_metric('loss', float('nan'), 5); time.sleep(600)"
    done = launching.python(program)
    run = launching.run()
    assert done.returncode == 128 + signal.SIGTERM
    assert "ending the program: loss is NaN at step 5" in done.stderr
    assert (run.info.status, run.tags["mltrack.stopped"]) == ("KILLED", "loss is NaN at step 5")
    assert [alert.actions for alert in run.alerts()] == [{"stop": "done"}]


def test_what_a_shell_has_started_ends_with_it(launching: Launching) -> None:
    (launching.folder / "mltrack.toml").write_text("[guards.nan]\nwhen = 'loss is NaN'\nstop = true", encoding="utf-8")
    program = "import mltrack, os, time; print(os.getpid(), flush=True); mltrack.log_metric('loss', float('nan'))"
    program += "; time.sleep(600)"
    done = launching("sh", "-c", f"{sys.executable} {launching.script(program)} & wait")
    assert done.returncode == 128 + signal.SIGTERM
    with contextlib.suppress(psutil.NoSuchProcess):  # it is gone, or waits to be reaped
        assert psutil.Process(int(done.stdout)).status() == psutil.STATUS_ZOMBIE


def test_a_mistake_in_mltrack_toml_is_said_before_anything_runs(launching: Launching) -> None:
    (launching.folder / "mltrack.toml").write_text("[guards.nan]\nwhen = 'loss is'", encoding="utf-8")
    done = launching.python("open('ran', 'w')")
    assert done.returncode == 2
    assert "[guards.nan]: rule 'loss is' is not understood" in done.stderr
    assert not (launching.folder / "ran").exists()
    assert launching.python("pass", options=["--no-guards"]).returncode == 0

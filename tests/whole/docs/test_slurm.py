"""The page on Slurm: its batch script under the signals that Slurm sends, requeued, and pushed from beside it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from mltrack import Store
from mltrack.storage.runs.stored_run import StoredRun
from tests.support.both_sides import assert_equal
from tests.support.pages import Page
from tests.support.server import MlflowServer

pytestmark = pytest.mark.slow

STEPS = 200


class Job:
    """A batch job as Slurm runs it: the shell, its environment and signals; requeued with the same id and arguments."""

    def __init__(self, page: Page, job_id: str, *arguments: str) -> None:
        self.page = page
        self.job_id = job_id
        self._restarts = 0
        self._command = ["bash", str(page.folder / "train.sh"), *arguments]
        self._calls = page.folder / "bin" / "calls"
        self._calls.parent.mkdir()
        scontrol = self._calls.with_name("scontrol")
        scontrol.write_text('#!/bin/sh\necho "$@" >>"${0%/*}/calls"\n')
        scontrol.chmod(0o755)
        self._env = {
            **page.env,
            "PATH": f"{scontrol.parent}{os.pathsep}{page.env['PATH']}",
            "SLURM_JOB_ID": job_id,
            "SLURM_SUBMIT_DIR": str(page.folder),
        }
        self.shell: subprocess.Popen[str] | None = None

    def start(self) -> None:
        count = {"SLURM_RESTART_COUNT": str(self._restarts)} if self._restarts else {}
        self._restarts += 1
        self.shell = subprocess.Popen(
            self._command,
            cwd=self.page.folder,
            env={**self._env, **count},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, step: int) -> None:
        """Until it has come that far, or further."""
        assert self.shell is not None
        assert self.shell.stdout is not None
        said: list[str] = []
        while not said or not said[-1].startswith("step ") or int(said[-1].split()[1]) < step:
            said.append(self.shell.stdout.readline())
            assert said[-1], "".join(said)

    def warn(self) -> None:
        """What ``--signal=B:USR1@60`` asks for: to the batch shell alone."""
        assert self.shell is not None
        self.shell.send_signal(signal.SIGUSR1)

    def send(self, *signals: signal.Signals) -> None:
        """To all processes of the job."""
        assert self.shell is not None
        for number in signals:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.shell.pid, number)

    def ended(self) -> int:
        """Its exit code, once its shell has ended; then Slurm kills what is left."""
        assert self.shell is not None
        self.shell.communicate()
        self.send(signal.SIGKILL)
        return self.shell.returncode

    def end(self) -> None:
        """Leave nothing of it."""
        if self.shell is not None and self.shell.poll() is None:
            self.send(signal.SIGKILL)
            self.shell.communicate()

    def requeues(self) -> list[str]:
        """What it asked scontrol for since it was asked last."""
        calls = self._calls.read_text().splitlines() if self._calls.exists() else []
        self._calls.unlink(missing_ok=True)
        return calls


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page("slurm.md", tmp_path)


@pytest.fixture
def job(page: Page) -> Iterator[Job]:
    job = Job(page, "4711", str(STEPS))
    yield job
    job.end()


def run_of(page: Page) -> StoredRun:
    (run,) = Store.open(page.store).runs()
    return run


def until(what: Callable[[], object]) -> None:
    while not what():
        time.sleep(0.05)


def test_a_job_stopped_by_each_signal_and_requeued_is_one_whole_run_locally_and_on_the_server(
    page: Page, job: Job, server: MlflowServer
) -> None:
    page.run(f"mltrack init && mltrack remote add lab {server.url}")
    with page.started(page.elsewhere("--watch")) as syncer:

        def status_there() -> str | None:
            with contextlib.suppress(httpx.HTTPStatusError, ValueError):  # not there yet
                (run,) = server.runs("spirals").values()
                return str(run["info"]["status"])
            return None

        job.start()
        job.wait_for(30)
        job.send(signal.SIGSTOP)  # as scontrol suspend does: the job must not be over before the syncer has come
        until(lambda: status_there() == "RUNNING")
        started = run_of(page).info.start_time
        job.send(signal.SIGCONT)
        job.warn()
        assert job.ended() == 75
        assert job.requeues() == ["requeue 4711"]
        stopped = run_of(page)
        assert stopped.info.status == "KILLED"
        assert stopped.tags["mltrack.preempted"] == "SIGUSR1"
        assert stopped.tags["mltrack.exit_code"] == "75"
        until(lambda: status_there() == "KILLED")

        job.start()
        job.wait_for(60)
        job.send(signal.SIGCONT, signal.SIGTERM)
        assert job.ended() == 75
        assert job.requeues() == []  # a preemption is Slurm's own affair
        assert run_of(page).tags["mltrack.preempted"] == "SIGTERM"

        job.start()
        job.wait_for(95)
        assert run_of(page).info.status == "RUNNING"
        job.send(signal.SIGKILL)
        job.ended()
        assert run_of(page).info.status == "FAILED"
        assert run_of(page).info.crashed
        checkpoint = json.loads((page.folder / "checkpoint-4711.json").read_text())["step"]
        reached = max(run_of(page).metrics("loss").column("step").to_pylist())

        job.start()
        assert job.ended() == 0
        assert job.requeues() == []
        until(lambda: status_there() == "FINISHED")
        syncer.terminate()
        assert syncer.wait() == 0

    run = run_of(page)
    assert (run.info.run_name, run.info.experiment_name) == ("slurm-4711", "spirals")
    assert (run.info.status, run.info.crashed, run.info.start_time) == ("FINISHED", False, started)
    assert not {"mltrack.preempted", "mltrack.signal", "mltrack.error"} & run.tags.keys()
    check_points(run, again=range(checkpoint, reached + 1))
    printed = re.findall(r"^step (\d+)$", run.artifact_path("user_logs/std_log.txt").read_text(), re.MULTILINE)
    assert set(map(int, printed)) == set(range(STEPS))
    page.run(page.commands("verify"))
    assert_equal(Store.open(page.store), server, "spirals")


def check_points(run: StoredRun, again: range) -> None:
    """Each step has the value it has without any interruption, once; those it had to do ``again``, twice."""
    weight, losses = 8.0, []
    for _ in range(STEPS):
        losses.append(weight * weight)
        weight -= 0.01 * 2 * weight
    points = run.metrics("loss")
    steps = points.column("step").to_pylist()
    assert points.column("value").to_pylist() == [losses[step] for step in steps]
    times = Counter(steps)
    assert times.keys() == set(range(STEPS))
    assert sorted(step for step, count in times.items() if count > 1) == list(again)
    assert max(times.values()) <= 2


def test_a_job_stopped_before_it_created_its_run_creates_it_when_requeued(tmp_path: Path) -> None:
    page = Page("slurm.md", tmp_path)
    page.run("mltrack init")
    job = Job(page, "4712", "3")
    job._restarts = 1
    job.start()
    assert job.ended() == 0
    assert run_of(page).info.run_name == "slurm-4712"
    assert run_of(page).info.status == "FINISHED"


def test_a_program_that_fails_is_a_failed_run_and_is_not_requeued(tmp_path: Path) -> None:
    page = Page("slurm.md", tmp_path)
    job = Job(page, "4713", "no number")
    job.start()
    assert job.ended() == 1
    assert job.requeues() == []
    run = run_of(page)
    assert run.info.status == "FAILED"
    assert run.tags["mltrack.error"].endswith("ValueError: invalid literal for int() with base 10: 'no number'")

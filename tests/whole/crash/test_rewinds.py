"""``kill -9`` around rewinds: no point that counts is missing, and none that does not is seen."""

from __future__ import annotations

import itertools
import mmap
import random
import signal
import struct
import time
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.recording import start_python, stored
from tests.support.rewind_model import ModelRun
from tests.support.rewind_steps import operations

RECORD = """
import ctypes, mmap, sys, mltrack
from tests.support.rewind_steps import operations
store, run_id, shared, seed, step = sys.argv[1], sys.argv[2] or None, sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
file = open(shared, "r+b")
report = ctypes.c_int64.from_buffer(mmap.mmap(file.fileno(), 8))
mltrack.set_store(store)
run = mltrack.start_run(run_id, rewind_to=step if run_id else None)
print(run.run_id, flush=True)
for number, (what, step, value) in enumerate(operations(seed, step), 1):
    if what == "rewind":
        run.rewind(step)
    else:
        run.log_metric("m", value, step)
    report.value = number
"""
RUN_KILLS = 10
"""So many processes record into one run."""


def killed(store: Path, run_id: str, seed: int, step: int, chance: random.Random) -> tuple[str, int]:
    """Kill a process that records at a random moment; the run's id, and how many operations had returned."""
    shared = store.parent / f"report {seed}"
    shared.write_bytes(bytes(8))
    process = start_python(RECORD, store, run_id, shared, seed, step, env={"PYTHONPATH": str(ROOT)})
    try:
        assert process.stdout is not None
        found = process.stdout.readline().strip()
        assert found, process.communicate()
        time.sleep(chance.random() ** 2 * 0.25)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    process.communicate()
    with open(shared, "rb") as file:
        return found, struct.unpack("<q", mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)[:])[0]


def seen(store: Path, run_id: str) -> list[tuple[int, float]]:
    run = stored(store, run_id)
    found = [
        row for _, piece in run.read_points() for row in zip(piece.steps.tolist(), piece.values.tolist(), strict=True)
    ]
    assert not run.damage
    return found


def kill_again_and_again(folder: Path, times: int, seed: int) -> None:
    """After each kill readers see what the model says, with the operation that was on its way or without it."""
    chance, run_id, model, step = random.Random(seed), "", ModelRun(), -1
    for attempt in range(times):
        store = folder / f"store {attempt // RUN_KILLS}" / ".mltrack"
        if attempt % RUN_KILLS == 0:
            store.parent.mkdir(parents=True)
            run_id, model, step = "", ModelRun(), -1
        if run_id:
            step -= chance.randint(0, 20)
            model.rewind(step)
        run_id, returned = killed(store, run_id, seed * 1000 + attempt, step, chance)
        mine = operations(seed * 1000 + attempt, step)
        for operation in itertools.islice(mine, returned):
            step = apply(model, operation)
        found = seen(store, run_id)
        if found != model.by_key().get("m", []):
            step = apply(model, next(mine))
            assert found == model.by_key().get("m", []), f"kill {attempt}"


def apply(model: ModelRun, operation: tuple[str, int, float]) -> int:
    what, step, value = operation
    if what == "rewind":
        model.rewind(step)
    else:
        model.log("m", step, value)
    return step


@pytest.mark.slow
def test_a_training_that_is_killed_around_rewinds_has_no_wrong_point(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 4, 1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_training_that_is_killed_two_hundred_times_around_rewinds_has_no_wrong_point(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 200, 2)

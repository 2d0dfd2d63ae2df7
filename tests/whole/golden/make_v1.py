"""Makes the golden store of format version 1 and what is expected of it: ``python make_v1.py`` beside this file.

The store was made once and is never made again: it shows that what was written then is still read. A new format version
gets a script and a store of its own.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import mltrack
from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE

HERE = Path(__file__).parent
STORE = HERE / "v1"
T0 = 1_700_000_000_000  # ms

CRASH = """
import os, sys, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run(run_name="crashed", parent_run_id=sys.argv[2])
for step in range(50):
    run.log_metric("loss", 1 / (step + 1), step, timestamp=1_700_000_000_000 + step)  # as crashed_points
run.log_param("seed", 7)
print(run.run_id, flush=True)
os.kill(os.getpid(), 9)
"""


Logged = tuple[str, int, int, float]  # key, step, time in ms, value


def finished_points() -> list[Logged]:
    """What the first writer of the finished run logs: enough to be sealed, and every odd number there is."""
    loss = [("loss", step, T0 + step, step * 0.5) for step in range(5000)]
    odd = [(9, math.nan), (-3, math.inf), (9, -math.inf), (0, -0.0), ((1 << 63) - 1, 5e-324)]
    return loss + [("odd 🙂", step, T0, value) for step, value in odd]


def crashed_points() -> list[Logged]:
    """What the crashed run had logged."""
    return [("loss", step, T0 + step, 1 / (step + 1)) for step in range(50)]


def finished() -> mltrack.Run:
    """A sealed run with all there is: odd values, names, steps and times, files."""
    with mltrack.start_run(run_name="finished größe", tags={"team": "模型"}, description="made for the tests") as run:
        run.log_params({"lr": 0.001, "größe": "x" * 100})
        run.log_text("hello\n", "notes/hello.txt")
        for key, step, time_ms, value in finished_points():
            run.log_metric(key, value, step, timestamp=time_ms)
        run.log_table({"a": ["001", "b"], "n": [1, 2]}, "table.json")
        run.delete_tag("team")
    return run


def main() -> None:
    """Write the store and the expectations."""
    sys.argv[0] = "make_v1.py"
    os.environ["LOGNAME"] = "ann"
    mltrack.set_store(STORE)
    mltrack.set_experiment("größe 模型")
    run = finished()
    with mltrack.start_run(run.run_id) as again:
        again.log_metric("loss", -1.0, 5000, timestamp=T0 + 5000)
        again.set_tag("resumed", "yes")
    from subprocess import run as call

    done = call([sys.executable, "-c", CRASH, str(STORE), run.run_id], capture_output=True, text=True, check=False)
    crashed = done.stdout.strip()
    [journal] = (STORE / "runs" / crashed / "points").iterdir()
    # of the space ahead, keep what shows a torn record: 50 whole ones and a half
    journal.write_bytes(journal.read_bytes()[: HEADER_SIZE + RECORD_SIZE * 50 + RECORD_SIZE // 2])
    [events] = (STORE / "runs" / crashed / "events").iterdir()
    events.write_bytes(events.read_bytes() + b'{"crc":"0123')
    stored = mltrack.get_run(run.run_id)
    expected = {
        "store_id": mltrack.get_store().store_id,
        "experiment": {"name": "größe 模型", "id": stored.info.experiment_id},
        "finished": {
            "run_id": run.run_id,
            "name": "finished größe",
            "params": {"lr": "0.001", "größe": "x" * 100},
            "tags": {"mlflow.note.content": "made for the tests", "resumed": "yes"},
            "artifacts": {"notes/hello.txt": "hello\n"},
            "start_time": stored.info.start_time,
            "end_time": stored.info.end_time,
        },
        "crashed": {
            "run_id": crashed,
            "name": "crashed",
            "params": {"seed": "7"},
        },
    }
    (HERE / "v1.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for name in ("changed", "catalog.duckdb", "catalog.lock"):
        path = STORE / name
        for marker in path.iterdir() if path.is_dir() else [path] if path.exists() else []:
            marker.unlink()


if __name__ == "__main__":
    main()

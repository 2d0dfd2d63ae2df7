"""Writes a small folder ``swanlog`` with SwanLab 0.7 or 0.10, in the working directory.

    mkdir -p /tmp/golden && cd /tmp/golden && HOME=/tmp/golden python write_with_swanlab.py

Needs swanlab, numpy and Pillow. Values are always the same; times, ids and system metrics are not. ``read.json`` has
what SwanLab's own reader reads. The run ``killed`` has no end. What is said of the machine is replaced.
"""

# ruff: noqa
# mypy: ignore-errors

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import swanlab


OLD = swanlab.__version__.startswith("0.7.")


def begin(name, **more):
    if OLD:
        for key in ("group", "job_type"):
            more.pop(key, None)
        settings = swanlab.Settings(
            requirements_collect=False, metadata_collect=False, hardware_monitor=name == "first"
        )
        return swanlab.init(
            mode="offline", logdir="swanlog", project="spirals", experiment_name=name, settings=settings, **more
        )
    settings = swanlab.Settings(
        probe=swanlab.Settings.Probe(requirements=False, monitor=name == "first", monitor_interval=5)
    )
    return swanlab.init(mode="offline", log_dir="swanlog", project="spirals", name=name, settings=settings, **more)


def write_first():
    begin(
        "first",
        config={
            "lr": 0.1,
            "model": {"depth": 3, "name": "mlp"},
            "layers": [1, 2],
            "bias": True,
            "none": None,
            "word": "größe",
        },
        description="# A *note*",
        tags=["a", "b"],
        group="sweep",
        job_type="train",
    )
    for step in range(200):
        swanlab.log({"loss": 1 / (step + 1), "train/accuracy": step / 200})
    swanlab.log({"odd": float("nan"), "flag": True, "größe": 2**53 + 1, "tiny": 1e-300}, step=300)
    swanlab.log({"word": swanlab.Text("größe")}, step=301)
    pixels = (np.arange(8 * 6 * 3) % 256).astype(np.uint8).reshape(8, 6, 3)
    swanlab.log({"pixels": [swanlab.Image(pixels, caption="a picture"), swanlab.Image(pixels[::-1].copy())]}, step=302)
    sound = np.zeros(80, np.float32) if OLD else np.zeros((1, 80), np.float32)
    swanlab.log({"sound": swanlab.Audio(sound, sample_rate=8000)}, step=303)
    print("a line of the console")
    import time

    time.sleep(7)  # until system metrics were measured
    swanlab.finish()


def write_second():
    begin("second", config={"lr": 0.2})
    for step in range(50):
        swanlab.log({"loss": 2 / (step + 1)}, step=step * 10)
    if OLD:
        from swanlab.data.run import get_run
        from swanlab.data.run.main import SwanLabRunState

        get_run().finish(SwanLabRunState.CRASHED, error="it broke")
    else:
        swanlab.finish(state="crashed", error="it broke")


def write_killed():
    begin("killed")
    for step in range(30):
        swanlab.log({"loss": 3 / (step + 1)})
    import time

    time.sleep(3)
    if OLD:
        os._exit(1)
    from swanlab.sdk.internal.core_python import store

    import gc

    for each in gc.get_objects():
        if isinstance(each, store.DataStoreWriter):
            each.ensure_flushed()
    os._exit(1)


def read():
    """By run: step, time in ns and value of each number, as SwanLab's own reader reads them."""
    if OLD:
        return read_old()
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record
    from swanlab.sdk.internal.core_python.store import DataStoreReader

    found = {}
    for path in sorted(Path("swanlog").glob("*/*.swanlab")):
        reader = DataStoreReader()
        reader.open(path)
        metrics, name = {}, ""
        for data in reader:
            record = Record.FromString(data)
            if record.HasField("start"):
                name = record.start.name
            if record.HasField("scalar"):
                scalar = record.scalar
                row = [scalar.step, scalar.timestamp.ToNanoseconds(), repr(scalar.value.number)]
                metrics.setdefault(scalar.key, []).append(row)
        found[name] = metrics
    Path("read.json").write_text(json.dumps(found, sort_keys=True))


def hide_machine():
    for path in Path("swanlog").glob("*/files/swanlab-metadata.json"):
        found = json.loads(path.read_text())
        found["hardware"], found["runtime"] = {}, {"hostname": "somewhere"}
        found["git"] = {"remote_url": "https://example.org/spirals", "branch": "main", "commit": "abc123"}
        path.write_text(json.dumps(found))


def read_old():
    from swanlab.data.porter.datastore import DataStore

    found = {}
    for path in sorted(Path("swanlog").glob("*/*.swanlab")):
        store = DataStore()
        store.open_for_scan(str(path))
        metrics, name = {}, ""
        while True:
            try:
                line = store.scan()
            except Exception:
                break  # the end of the run that was killed
            if line is None:
                break
            record = json.loads(line)
            data = record["data"]
            if record["model_type"] == "Experiment":
                name = data["name"]
            if record["model_type"] == "Scalar":
                row = [data["step"], data["metric"]["create_time"], repr(float(data["metric"]["data"]))]
                metrics.setdefault(data["key"], []).append(row)
        found[name] = metrics
    Path("read.json").write_text(json.dumps(found, sort_keys=True))


if __name__ == "__main__":
    what = {"first": write_first, "second": write_second, "killed": write_killed, "read": read}
    if len(sys.argv) > 1:
        what[sys.argv[1]]()
    else:
        for name in what:
            subprocess.run([sys.executable, __file__, name], check=name != "killed")
        hide_machine()

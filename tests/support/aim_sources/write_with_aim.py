"""Writes a small repository ``.aim`` with aim 3.3 or 3.29, in the working directory.

    mkdir -p /tmp/golden && cd /tmp/golden && HOME=/tmp/golden python write_with_aim.py

Needs aim, numpy and Pillow; aim 3.3 needs Python 3.8, SQLAlchemy 1, protobuf 3 and setuptools. Values are always the same; times,
ids and system metrics are not. ``read.json`` has what aim 3.29's own reader reads. The run ``killed`` was not closed. Logs
of the database, which name places of the machine, are removed.
"""

# ruff: noqa
# mypy: ignore-errors

import inspect
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import aim
import numpy as np
from PIL import Image

OLD = hasattr(aim.Run, "finalize") and not hasattr(aim.Run, "log_info")


def begin(name, **more):
    options = {"system_tracking_interval": None, "capture_terminal_logs": False, **more}
    known = inspect.signature(aim.Run.__init__).parameters
    options = {key: value for key, value in options.items() if key in known}
    run = aim.Run(repo=".", experiment="spirals", **options)
    run.name = name
    store(run)
    return run


def store(run):
    """What aim 3.3 writes into its SQLite database later, or never."""
    if OLD:
        run.repo.structured_db.get_session().flush()


def close(run):
    run.close() if hasattr(run, "close") else run.finalize()


def image(shade):
    return Image.fromarray(np.full((4, 4, 3), shade, np.uint8))


def write_first():
    run = begin("first", system_tracking_interval=1, capture_terminal_logs=True)
    run.description = "# A *note*"
    run.add_tag("a")
    run.add_tag("größe")
    run["hparams"] = {"lr": 0.1, "layers": [1, 2, {"a": None}], "model": {"depth": 3, "word": "größe"}, "none": None}
    run["bias"] = True
    run["empty"] = {}
    run["large"] = 2**53 + 1
    print("one line")
    print("größe")
    for step in range(200):
        run.track(1 / (step + 1), name="loss", step=step, epoch=step // 100, context={"subset": "train"})
        run.track(step / 200, name="accuracy", step=step, context={"subset": "val", "fold": 1})
        run.track(step, name="count")
    run.track(float("inf"), name="odd", step=1)
    run.track(float("-inf"), name="odd", step=2)
    run.track(float("nan"), name="odd", step=3)
    run.track(1e-300, name="odd", step=2**40)
    run.track(1, name="same", context={"a": "x"})
    run.track(2, name="same", context={"b": "x"})
    run.track(aim.Image(image(10), caption="a caption"), name="picture", step=1, context={"subset": "val"})
    run.track([aim.Image(image(shade)) for shade in (20, 30)], name="pictures", step=2)
    run.track(aim.Image(image(40), **({} if OLD else {"format": "jpeg"})), name="photo", step=3)
    run.track(aim.Text("größe"), name="word", step=4)
    run.track(aim.Distribution(np.arange(100.0), bin_count=10), name="weights", step=5)
    run.track(aim.Distribution(np.ones(7), bin_count=4), name="weights", step=6)
    if hasattr(run, "log_warning"):
        run.log_warning("look here")
    if hasattr(run, "set_artifacts_uri"):
        Path("model.txt").write_text("weights")
        run.set_artifacts_uri("file:///tmp/golden-artifacts")
        run.log_artifact("model.txt", block=True)
    time.sleep(2.5)
    close(run)


def write_second():
    run = begin("second")
    for step in range(300):
        run.track(1 / (step + 2), name="loss", step=step)
    run.archived = True
    store(run)
    close(run)


def write_killed():
    run = begin("killed")
    for step in range(50):
        run.track(1 / (step + 1), name="loss", step=step)
    sys.stdout.flush()
    os._exit(9)


def read():
    """Steps and values of the metrics of each run, as aim reads them, of a copy: aim changes what it reads."""
    shutil.copytree(".aim", "copy/.aim")
    os.chdir("copy")
    subprocess.run([Path(sys.executable).with_name("aim"), "storage", "reindex", "-y"], check=True)
    found = {}
    for run_hash in os.listdir(".aim/meta/chunks"):
        run = aim.Run(run_hash, repo=".", read_only=True)
        metrics = found[run.name] = {}
        for metric_name, context, _ in run.iter_metrics_info():
            metric = run.get_metric(metric_name, context)
            name = json.dumps([metric_name, context.to_dict()], sort_keys=True)
            steps, (values, *_) = metric.data.items_list()
            rows = sorted(zip(map(int, steps), map(float, values)))
            metrics[name] = [[step, repr(value)] for step, value in rows]
    return found


if __name__ == "__main__":
    if sys.argv[1:]:
        {
            "first": write_first,
            "second": write_second,
            "killed": write_killed,
            "read": lambda: Path("../read.json").write_text(json.dumps(read())),
        }[sys.argv[1]]()
        sys.exit()
    aim.Repo.from_path(".", init=True)
    for part in ("first", "second", "killed", *(() if OLD else ("read",))):
        subprocess.run([sys.executable, __file__, part], check=part != "killed")
    shutil.rmtree("copy", ignore_errors=True)
    for log in Path(".aim").rglob("LOG*"):
        log.unlink()

"""Writes a small folder with whatever version of trackio runs this, from 0.2 on, in the working directory.

    mkdir -p /tmp/golden && cd /tmp/golden && HOME=/tmp/golden USER=ada python write_with_trackio.py sqlite
    cd /tmp/golden && python write_with_trackio.py jsonl       adds fragments to it that no database has yet
    cd /tmp/golden && python write_with_trackio.py parquet     the same as Parquet only: what trackio keeps on the Hub
    cd /tmp/golden && python write_with_trackio.py static      one project as trackio exports it for a static page
    cd /tmp/golden && python write_with_trackio.py read        read.json: what trackio's own functions read, of a copy

Values are always the same; times are not, and ids are trackio's, so random. ``tests/support/trackio_sources/__init__.py`` says which versions wrote what is kept.
"""

# ruff: noqa
# mypy: ignore-errors

import json
import os
import shutil
import sys

HERE = os.getcwd()
FOLDER = "copy" if "read" in sys.argv else "trackio"
if FOLDER == "copy":
    shutil.copytree("trackio", "copy")
os.environ.update(
    HF_HOME=HERE,
    TRACKIO_DIR=os.path.join(HERE, FOLDER),
    HF_HUB_OFFLINE="1",
    TRACKIO_STORAGE_MODE="jsonl" if "jsonl" in sys.argv else "sqlite",
    GRADIO_ANALYTICS_ENABLED="False",
)

import numpy as np
import trackio
from trackio.sqlite_storage import SQLiteStorage

VERSION = tuple(int(part) for part in trackio.__version__.split("."))


def begin(project, name, config=None, **more):
    if VERSION < (0, 14):
        more.pop("group", None)
    if VERSION >= (0, 18):
        more.setdefault("auto_log_gpu", False)
    if VERSION >= (0, 30):
        more.setdefault("auto_log_cpu", False)
    import inspect

    known = set(inspect.signature(trackio.init).parameters)
    more = {key: value for key, value in more.items() if key in known}
    if "embed" in known:
        more["embed"] = False
    return trackio.init(project=project, name=name, config=config, **more)


def write_sqlite():
    run = begin(
        "spirals",
        "first",
        {
            "lr": 0.1,
            "model": {"depth": 3, "name": "mlp"},
            "layers": [1, 2],
            "bias": True,
            "none": None,
            "word": "größe",
        },
        group="sweep",
    )
    for step in range(200):
        trackio.log({"loss": 1 / (step + 1), "train/accuracy": step / 200})
    trackio.log({"odd": float("nan"), "odd2": float("inf"), "odd3": float("-inf"), "flag": True, "word": "text"})
    trackio.log({"größe 模型": 2**53 + 1, "tiny": 1e-300})
    trackio.log({"loss": 0.5}, step=50)
    try:
        pixels = (np.arange(8 * 6 * 3) % 256).astype(np.uint8).reshape(8, 6, 3)
        trackio.log({"pixels": trackio.Image(pixels, caption="a picture")})
    except (AttributeError, ImportError):
        pass
    if hasattr(trackio, "Table"):
        import pandas

        trackio.log({"table": trackio.Table(dataframe=pandas.DataFrame({"x": [1.0, 2.5], "name": ["a", "b"]}))})
    if hasattr(trackio, "Histogram"):
        trackio.log({"weights": trackio.Histogram(np_histogram=(np.array([1, 2, 3]), np.array([0.0, 0.5, 1.0, 2.0])))})
    if hasattr(trackio, "Markdown"):
        trackio.log({"report": trackio.Markdown("# A *report*")})
    if hasattr(trackio, "alert"):
        trackio.alert("careful", "the loss rose")
    if hasattr(trackio, "Artifact"):
        with open("weights.bin", "wb") as file:
            file.write(bytes(range(256)))
        artifact = trackio.Artifact("weights", type="model")
        artifact.add_file("weights.bin")
        run.log_artifact(artifact)
        os.remove("weights.bin")
    if hasattr(trackio, "log_system"):
        trackio.log_system({"gpu/0/utilization": 25.0, "gpu/0/power": 70.5})
        trackio.log_system({"gpu/0/utilization": 75.0})
    trackio.finish()
    begin("spirals", "second", {"lr": 0.2})
    for step in range(50):
        trackio.log({"loss": 2 / (step + 1)})
    trackio.finish()
    begin("other project", "first")
    for step in range(30):
        trackio.log({"loss": 3 / (step + 1)}, step=step * 10)
    trackio.finish()


def write_jsonl():
    begin("spirals", "third", {"lr": 0.3})
    for step in range(40):
        trackio.log({"loss": 4 / (step + 1), "nan": float("nan")})
    trackio.log_system({"gpu/0/utilization": 50.0})
    trackio.finish()
    begin("spirals", "second", resume="must")
    for step in range(50, 60):
        trackio.log({"loss": 2 / (step + 1)})
    trackio.finish()


def write_parquet():
    """What trackio uploads to a data set of the Hub."""
    SQLiteStorage._dataset_import_attempted = True
    SQLiteStorage.export_to_parquet()
    for name in os.listdir("trackio"):
        if ".db" in name or name.endswith(".lock"):
            os.remove(os.path.join("trackio", name))


def write_static():
    from pathlib import Path

    SQLiteStorage.export_for_static_space("spirals", Path("static"))
    if os.path.isdir("trackio/media"):
        shutil.copytree("trackio/media", "static/media")


def read():
    """By project and run: step, time and value of each number, as trackio's own functions read them."""
    found = {}
    for project in SQLiteStorage.get_projects():
        for run in SQLiteStorage.get_runs(project):
            metrics = found.setdefault(f"{project}/{run}", {})
            for row in SQLiteStorage.get_logs(project, run):
                for key, value in row.items():
                    if key not in ("timestamp", "step") and isinstance(value, (int, float)):
                        metrics.setdefault(key, []).append([row["step"], row["timestamp"], repr(float(value))])
    return found


if __name__ == "__main__":
    what = sys.argv[1]
    writers = {"sqlite": write_sqlite, "jsonl": write_jsonl, "parquet": write_parquet, "static": write_static}
    if what == "read":
        if os.path.isdir("copy/inbox"):
            from trackio import fragments

            fragments.import_inbox_dir()
        with open("read.json", "w") as file:
            json.dump(read(), file, sort_keys=True)
        shutil.rmtree("copy")
    else:
        writers[what]()
    os._exit(0)  # servers of its dashboard may still run

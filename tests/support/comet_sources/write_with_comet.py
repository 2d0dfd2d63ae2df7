"""Writes a small folder ``archives`` of offline experiments with Comet 3.58, in the working directory.

    mkdir -p /tmp/golden && cd /tmp/golden && HOME=/tmp/golden python write_with_comet.py

Needs comet_ml, numpy, Pillow and matplotlib. Values are always the same; times and system metrics are not. The
experiment ``first`` goes on in a second archive. What is said of the machine is replaced.
"""

# ruff: noqa
# mypy: ignore-errors

import glob
import json
import os
import subprocess
import sys
import zipfile

import comet_ml
import numpy as np

OFF = dict(
    offline_directory="archives",
    log_git_metadata=False,
    log_git_patch=False,
    log_code=False,
    display_summary_level=0,
)
FIRST, SECOND = "f" * 32, "5" * 32


def write_first():
    exp = comet_ml.OfflineExperiment(project_name="spirals", workspace="lab", experiment_key=FIRST, **OFF)
    exp.set_name("first")
    exp.log_parameters(
        {"lr": 0.1, "model": {"depth": 3, "name": "mlp"}, "layers": [1, 2], "bias": True, "none": None, "word": "größe"}
    )
    exp.add_tags(["a", "b"])
    exp.log_other("note", "a note")
    for step in range(200):
        exp.log_metric("loss", 1 / (step + 1), step=step, epoch=step // 100)
        exp.log_metric("train/accuracy", step / 200, step=step)
    exp.log_metrics({"odd": float("nan"), "odd2": float("inf"), "größe": 2**53 + 1, "tiny": 1e-300}, step=300)
    exp.log_text("größe", step=301)
    pixels = (np.arange(8 * 6 * 3) % 256).astype(np.uint8).reshape(8, 6, 3)
    exp.log_image(pixels, name="pixels", step=302, image_minmax=(0, 255))
    exp.log_histogram_3d(np.arange(20.0), name="weights", step=303)
    with open("weights.bin", "wb") as file:
        file.write(bytes(range(256)))
    exp.log_asset("weights.bin")
    exp.log_model("mlp", "weights.bin")
    exp.log_table("table.csv", [[1, "x"], [2, "y"]], headers=["a", "b"])
    exp.log_html("<p>a page</p>")
    exp.set_model_graph("a graph")
    exp.log_remote_asset("s3://bucket/data.csv")
    print("a line of the console")
    exp.end()


def write_more():
    exp = comet_ml.ExistingOfflineExperiment(previous_experiment=FIRST, **OFF)
    for step in range(400, 410):
        exp.log_metric("loss", 0.001, step=step)
    exp.end()


def write_second():
    exp = comet_ml.OfflineExperiment(project_name="spirals", workspace="lab", experiment_key=SECOND, **OFF)
    exp.log_parameter("lr", 0.2)
    for step in range(50):
        exp.log_metric("loss", 2 / (step + 1), step=step * 10)
    exp.end()


HIDDEN = {"installed_packages", "os_packages", "system_details", "gpu_static_info", "cloud_details"}


def hide_machine():
    for path in glob.glob("archives/*.zip"):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(path + ".new", "w", zipfile.ZIP_DEFLATED) as new:
            for info in old.infolist():
                data = old.read(info)
                if info.filename == "messages.json":
                    data = b"".join(hidden(line) for line in data.splitlines(keepends=True))
                new.writestr(info.filename, data)
        os.replace(path + ".new", path)


def hidden(line):
    record = json.loads(line)
    payload = record["payload"]
    if record["type"] == "installed_packages":
        payload["installed_packages"] = ["numpy==2.0.0"]
    elif record["type"] == "system_details":
        for key, value in payload.items():
            if key != "message_id":
                payload[key] = None
        payload.update(user="ada", hostname="somewhere", python_version="3.11.7")
    elif record["type"] in HIDDEN:
        return b""
    return (json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n").encode()


if __name__ == "__main__":
    what = {"first": write_first, "more": write_more, "second": write_second}
    if len(sys.argv) > 1:
        what[sys.argv[1]]()
    else:
        for name in what:
            subprocess.run([sys.executable, __file__, name], check=True)
        hide_machine()
        os.remove("weights.bin")

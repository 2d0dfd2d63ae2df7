"""Writes offline sessions with ClearML 2.1, in the working directory.

    mkdir -p /tmp/golden && cd /tmp/golden && HOME=/tmp/golden python write_with_clearml.py

Needs clearml, numpy, pandas and Pillow. Values are always the same; times and ids are not. ``sessions`` has the archive
of the task ``first``, and the folder of the task ``second``. What is said of the machine is replaced.
"""

# ruff: noqa
# mypy: ignore-errors

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from clearml import Task


def begin(name):
    Task.set_offline(True)
    return Task.init(
        project_name="lab/spirals",
        task_name=name,
        tags=["a", "b"],
        auto_connect_frameworks=False,
        auto_resource_monitoring=False,
    )


def write_first():
    task = begin("first")
    task.connect({"lr": 0.1, "model": {"depth": 3, "name": "mlp"}, "layers": [1, 2], "bias": True, "word": "größe"})
    task.connect({"workers": 4}, name="Loader")
    task.connect_configuration({"optimizer": "adam"}, name="optimizer")
    task.set_comment("a note")
    logger = task.get_logger()
    for step in range(100):
        logger.report_scalar("loss", "train", 1 / (step + 1), step)
        logger.report_scalar("accuracy", "accuracy", step / 100, step)
        if step % 4 == 3:
            logger.flush(wait=True)
    logger.report_scalar("größe", "tiny", 1e-300, 200)
    logger.report_scalar(":monitor:machine", "cpu_usage", 25.0, 0)
    logger.report_scalar(":monitor:gpu", "gpu_0_utilization", 50.0, 0)
    logger.report_single_value("best", 0.5)
    logger.report_histogram("weights", "layer", values=[1, 2, 3], iteration=2)
    from PIL import Image

    pixels = (np.arange(8 * 6 * 3) % 256).astype(np.uint8).reshape(8, 6, 3)
    Image.fromarray(pixels).save("pixels.png")
    logger.report_image("pixels", "png", 3, local_path="pixels.png", delete_after_upload=False)
    logger.report_image("pixels", "jpeg", 3, image=pixels)
    Path("weights.bin").write_bytes(bytes(range(256)))
    task.upload_artifact("weights", "weights.bin")
    task.upload_artifact("object", {"a": 1})
    print("a line of the console")
    task.close()


def write_second():
    task = begin("second")
    logger = task.get_logger()
    for step in range(50):
        logger.report_scalar("loss", "train", 2 / (step + 1), step * 10)
        if step % 8 == 7:
            logger.flush(wait=True)
    task.close()


def collect():
    """Move what ClearML wrote, without what it says of the machine."""
    cache = Path(".clearml/cache/offline")
    target = Path("sessions")
    target.mkdir()
    for folder in sorted(path for path in cache.iterdir() if path.is_dir()):
        task = json.loads((folder / "task.json").read_text())
        task["script"].update(diff="a diff", requirements={"pip": "numpy == 2.0.0\n"}, working_dir=".", binary="python")
        (folder / "task.json").write_text(json.dumps(task))
        lines = (folder / "log.jsonl").read_text().splitlines()
        kept = [[event for event in json.loads(line) if "clearml" not in event["msg"].lower()] for line in lines]
        for event in (event for line in kept for event in line):
            event["worker"] = "somewhere"
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept if line))
        if task["name"] == "second":
            shutil.move(folder, target / folder.name)
            continue
        with zipfile.ZipFile(target / f"{folder.name}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    packed.write(path, path.relative_to(folder))


if __name__ == "__main__":
    what = {"first": write_first, "second": write_second}
    if len(sys.argv) > 1:
        what[sys.argv[1]]()
    else:
        for name in what:
            subprocess.run([sys.executable, __file__, name], check=True)
        collect()
        os.remove("weights.bin")
        os.remove("pixels.png")

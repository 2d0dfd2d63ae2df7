"""Writes small offline folders with wandb, in the working directory, and what its own classes read in them.

    mkdir -p /tmp/offline && cd /tmp/offline && HOME=/tmp/offline USER=ada python write_with_wandb.py

Needs wandb, numpy and Pillow. Ids and values are always the same; times and system metrics are not.
"""

# ruff: noqa
# mypy: ignore-errors

import os
import sys

os.environ.update(
    WANDB_MODE="offline",
    WANDB_SILENT="true",
    WANDB_HOST="host",
    WANDB_USERNAME="ada",
    WANDB_DISABLE_GIT="true",
    WANDB_DISABLE_CODE="true",
)

import wandb

SETTINGS = dict(
    x_disable_meta=True,
    x_disable_machine_info=False,
    host="host",
    username="ada",
    program="train.py",
    program_relpath="train.py",
    x_save_requirements=False,
    save_code=False,
    x_stats_sampling_interval=0.2,
    disable_job_creation=True,
)


def settings(**more):
    known = set(wandb.Settings.model_fields)
    return wandb.Settings(**{key: value for key, value in {**SETTINGS, **more}.items() if key in known})


def write_first():
    run = wandb.init(
        project="spirals",
        entity="lab",
        name="first",
        id="abc12345",
        group="sweep",
        job_type="train",
        notes="größe",
        tags=["a", "b"],
        config={"lr": 0.1, "model": {"depth": 3, "name": "mlp"}, "layers": [1, 2], "bias": True, "none": None},
        settings=settings(),
    )
    run.define_metric("epoch")
    run.define_metric("val/*", step_metric="epoch")
    for step in range(200):
        run.log({"loss": 1 / (step + 1), "train": {"accuracy": step / 200, "deep": {"er": step}}})
    for epoch in range(5):
        run.log({"val/loss": 0.5 / (epoch + 1), "epoch": epoch * 10})
    run.log(
        {
            "odd": float("nan"),
            "odd2": float("inf"),
            "odd3": float("-inf"),
            "flag": True,
            "word": "text",
            "nothing": None,
        }
    )
    run.log({"größe 模型": 2**53 + 1, "tiny": 1e-300})
    import numpy as np

    run.log({"weights": wandb.Histogram(np_histogram=([1, 2, 3], [0.0, 0.5, 1.0, 2.0]))})
    try:
        pixels = (np.arange(8 * 6 * 3) % 256).astype(np.uint8).reshape(8, 6, 3)
        run.log(
            {"pixels": wandb.Image(pixels), "table": wandb.Table(columns=["x", "name"], data=[[1, "a"], [2.5, "b"]])}
        )
    except ImportError:
        pass
    print("a line of output")
    sys.stderr.write("a line of errors\n")
    run.summary["best"] = 0.125
    run.summary["nested"] = {"deep": 3}
    run.config.update({"late": "yes"})
    with open(os.path.join(run.dir, "notes.txt"), "w") as file:
        file.write("written with wandb\n")
    artifact = wandb.Artifact("weights", type="model")
    with open("weights.bin", "wb") as file:
        file.write(bytes(range(256)))
    artifact.add_file("weights.bin")
    run.log_artifact(artifact)
    import time

    time.sleep(4)
    run.finish()


def write_resumed():
    for part in range(2):
        run = wandb.init(
            project="spirals",
            id="def67890",
            name="resumed",
            resume="allow" if part else None,
            config={"part": part},
            settings=settings(x_disable_stats=True),
        )
        for step in range(part * 50, part * 50 + 50):
            run.log({"loss": 2 / (step + 1)}, step=step)
        run.finish(exit_code=0 if part else 1)


def records(path):
    """The records of a file, in wandb's own class."""
    import struct

    from wandb.proto.wandb_internal_pb2 import Record

    with open(path, "rb") as file:
        data = file.read()
    at, parts = 7, b""
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""


def read():
    """By run and metric: step, time, and the value in JSON, of all that was logged."""
    import glob

    found = {}
    for path in sorted(glob.glob("wandb/offline-run-*/*.wandb")):
        for record in records(path):
            if record.WhichOneof("record_type") == "history":
                items = {".".join(item.nested_key or [item.key]): item.value_json for item in record.history.item}
                for key, value in items.items():
                    if not key.startswith("_"):
                        metrics = found.setdefault(path.split("-")[-1].split(".")[0], {})
                        metrics.setdefault(key, []).append([record.history.step.num, items["_timestamp"], value])
    return found


if __name__ == "__main__":
    import json

    write_first()
    write_resumed()
    with open("read.json", "w") as file:
        json.dump(read(), file, sort_keys=True)

"""Writes small folders of event files with torch, tensorboardX and TensorBoard, and what TensorBoard reads in them.

    cd /tmp/golden && python write_with_tensorboard.py runs

Needs tensorboard, tensorboardX and torch. Times, values, names of host and files are always the same.
"""

# ruff: noqa
# mypy: ignore-errors

import itertools
import json
import os
import socket
import sys
import time

import numpy as np

START = 1700000000.25
_clock = itertools.count()
time.time = lambda: START + 0.125 * next(_clock)
socket.gethostname = lambda: "host"
os.getpid = lambda: 7

import tensorboardX
import torch.utils.tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.audio import metadata as audio
from tensorboard.plugins.histogram import metadata as histogram
from tensorboard.plugins.image import metadata as image
from tensorboard.plugins.pr_curve import metadata as pr_curve
from tensorboard.plugins.text import metadata as text
from tensorboard.summary import Writer
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

ODD = [0.1, 0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e-45, 3.4e38]


def write_classic(writer):
    """What torch's and tensorboardX's writers have in common."""
    for step in range(300):
        writer.add_scalar("train/loss", 1.0 / (step + 1), step)
        writer.add_scalar("train/accuracy", step / 300, step)
    for step, value in enumerate(ODD):
        writer.add_scalar("odd values", value, step)
    for step in [127, 128, 2**40, 2**62]:
        writer.add_scalar("größe 模型", step % 1000, step)
    for step in range(3):
        writer.add_histogram("weights", np.linspace(-1, 1 + step, 500) ** 3, step)
        writer.add_histogram("constant", np.full(5, 0.5), step)
        pixels = (np.arange(3 * 8 * 6) % 256).astype(np.uint8).reshape(3, 8, 6) + step
        writer.add_image("pixels", pixels, step)
        writer.add_text("notes", "step **%d** größe" % step, step)
    writer.add_scalars("both", {"left": 1.0, "right": 2.0}, 5)


def write_torch(folder):
    writer = torch.utils.tensorboard.SummaryWriter(folder)
    write_classic(writer)
    params = {"lr": 0.1, "depth": 3, "name": "größe", "bias": True}
    writer.add_hparams(params, {"hparam/loss": 0.5}, run_name="trial")
    writer.close()
    again = torch.utils.tensorboard.SummaryWriter(folder)
    for step in range(300, 320):
        again.add_scalar("train/loss", 1.0 / (step + 1), step)
    again.add_pr_curve("curve", np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.4, 0.6]), 1)
    again.close()
    with open(os.path.join(folder, "hparams.yaml"), "w") as file:
        file.write("batch_size: 32\nmodel:\n  depth: 4\n")
    os.makedirs(os.path.join(folder, "checkpoints"))
    with open(os.path.join(folder, "checkpoints", "last.ckpt"), "wb") as file:
        file.write(bytes(range(256)) * 4)


def write_tensorboardx(folder):
    writer = tensorboardX.SummaryWriter(folder)
    write_classic(writer)
    writer.close()


def write_tensors(folder):
    """What TensorFlow 2 writes: values as tensors, with the plugin in the first event of each name."""
    writer = Writer(folder)
    for step in range(50):
        writer.add_scalar("epoch_loss", 2.0 / (step + 1), step, wall_time=START + step)
        writer.add_scalar("epoch_accuracy", step / 50, step, wall_time=START + step)
    writer.close()


def write_plugins(folder):
    """Events with several values, and each plugin's tensors."""
    writer = EventFileWriter(folder)
    for step in range(20):
        values = [Summary.Value(tag="merged/%d" % i, simple_value=i + step / 8) for i in range(3)]
        writer.add_event(Event(wall_time=START + step, step=step, summary=Summary(value=values)))
    parts = [
        ("buckets", histogram.create_summary_metadata("", ""), make_tensor_proto(np.array([[0.0, 1, 3], [1, 2, 4]]))),
        ("picture", image.create_summary_metadata("", ""), make_tensor_proto([b"1", b"1", PNG])),
        (
            "sound",
            audio.create_summary_metadata("", "", audio.Encoding.Value("WAV")),
            make_tensor_proto([[b"RIFF0000WAVE", b""]]),
        ),
        ("words", text.create_summary_metadata("", ""), make_tensor_proto([[b"a", b"b"], [b"c", b"d"]])),
    ]
    for tag, metadata, tensor in parts:
        value = Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        writer.add_event(Event(wall_time=START, step=1, summary=Summary(value=[value])))
        value = Summary.Value(tag=tag, tensor=tensor)
        writer.add_event(Event(wall_time=START + 1, step=2, summary=Summary(value=[value])))
    writer.add_event(Event(wall_time=START + 2, graph_def=b"\x0a\x00"))
    writer.close()


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)


def read(folder):
    """All scalars of all runs as TensorBoard reads them: [wall time, step, value] by run and name."""
    found = {}
    for here, _, files in sorted(os.walk(folder)):
        if not any("tfevents" in file for file in files):
            continue
        events = EventAccumulator(here, size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=False).Reload()
        tags = {
            tag: [[e.wall_time, e.step, repr(e.value)] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
        }
        for tag in events.Tags()["tensors"]:
            if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
                tags[tag] = [[e.wall_time, e.step, repr(e.tensor_proto.float_val[0])] for e in events.Tensors(tag)]
        found[os.path.relpath(here, folder)] = tags
    return found


if __name__ == "__main__":
    root = sys.argv[1]
    write_torch(os.path.join(root, "torch"))
    write_tensorboardx(os.path.join(root, "x"))
    write_tensors(os.path.join(root, "keras", "train"))
    write_plugins(os.path.join(root, "plugins"))
    with open("read.json", "w") as file:
        json.dump(read(root), file, sort_keys=True)

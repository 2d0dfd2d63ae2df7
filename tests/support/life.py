"""A program that does in turn all that a run can record, and meets a limit or a lost disk before a chosen step."""

from __future__ import annotations

LIFE = """
import os, resource, sys, threading
from pathlib import Path
root, limit, when = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if limit == "threads" and os.getuid() == 0:  # root may start as many as it likes: be another user, who may read all
    as_another = ["setpriv", "--ruid", "65534", "--euid", "0", "--bounding-set", "-sys_resource,-sys_admin"]
    os.execvp(as_another[0], [*as_another, *sys.orig_argv])
import mltrack
from mltrack import Histogram
mltrack.set_store(root / "s")

def confine():
    if limit == "descriptors":
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    elif limit == "disk":
        import fcntl, struct
        fcntl.ioctl(os.open(root, os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
    elif limit == "threads":
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    else:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + int(limit) * 1_000_000,) * 2)

def points():
    for step in range(12_000):
        mltrack.log_metric("loss", step * 0.5, step=step)

run = mltrack.start_run(run_name="confined")
STEPS = [
    lambda: mltrack.log_metric("first", 1.0),
    lambda: mltrack.log_params({"a": 1, "b": 2}),
    lambda: mltrack.set_tag("t", "v"),
    points,
    lambda: mltrack.log_metrics({"x": 1.0, "y": 2.0}, step=3),
    lambda: mltrack.log_series("series", list(range(5_000))),
    lambda: mltrack.log({"text": mltrack.Text("hello"), "plain": 1.0}),
    lambda: mltrack.log_text("some text", "notes/a.txt"),
    lambda: mltrack.log_dict({"k": [1, 2]}, "d.json"),
    lambda: mltrack.log_artifact(root / "file.bin"),
    lambda: mltrack.log_artifacts(root / "folder", "folder"),
    lambda: run.watch(root / "watched"),
    lambda: mltrack.log_image([[0.1, 0.2], [0.3, 0.4]], key="k", step=1),
    lambda: mltrack.log_table({"a": [1, 2]}, "table.json"),
    lambda: mltrack.log_input(mltrack.Dataset("name", "digest", "local", "source")),
    lambda: run.flush(),
    lambda: mltrack.log_metric("last", 9.0),
    lambda: mltrack.end_run(),
]
for number, step in enumerate(STEPS):
    if number == when:
        confine()
    step()
print("training done")
"""
"""Arguments: the folder to work in; what runs out (descriptors, threads, disk, or so many MB of memory); the step."""

POINTS_OF = {"first": 1, "loss": 12_000, "x": 1, "y": 1, "series": 5_000, "plain": 1, "last": 1}
"""How many points each metric gets."""

STEP_OF = {"first": 0, "loss": 3, "x": 4, "y": 4, "series": 5, "plain": 6, "last": 16}
"""At which step."""

"""Writes a small folder with DVCLive, in the working directory.

    mkdir -p /tmp/golden && cd /tmp/golden && python write_with_dvclive.py

Needs dvclive, numpy and Pillow. Values are always the same; the times of one metric are not.
"""

# ruff: noqa
# mypy: ignore-errors

import os

os.environ["DVC_NO_ANALYTICS"] = "true"

import numpy as np
from dvclive import Live

with Live("dvclive", dvcyaml=None, save_dvc_exp=False, report=None) as live:
    live.log_params({"lr": 0.1, "model": {"depth": 3, "name": "mlp"}, "layers": [1, 2], "bias": True, "none": None})
    for step in range(100):
        live.log_metric("loss", 1 / (step + 1))
        live.log_metric("train/accuracy", step / 100, timestamp=True)
        if step % 10 == 0:
            live.log_metric("val/loss", 2 / (step + 1))
            live.log_metric("word", f"text {step}")
        live.next_step()
    live.step = 100
    live.log_metric("odd", float("nan"))
    live.log_metric("odd2", float("inf"))
    live.log_metric("größe 模型", 1e-300)
    live.summary["best"] = 0.125
    live.log_image("pixels.png", (np.arange(8 * 6 * 3) % 256).astype(np.uint8).reshape(8, 6, 3))
    live.log_plot("curve", [{"x": 1, "y": 2}, {"x": 2, "y": 4}], x="x", y="y")
    live.make_summary()

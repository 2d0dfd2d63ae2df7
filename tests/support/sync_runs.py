"""Runs to be sent, recorded by mltrack's own functions."""

from __future__ import annotations

import mltrack


def record(points: int = 40, name: str = "run", files: int = 2) -> str:
    """A run with params, points and files; returns its id."""
    with mltrack.start_run(run_name=name) as run:
        mltrack.log_params({"a": 1, "name": name})
        for step in range(points):
            mltrack.log_metric("m", step * 0.5, step=step)
        for n in range(files):
            mltrack.log_text(f"file {n} " * 100, f"folder/f{n}.txt")
        return run.run_id

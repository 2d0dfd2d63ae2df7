"""Scripts for wandb, run with it and with ``mltrack.wandb``, and what of the runs is compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mltrack.store import Store

__all__ = ["SCRIPTS", "record", "values_of"]

FOLDER = Path(__file__).parent
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def record(script: str, folder: Path, *, code: int = 0) -> Store:
    """Run a script with ``mltrack.wandb``, in a new folder with a store of its own."""
    folder.mkdir()
    held = {key: value for key, value in os.environ.items() if not key.startswith(("MLTRACK_", "WANDB_"))}
    command = [sys.executable, "-m", "mltrack.wandb", str(FOLDER / f"{script}.py")]
    environment = {**held, "WANDB_X_DISABLE_STATS": "true", "WANDB_SILENT": "true"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return Store.open(folder / ".mltrack")


def values_of(store: Store) -> dict[str, Any]:
    """All that the only run of a store holds and that its program gave: no times, ids or facts of the machine."""
    (run,) = store.runs()
    table = run.metrics()
    points: dict[str, list[tuple[int, str]]] = {}
    for key, step, value in zip(*(table.column(name).to_pylist() for name in ("metric", "step", "value")), strict=True):
        points.setdefault(key, []).append((step, repr(value)))
    series = {key: sorted((point.step, _text(point.value)) for point in run.series(key)) for key in run.series_kinds()}
    known = ("wandb.", "mlflow.note")
    tags = {key: value for key, value in run.tags.items() if key.startswith(known)}
    files = {artifact.path: artifact.sha256 for artifact in run.artifacts}
    summary = next((path for path in files if path == "wandb-summary.json"), None)
    return {
        "experiment": run.info.experiment_name,
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.params,
        "tags": tags,
        "points": {key: sorted(found) for key, found in points.items()},
        "series": series,
        "files": {path: sha256 for path, sha256 in files.items() if not path.startswith(("images/", "series/"))},
        "summary": json.loads(run.artifact_path(summary).read_text("utf-8")) if summary else {},
    }


def _text(value: Any) -> str:
    if hasattr(value, "to_pil"):
        image = value.to_pil()
        return f"{image.mode} {image.size} {image.tobytes().hex()}"
    if hasattr(value, "columns"):
        return json.dumps([list(map(str, value.columns)), [[_cell(cell) for cell in row] for row in value.rows]])
    if hasattr(value, "counts"):
        return f"{value.counts.astype(float).tolist()} {value.edges.tolist()}"
    return str(value.text)


def _cell(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

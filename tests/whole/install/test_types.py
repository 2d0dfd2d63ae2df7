"""What mypy says of a user's script, in a folder of its own: the types that ``py.typed`` promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = '''
import numpy as np

import mltrack
import mltrack.wandb as wandb
import mltrack_sync


class Tensor:
    """Like torch's."""

    def __float__(self) -> float:
        return 0.5


mltrack.log_metric("x", np.float32(1))
mltrack.log_metric("x", np.int64(1), step=np.int64(3))
mltrack.log_metric("x", np.array(1.0), step=1)
mltrack.log_metric("x", np.bool_(True))
mltrack.log_metric("x", Tensor())
mltrack.log_metric("x", True)
mltrack.log_metric("x", "1")  # error: arg-type
mltrack.log_metric(1, 1)  # error: arg-type
mltrack.log_metrc("x", 1)  # error: attr-defined
mltrack.log_metrics({"x": np.float32(1), "y": 1, "z": Tensor()}, step=2)
mltrack.log({"x": Tensor(), "h": mltrack.Histogram([1, 2]), "t": mltrack.Text("x")})
mltrack.log_params({"lr": 0.1, "layers": np.int64(3), "note": None})
with mltrack.start_run() as run:
    reveal_type(run)  # is: mltrack.recording.run.Run
    run.log({"x": np.float32(1)})
    run.log_metric("x", Tensor(), step=np.int64(1))
    run.log_series("s", np.arange(3))
    run.log_metrik("x", 1)  # error: attr-defined
reveal_type(mltrack.search_runs())  # is: pandas.core.frame.DataFrame
reveal_type(mltrack.search_runs(output_format="list"))  # is: PagedList[RunRecord]
reveal_type(mltrack.search_runs(output_format="list")[0].info.run_id)  # is: str
reveal_type(mltrack.Store.open().search_runs()[0].data.metrics["x"])  # is: float
reveal_type(mltrack.get_run("x").metrics("x"))  # is: pyarrow.Table
reveal_type(mltrack.get_run("x").metrics("x").num_rows)  # is: int
reveal_type(mltrack.Store.open().sql("FROM runs"))  # is: pyarrow.Table
reveal_type(mltrack.active_run())  # is: mltrack.recording.run.Run | None
reveal_type(mltrack.MlflowClient().get_run("x"))  # is: mlflow.entities.run.Run
mltrack.data.from_numpy(np.arange(3))
reveal_type(wandb.init(project="p"))  # is: mltrack.wandb.wandb_run.Run
wandb.log({"x": Tensor()})
wandb.logg({"x": 1})  # error: attr-defined
reveal_type(mltrack_sync.bundle)  # is: mltrack_sync
mltrack_sync.bundel  # error: attr-defined
'''

ARROW = """
from typing import Any

class Table:
    num_rows: int

def __getattr__(name: str) -> Any: ...
"""
"""In place of pyarrow's types, which it has none of."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_users_script_has_the_types_and_the_errors_that_it_should_have(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.lstrip(), encoding="utf-8")
    (tmp_path / "types" / "pyarrow").mkdir(parents=True)
    (tmp_path / "types" / "pyarrow" / "__init__.pyi").write_text(ARROW, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = true\nmypy_path = {tmp_path / 'types'}\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", script.name, "--no-pretty", "--no-error-summary"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert said.stderr == ""
    found = re.findall(r'^train.py:(\d+): (?:note: Revealed type is "(.*)"|error: .*\[([a-z-]+)\])$', said.stdout, re.M)
    lines = SCRIPT.lstrip().splitlines()
    marked = {number: line.split("  # ", 1)[1] for number, line in enumerate(lines, 1) if "  # " in line}
    assert {int(number) for number, *_ in found} == set(marked), said.stdout
    for number, revealed, code in found:
        kind, _, expected = marked[int(number)].partition(": ")
        assert kind == ("error" if code else "is"), said.stdout
        assert code == expected if code else expected in short(revealed), said.stdout


def short(revealed: str) -> str:
    """Without the module that PagedList and its records happen to be in."""
    return revealed.replace("mltrack.catalog.search.", "")

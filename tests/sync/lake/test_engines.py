"""The examples of docs/lake/engines.md are run on a lake, and find what is in it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import dataset as ds

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.lake.layout import TABLES
from tests.support import ROOT
from tests.support.full_store import make_full_store

PAGE = ROOT / "docs" / "lake" / "engines.md"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with three runs of ten points each."""
    folder = tmp_path_factory.mktemp("engines")
    mltrack.set_store(folder / "store")
    for number in range(3):
        with mltrack.start_run(run_name=f"run {number}") as run:
            for step in range(10):
                run.log({"loss": 1 / (step + 1 + number), "acc": step / 10}, step)
    mltrack.set_store(None)
    store = Store.open(folder / "store")
    push(store, Remotes(store).add("lake", f"delta:{folder / 'lake'}"))
    return folder / "lake"


def run_section(title: str, lake: str) -> dict[str, Any]:
    """The names that the example of a section defines."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("LAKE", lake), names)
    return names


def test_mltrack(lake: Path) -> None:
    found = run_section("mltrack", f"delta:{lake}")
    assert [run.info.run_name for run in found["best"]] == ["run 2", "run 1", "run 0"]
    assert found["curve"].num_rows == 10
    assert found["table"].num_rows == 3


def test_arrow(lake: Path) -> None:
    curve = run_section("Arrow", str(lake))["curve"]
    assert sorted(curve.column("step").to_pylist()) == list(range(10))


def test_duckdb(lake: Path) -> None:
    board = run_section("DuckDB", str(lake))["board"].to_pylist()
    assert [(row["run_name"], int(row["points"])) for row in board] == [(f"run {n}", 10) for n in (2, 1, 0)]
    assert board[0]["best"] == 1 / 12


@pytest.mark.slow
def test_a_dataset_finds_each_value_of_each_column(tmp_path: Path) -> None:
    store = make_full_store(tmp_path / "store")
    mltrack.set_store(store.path)
    with mltrack.start_run(run_name="long"):
        mltrack.log_params({"text": "x" * 5000, "zz": "\U0010ffff" * 300, "empty": ""})
        mltrack.log_metric("loss", 0.5)
    mltrack.set_store(None)
    store = Store.open(store.path)
    push(store, Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}"))
    for name, spec in TABLES.items():
        if not (tmp_path / "lake" / name).exists():
            continue
        dataset = DeltaTable(str(tmp_path / "lake" / name)).to_pyarrow_dataset()
        rows = dataset.to_table()
        for column in spec.schema.names:
            if pa.types.is_map(rows.schema.field(column).type):
                continue
            each = rows.column(column)
            is_null = ds.field(column).is_null()
            assert dataset.count_rows(filter=is_null) == each.null_count, f"{name}.{column}"
            if pa.types.is_floating(each.type) and not all(map(math.isfinite, each.drop_null().to_pylist())):
                continue  # JSON has no bounds for these
            for value in each.drop_null().unique()[-3:]:
                found = dataset.count_rows(filter=ds.field(column) == value)
                assert found == rows.filter(ds.field(column) == value).num_rows > 0, f"{name}.{column}"


def test_rewound_runs(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "store")
    with mltrack.start_run() as run:
        run.log_series("loss", [float(step) for step in range(20)])
        run.log_series("system/cpu", [1.0] * 20)
    mltrack.set_store(None)
    store = Store.open(tmp_path / "store")
    store.rewind_run(run.run_id, 3)
    store.rewind_run(run.run_id, 15)
    push(store, Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}"))
    query = "SELECT run_id, key AS metric, step, value FROM metrics ORDER BY ALL"
    counting = run_section("Rewound runs", str(tmp_path / "lake"))["counting"]
    rows = counting.sort_by([(name, "ascending") for name in counting.column_names]).to_pylist()
    assert rows == store.sql(query).to_pylist()
    store.undo_rewind(run.run_id)
    push(store, Remotes(store).get("lake"))
    again = run_section("Rewound runs", str(tmp_path / "lake"))["counting"]
    assert again.num_rows == counting.num_rows == 4 + 20
    store.undo_rewind(run.run_id)
    push(store, Remotes(store).get("lake"))
    assert run_section("Rewound runs", str(tmp_path / "lake"))["counting"].num_rows == 40


def test_polars(lake: Path) -> None:
    means = run_section("Polars", str(lake))["means"]
    assert sorted(means["points"].to_list()) == [10, 10, 10]

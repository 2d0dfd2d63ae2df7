"""The examples of docs/lake/engines.md are run on a lake, and find what is in it."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import dataset as ds

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.lake.layout import TABLES
from tests.support.engine_page import make_small_lake, run_section
from tests.support.full_store import make_full_store


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_lake(tmp_path_factory.mktemp("engines"))


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

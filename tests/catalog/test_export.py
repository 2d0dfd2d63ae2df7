"""Export to files: what is written can be read by others, and is there whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mltrack.catalog.export import export_folder, export_points
from mltrack.disk.filesystem import FileSystem
from mltrack.entities import Dataset
from mltrack.errors import StoreError, UsageError
from mltrack.recording import current_store, fluent
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.store import Store

VALUES = [0.5, float("nan"), float("inf"), float("-inf"), -0.0, 1e-300]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    current_store.set_store(tmp_path / "store")
    for name in ("eins", 'zwei, "drei"\n vier ü'):
        with fluent.start_run(run_name=name) as run:
            run.log_param("lr", 0.1)
            run.log_series("loss/ü", VALUES, steps=[0, 1, 2, 3, -4, 5])
            run.log_text("x", "a/b.txt")
            run.log_input(Dataset("größe, \n", "1", "local", "{}", profile="{}"), "training", {"fold": 1})
    current_store.set_store(None)
    return Store.open(tmp_path / "store")


def runs(store: Store) -> list[StoredRun]:
    return list(store.runs())


def test_a_folder_of_parquet_holds_every_point_param_tag_dataset_and_artifact(store: Store, tmp_path: Path) -> None:
    report = export_folder(runs(store), tmp_path / "out")
    tables = {path.stem: pq.read_table(path) for path in report.files}
    assert (report.runs, report.points) == (2, 12)
    assert tables["metrics"].num_rows == 12
    assert repr(sorted(tables["metrics"]["value"].to_pylist()[:6], key=repr)) == repr(sorted(VALUES, key=repr))
    assert sorted(tables["runs"]["run_id"].to_pylist()) == store.run_ids()
    assert tables["runs"]["points"].to_pylist() == [6, 6]
    assert tables["params"]["value"].to_pylist() == ["0.1", "0.1"]
    datasets = tables["datasets"].to_pylist()
    assert [(d["name"], d["digest"], d["context"], d["schema"], d["profile"]) for d in datasets] == [
        ("größe, \n", "1", "training", None, "{}")
    ] * 2
    assert json.loads(datasets[0]["tags"]) == {"fold": "1", "mlflow.data.context": "training"}
    assert tables["artifacts"]["path"].to_pylist() == ["a/b.txt", "a/b.txt"]
    assert "mlflow.runName" in tables["tags"]["key"].to_pylist()


def test_csv_can_be_read_whatever_the_names_hold(store: Store, tmp_path: Path) -> None:
    report = export_folder(runs(store), tmp_path / "out", "csv")
    tables = {
        path.stem: list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(keepends=True)))
        for path in report.files
    }
    assert {row["run_name"] for row in tables["runs"]} == {run.info.run_name for run in runs(store)}
    assert [row["metric"] for row in tables["metrics"]] == ["loss/ü"] * 12
    assert [row["step"] for row in tables["metrics"]][:6] == ["0", "1", "2", "3", "-4", "5"]


def test_json_is_strict_with_one_object_per_line(store: Store, tmp_path: Path) -> None:
    export_points(runs(store)[:1], tmp_path / "points.json")
    text = (tmp_path / "points.json").read_text(encoding="utf-8")
    lines = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert [line["value"] for line in lines] == [0.5, "NaN", "Infinity", "-Infinity", -0.0, 1e-300]
    assert lines[0]["time"].endswith("Z")
    export_folder(runs(store), tmp_path / "out", "json")
    assert json.loads((tmp_path / "out" / "runs.jsonl").read_text().splitlines()[0])["status"] == "FINISHED"


@pytest.mark.parametrize("name", ["points.parquet", "points.csv", "points.jsonl"])
def test_the_file_extension_chooses_the_format(name: str, store: Store, tmp_path: Path) -> None:
    assert export_points(runs(store), tmp_path / "deep" / name).points == 12
    head = (tmp_path / "deep" / name).read_bytes()[:4]
    assert head == {"points.parquet": b"PAR1", "points.csv": b'"run', "points.jsonl": b'{"ru'}[name]


@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_no_runs_give_empty_tables(form: str, tmp_path: Path) -> None:
    report = export_folder([], tmp_path / "out", form)
    assert (report.runs, report.points) == (0, 0)
    assert all(path.exists() for path in report.files)


def test_points_can_be_written_to_a_stream(store: Store) -> None:
    sink = io.BytesIO()
    export_points(runs(store), sink, "json")
    assert len(sink.getvalue().splitlines()) == 12


def test_an_unknown_format_and_an_existing_file_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        export_folder(runs(store), tmp_path / "out", "xml")
    with pytest.raises(UsageError):
        export_points(runs(store), tmp_path / "points.xml")
    export_folder(runs(store), tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(UsageError):
        export_folder([], tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    export_folder([], tmp_path / "out", force=True)
    assert pq.read_table(tmp_path / "out" / "runs.parquet").num_rows == 0


@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_a_failure_midway_leaves_nothing_behind(form: str, store: Store, tmp_path: Path) -> None:
    def failing() -> Iterator[StoredRun]:
        yield runs(store)[0]
        raise OSError(5, "Input/output error")

    with pytest.raises(StoreError):
        export_folder(failing(), tmp_path / "out", form)
    with pytest.raises(StoreError):
        export_points(failing(), tmp_path / "out" / "points", form)
    assert list((tmp_path / "out").iterdir()) == []


class Full(FileSystem):
    """Nothing can be synced."""

    def sync(self, fd: int) -> None:
        raise OSError(28, "No space left on device")


def test_a_disk_that_refuses_writes_is_an_error_that_names_the_path(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="out"):
        export_folder(runs(store), tmp_path / "out", fs=Full())
    assert list((tmp_path / "out").iterdir()) == []

"""Tables: exact, in layouts that MLflow reads, and added to by many at once."""

from __future__ import annotations

import enum
import json
import math
import threading
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mltrack
from mltrack.errors import UsageError
from mltrack.storage.check.check import check_store
from mltrack.values.tables import as_frame, as_split, read_table, table_bytes
from tests.support.recording import run_python, start_python


def test_a_table_is_json_in_the_split_layout() -> None:
    found = json.loads(table_bytes({"a": [1, 2], "b": ["x", "ü"]}, "t.json", None))
    assert found == {"columns": ["a", "b"], "data": [[1, "x"], [2, "ü"]]}
    assert json.loads(table_bytes({"a": 1, "b": "x"}, "t.json", None)) == {"columns": ["a", "b"], "data": [[1, "x"]]}


@pytest.mark.parametrize("name", ["t.json", "t.parquet"])
def test_rows_are_added_and_existing_rows_stay_unchanged(tmp_path: Path, name: str) -> None:
    held = tmp_path / name
    first: dict[str, list[Any]] = {
        "id": ["001", "1e3"],
        "timestamp": [1, 2],
        "date": ["2020-01-01", "x"],
        "big": [2**53 + 1, 0],
    }
    held.write_bytes(table_bytes(first, name, None))
    held.write_bytes(table_bytes({key: values[:1] for key, values in first.items()}, name, held))
    if name == "t.json":
        split = json.loads(held.read_bytes())
        table = pd.DataFrame(split["data"], columns=split["columns"])
    else:
        table = pd.read_parquet(held)
    assert table.to_dict("list") == {key: [*values, values[0]] for key, values in first.items()}


def test_what_is_not_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.json or \.parquet"):
        table_bytes({"a": [1]}, "t.csv", None)
    with pytest.raises(UsageError, match="is not a table"):
        table_bytes([1], "t.json", None)
    with pytest.raises(UsageError, match=r"t\.json"):
        table_bytes({"a": [1], "b": [1, 2]}, "t.json", None)
    for text in ("not json", "[]", '{"a": 1}'):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(UsageError, match="can't be read"):
            table_bytes({"a": [1]}, "t.json", tmp_path / "t.json")


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(floats=st.lists(FLOATS, min_size=1), name=st.sampled_from(["t.json", "t.parquet"]))
def test_every_float_is_read_back_bit_for_bit(floats: list[float], name: str, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(table_bytes({"a": floats, "n": range(len(floats))}, name, None))
    assert list(map(float.hex, read_table(path)["a"].astype(float))) == list(map(float.hex, floats))


NS = 1_704_067_200_123_456_789


def test_times_are_as_exact_as_given() -> None:
    frame = pd.DataFrame(
        {
            "ns": pd.to_datetime([NS]),
            "us": [datetime(2024, 1, 1, 0, 0, 0, 1)],
            "s": pd.to_datetime(["2024-01-01"]),
            "zone": pd.to_datetime(["2024-01-01T01:00:00.123456789+01:00"]),
            "aware": [datetime(2024, 1, 1, tzinfo=UTC)],
            "date": [date(2024, 1, 1)],
            "time": [time(1, 2, 3)],
            "delta": [timedelta(days=1, microseconds=1)],
            "np": [np.datetime64("2024-01-01T00:00:00.123456789")],
            "none": [pd.NaT],
        }
    )
    assert dict(zip(*[as_split(frame)["columns"], as_split(frame)["data"][0]], strict=True)) == {
        "ns": "2024-01-01T00:00:00.123456789",
        "us": "2024-01-01T00:00:00.000001",
        "s": "2024-01-01T00:00:00.000",
        "zone": "2024-01-01T00:00:00.123456789Z",
        "aware": "2024-01-01T00:00:00.000Z",
        "date": "2024-01-01",
        "time": "01:02:03",
        "delta": "P1DT0H0M0.000001S",
        "np": "2024-01-01T00:00:00.123456789",
        "none": None,
    }


class Mode(enum.Enum):
    FAST = 1


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (2**53 + 1, 2**53 + 1),
        (2**70, 2**70),
        (np.float32(0.1), float(np.float32(0.1))),
        (math.inf, None),
        (pd.NA, None),
        (True, True),
        ({"a": [np.int8(1), (2, 3)], 5: math.nan}, {"a": [1, [2, 3]], "5": None}),
        (np.array([[1.5, 2]]), [[1.5, 2.0]]),
        (Decimal("0.1"), 0.1),
        (Decimal("3"), 3),
        (Mode.FAST, "Mode.FAST"),
        (Path("a/b"), "a/b"),
        ("\ud800", "\ud800"),
        (b"abc", "abc"),
    ],
    ids=repr,
)
def test_a_cell_is_stored_as_json_allows(value: Any, stored: Any) -> None:
    column = pd.Series([value, None], dtype=object)
    [[found], [nothing]] = json.loads(table_bytes(pd.DataFrame({"a": column}), "t.json", None))["data"]
    assert (found, nothing) == (stored, None)
    assert type(found) is type(stored)


def test_columns_that_are_not_numbers_alone_are_written_as_pandas_writes_them() -> None:
    frame = pd.DataFrame(
        {
            "text": ["a", None],
            "whole": pd.array([1, None], "Int64"),
            "flag": pd.array([True, None], "boolean"),
            "kind": pd.Categorical(["x", None]),
            "float": [0.5, math.nan],
            "bool": [True, False],
            7: [1, 2],
        }
    )
    theirs = json.loads(str(frame.to_json(orient="split", index=False, date_format="iso")))
    assert json.loads(table_bytes(frame, "t.json", None)) == theirs


def test_rows_with_other_columns_are_added_by_name_and_stay_exact(tmp_path: Path) -> None:
    for name in ("t.json", "t.parquet"):
        held = tmp_path / name
        held.write_bytes(table_bytes({"a": [2**53 + 1], "b": ["x"]}, name, None))
        held.write_bytes(table_bytes({"b": ["y"], "c": [1]}, name, held))
        table = read_table(held).astype(object)
        if name == "t.json":
            assert json.loads(held.read_bytes())["data"] == [[2**53 + 1, "x", None], [None, "y", 1]]
        assert list(table.columns) == ["a", "b", "c"]
        assert pd.isna(table["a"][1])
    with pytest.raises(UsageError):
        table_bytes(pd.DataFrame([[1, 2]], columns=["a", "a"]), "t.json", tmp_path / "t.json")
    with pytest.raises(UsageError):
        table_bytes({"a": ["text"]}, "t.parquet", tmp_path / "t.parquet")


def test_a_dict_is_a_table_as_in_mlflow() -> None:
    tables: list[dict[str, Any]] = [{"a": [1, 2], "b": "x"}, {"a": 1, "b": "x"}, {"a": {"k": 1}}, {"a": []}, {}]
    for data in tables:
        try:
            theirs = pd.DataFrame(data)
        except ValueError:
            theirs = pd.DataFrame([data])
        frame = as_frame(data, "t.json")
        assert isinstance(frame, pd.DataFrame)
        assert frame.equals(theirs)


@pytest.mark.slow
def test_mlflow_reads_the_tables(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "s")
    with mltrack.start_run() as run:
        for row in range(2):
            for name in ("t.json", "t.parquet"):
                run.log_table({"p": [1.5e-12 + row], "text": ["ü"]}, name)
        run.log_table({"image": [mltrack.Image(np.zeros((2, 3), np.uint8))], "label": ["a"]}, "deep/i.json")
    code = """
import json, sys
import mlflow
tables = [mlflow.load_table(name, run_ids=[sys.argv[1]]) for name in ("t.json", "t.parquet", "deep/i.json")]
print(json.dumps([tables[0]["p"].tolist(), tables[1]["p"].tolist(), tables[2]["image"].tolist()]))
"""
    said = run_python(code, run.run_id, env={"MLFLOW_TRACKING_URI": f"mltrack://{tmp_path}/s"})
    *numbers, [cell] = json.loads(said.splitlines()[-1])
    assert numbers == [[1.5e-12, 1.0 + 1.5e-12]] * 2
    assert cell["type"] == "image"
    for key, kind in (("filepath", "PNG"), ("compressed_filepath", "WEBP")):
        assert cell[key].startswith("table_images/deep/i/")
        with PIL.Image.open(run.stored().artifact_path(cell[key])) as image:
            assert image.format == kind


def test_a_column_of_images_and_others_is_refused(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "s")
    with mltrack.start_run() as run, pytest.raises(UsageError, match="mixes images and other values"):
        run.log_table({"a": [mltrack.Image(np.zeros((2, 2))), "x"]}, "t.json")


# --- many at once ---

CHILD = """
import sys, mltrack
mltrack.set_store(sys.argv[1])
with mltrack.start_run(run_id=sys.argv[2]) as run:
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(8):
        run.log_table({"who": [sys.argv[3]], "i": [i]}, sys.argv[4])
        run.log_table({"i": [i]}, f"own/{sys.argv[3]}-{i}.json")
        run.log_text(sys.argv[3] * (i + 1), "same.txt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t.json", "t.parquet"])
def test_rows_added_by_threads_and_processes_are_all_kept(tmp_path: Path, name: str) -> None:
    mltrack.set_store(tmp_path / "s")
    run = mltrack.start_run()
    children = [start_python(CHILD, tmp_path / "s", run.run_id, who, name) for who in ("a", "bb")]
    for child in children:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()

    def add(who: str) -> None:
        for i in range(8):
            run.log_table({"who": [who], "i": [i]}, name)
            run.log_text(who, "same.txt")

    threads = [threading.Thread(target=add, args=(f"thread{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        assert child.communicate(timeout=100)[1] == ""
        assert child.returncode == 0
    run.end()
    rows = read_table(run.folder.artifacts / name)
    found = sorted(zip(rows["who"], rows["i"].astype(int), strict=True))
    assert found == sorted((who, i) for who in ("a", "bb", "thread0", "thread1", "thread2") for i in range(8))
    stored = mltrack.get_run(run.run_id)
    tables = {entry["path"] for entry in json.loads(stored.tags["mlflow.loggedArtifacts"])}
    assert tables == {name} | {f"own/{who}-{i}.json" for who in ("a", "bb") for i in range(8)}
    assert check_store(mltrack.get_store().path).findings == []  # each file is the one that was noted last

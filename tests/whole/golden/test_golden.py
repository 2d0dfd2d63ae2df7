"""A store that was written in format version 1, once, is read for ever: by mltrack, by plain JSON, by plain Parquet."""

from __future__ import annotations

import json
import runpy
import shutil
import struct
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mltrack.store import Store
from tests.support.recording import bits, points_by_writer

GOLDEN = Path(__file__).parent
MADE = runpy.run_path(str(GOLDEN / "make_v1.py"))
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "v1.json").read_text(encoding="utf-8"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A copy, as reading through the catalog would write beside it."""
    shutil.copytree(GOLDEN / "v1", tmp_path / "v1")
    return Store.open(tmp_path / "v1")


def as_stored(logged: list[tuple[str, int, int, float]]) -> list[tuple[str, int, int, bytes]]:
    return [(key, step, time_ms * 1_000_000, bits(value)) for key, step, time_ms, value in logged]


def test_the_store_and_its_experiment_are_read(store: Store) -> None:
    assert store.store_id == EXPECTED["store_id"]
    assert [e.name for e in store.experiments()] == ["Default", EXPECTED["experiment"]["name"]]
    assert sorted(store.run_ids()) == sorted(EXPECTED[name]["run_id"] for name in ("finished", "crashed"))


def test_the_finished_run_is_read_exactly(store: Store) -> None:
    expected = EXPECTED["finished"]
    run = store.run(expected["run_id"])
    info = run.info
    assert (info.run_name, info.status, info.crashed, info.live) == (expected["name"], "FINISHED", False, False)
    assert (info.start_time, info.end_time) == (expected["start_time"], expected["end_time"])
    assert (info.experiment_id, info.experiment_name) == (
        EXPECTED["experiment"]["id"],
        EXPECTED["experiment"]["name"],
    )
    assert run.params == expected["params"]
    assert expected["tags"].items() <= run.tags.items()
    assert "team" not in run.tags
    first, second = (points for _, points in sorted(points_by_writer(run).items()))
    assert first == as_stored(MADE["finished_points"]())
    assert second == as_stored([("loss", 5000, MADE["T0"] + 5000, -1.0)])
    for name, text in expected["artifacts"].items():
        assert run.artifact_path(name).read_text(encoding="utf-8") == text
    assert [artifact.path for artifact in run.artifacts] == ["notes/hello.txt", "table.json"]
    assert (run.summaries["loss"].count, run.summaries["loss"].value) == (5001, -1.0)
    assert [writer.role for writer in run.writers()] == ["create", "resume"]


def test_the_crashed_run_is_read_up_to_its_last_whole_record(store: Store) -> None:
    expected = EXPECTED["crashed"]
    run = store.run(expected["run_id"])
    assert (run.info.status, run.info.crashed, run.info.run_name) == ("FAILED", True, expected["name"])
    assert run.info.parent_run_id == EXPECTED["finished"]["run_id"]
    assert run.params == expected["params"]
    [points] = points_by_writer(run).values()
    assert points == as_stored(MADE["crashed_points"]())
    assert not run.state.damage


def test_events_are_plain_json(store: Store) -> None:
    found = 0
    for path in store.path.rglob("*.jsonl"):
        text = path.read_text(encoding="utf-8")
        for line in text[: text.rindex("\n")].split("\n"):
            assert {"crc", "time", "type"} <= json.loads(line).keys()
            found += 1
    assert found > 20


def test_segments_are_plain_parquet(store: Store) -> None:
    [path] = store.path.rglob("*.parquet")
    table = pq.read_table(path).sort_by("seq")
    rows = zip(
        table.column("metric").to_pylist(),
        table.column("step").to_pylist(),
        table.column("time").cast("int64").to_pylist(),
        map(bits, table.column("value").to_pylist()),
        strict=True,
    )
    assert list(rows) == as_stored(MADE["finished_points"]())


def test_points_files_are_plain_structs(store: Store) -> None:
    [path] = (store.path / "runs" / EXPECTED["crashed"]["run_id"] / "points").iterdir()
    data = path.read_bytes()
    for slot, (_, step, time_ms, value) in enumerate(MADE["crashed_points"]()):
        offset = 64 + 32 * slot
        assert struct.unpack_from("<qqdII", data, offset) == (step, time_ms * 1_000_000, value, 0, offset)

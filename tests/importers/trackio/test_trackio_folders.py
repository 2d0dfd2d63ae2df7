"""trackio's folders: as trackio's own functions read them, torn, foreign, and with rows in the inbox."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.importers.kinds import kind_of
from mltrack.importers.png_image import PngImage
from mltrack.importers.source import SourceError, SourceRun
from mltrack.importers.times import ns_of
from mltrack.importers.trackio.importer import TrackioImporter
from mltrack.store import Store
from mltrack.values.rich import Histogram, Table, Text
from tests.support.mutations import read_whole
from tests.support.source_reading import contents, points_of
from tests.support.trackio_sources import NEWEST, VERSIONS, fragment, read_by_trackio, unpack


@contextlib.contextmanager
def opened(path: Path, findings: Findings) -> Iterator[dict[str, SourceRun]]:
    """The runs of a source by project and name."""
    with contextlib.closing(TrackioImporter().open(path, findings)) as source:
        yield {f"{run.experiment}/{run.name}": run for run in source.runs()}


def numbers_of(path: Path) -> tuple[dict[str, dict[str, list[tuple[int, int, str]]]], Findings]:
    """Step, time in ns and value by run and metric, without system metrics."""
    findings, found = Findings(), {}
    with opened(path, findings) as runs:
        for name, run in runs.items():
            found[name] = {
                key: [(step, time, repr(value)) for step, time, value in rows]
                for key, rows in points_of(run).items()
                if not key.startswith("system/")
            }
    return found, findings


@pytest.mark.parametrize("version", [each for each in VERSIONS if not each.endswith("-static")])
def test_every_number_is_as_trackio_reads_it(version: str, tmp_path: Path) -> None:
    found, findings = numbers_of(unpack(tmp_path, version))
    for run, metrics in read_by_trackio(tmp_path).items():
        for key, rows in metrics.items():
            expected = [(step, ns_of(time), value) for step, time, value in rows]
            assert sorted(found[run][key]) == sorted(expected), (run, key)
    assert findings.problems == ()


def test_a_project_exported_for_a_static_page_is_the_same(tmp_path: Path) -> None:
    runs, findings = numbers_of(unpack(tmp_path, f"{NEWEST}-static"))
    read = read_by_trackio(tmp_path)
    assert len(runs["static/first"]["loss"]) == len(read["spirals/first"]["loss"]) == 201
    assert findings.problems == ()


def test_config_user_group_and_times_come_along(tmp_path: Path) -> None:
    with opened(unpack(tmp_path), Findings()) as runs:
        first, third = runs["spirals/first"], runs["spirals/third"]
    assert first.params == {
        "lr": "0.1",
        "model.depth": "3",
        "model.name": "mlp",
        "layers": "[1, 2]",
        "bias": "True",
        "none": "None",
        "word": "größe",
    }
    assert first.tags == {"trackio.group": "sweep"}
    assert third.params == {"lr": "0.3"}
    assert first.end_time is not None
    assert 0 < first.start_time < first.end_time < third.start_time


@pytest.mark.parametrize("version", [NEWEST, f"{NEWEST}-parquet", f"{NEWEST}-static"])
def test_images_tables_histograms_and_texts_come_along(version: str, tmp_path: Path) -> None:
    findings = Findings()
    with opened(unpack(tmp_path, version), findings) as runs:
        run = runs["static/first" if "static/first" in runs else "spirals/first"]
        values = {value.key: (value.step, value.value) for value in run.values()}
    assert findings.problems == ()
    assert {key: step for key, (step, _) in values.items()} == {
        "word": 200,
        "pixels": 202,
        "table": 203,
        "weights": 204,
        "report": 205,
    }
    pixels, table, weights = (values[key][1] for key in ("pixels", "table", "weights"))
    assert isinstance(pixels, PngImage)
    assert isinstance(table, Table)
    assert (list(table.columns), [list(row) for row in table.rows]) == (["x", "name"], [[1.0, "a"], [2.5, "b"]])
    assert isinstance(weights, Histogram)
    assert (weights.counts.tolist(), weights.edges.tolist()) == ([1, 2, 3], [0.0, 0.5, 1.0, 2.0])
    assert (values["report"][1], values["word"][1]) == (Text("# A *report*"), Text("text"))


def test_system_metrics_and_files_of_artifacts_come_along(tmp_path: Path) -> None:
    findings = Findings()
    with opened(unpack(tmp_path), findings) as runs:
        points, files = points_of(runs["spirals/first"]), contents(runs["spirals/first"])
    assert [(step, value) for step, _, value in points["system/gpu/0/utilization"]] == [(0, 25.0), (1, 75.0)]
    assert files == {"artifacts/model/weights/v0/weights.bin": bytes(range(256))}
    assert findings.omissions == ("alerts: 1",)


def test_a_database_and_its_parquet_files_are_the_same_runs(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    for folder, version in (("one", NEWEST), ("other", f"{NEWEST}-parquet")):
        (tmp_path / folder).mkdir()
        unpack(tmp_path / folder, version)
    assert import_source(store, tmp_path / "one" / "trackio").created == 4
    again = import_source(store, tmp_path / "other" / "trackio")
    assert (again.created, again.points, again.values) == (0, 0, 0)


def test_one_database_is_one_project(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    assert kind_of(source / "spirals.db").name == "trackio"
    with opened(source / "spirals.db", Findings()) as runs:
        assert sorted(runs) == ["spirals/first", "spirals/second"]


# --- the inbox ---


def add_fragment(source: Path, *lines: str, name: str = "writer/00000000.jsonl") -> None:
    path = source / "inbox" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


def test_an_inbox_alone_is_a_source(tmp_path: Path) -> None:
    add_fragment(tmp_path, fragment("a", 0, loss=1.0), fragment("a", None, loss=0.5), fragment("b", 3, "x y", loss=2.0))
    assert kind_of(tmp_path).name == "trackio"
    found, findings = numbers_of(tmp_path)
    assert [(step, value) for step, _, value in found["spirals/a"]["loss"]] == [(0, "1.0"), (1, "0.5")]
    assert [(step, value) for step, _, value in found["xy/b"]["loss"]] == [(3, "2.0")]
    assert findings.problems == ()


def test_rows_of_a_fragment_that_is_in_the_database_already_count_once(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    with contextlib.closing(sqlite3.connect(source / "spirals.db")) as con:
        run_id, log_id = con.execute("SELECT run_id, log_id FROM metrics WHERE run_name = 'second'").fetchone()
    line = fragment("second", 0, log_id=log_id, loss=2.0).replace('"run_id": null', f'"run_id": "{run_id}"')
    add_fragment(source, line)
    store = Store.create(tmp_path / "store")
    assert import_source(store, source).points == 581


def test_what_moves_from_the_inbox_to_the_database_comes_once(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    store = Store.create(tmp_path / "store")
    import_source(store, source)
    with contextlib.closing(sqlite3.connect(source / "spirals.db")) as con:
        run_id = con.execute("SELECT run_id FROM metrics WHERE run_name = 'second'").fetchone()[0]
        for path in sorted((source / "inbox").glob("*/*.jsonl")):
            for line in path.read_text().splitlines():
                record = json.loads(line)
                if record["run"] == "second" and record["kind"] == "metric":
                    con.execute(
                        "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics, log_id)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        (
                            run_id,
                            record["timestamp"],
                            "second",
                            record["step"],
                            json.dumps(record["metrics"]),
                            record["log_id"],
                        ),
                    )
                    path.unlink(missing_ok=True)
        con.commit()
    again = import_source(store, source)
    assert (again.points, again.created) == (0, 0)
    assert compare_source(store, source).same


def test_a_torn_line_of_a_fragment_is_named_and_costs_only_itself(tmp_path: Path) -> None:
    add_fragment(tmp_path, fragment("a", 0, loss=1.0), "{\n", '{"kind": "metric"}\n', fragment("a", 1, loss=2.0)[:-9])
    found, findings = numbers_of(tmp_path)
    assert [step for step, _, _ in found["spirals/a"]["loss"]] == [0]
    words = [problem.split(": ")[1:3] for problem in findings.problems]
    assert words == [["line 2", "not JSON"], ["line 3", "not a record of trackio's"], ["line 4", "not JSON"]]
    assert "inbox/writer/00000000.jsonl" in findings.problems[0]


# --- damage ---


def test_a_run_of_which_a_row_is_damaged_keeps_the_others(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    with contextlib.closing(sqlite3.connect(source / "spirals.db")) as con:
        rows = [row[0] for row in con.execute("SELECT id FROM metrics WHERE run_name = 'second' ORDER BY id LIMIT 4")]
        con.execute("UPDATE metrics SET metrics = '{\"loss\": ' WHERE id = ?", rows[:1])
        con.execute("UPDATE metrics SET metrics = '[1]' WHERE id = ?", rows[1:2])
        con.execute("UPDATE metrics SET step = 'three' WHERE id = ?", rows[2:3])
        con.execute("UPDATE metrics SET timestamp = 'once' WHERE id = ?", rows[3:4])
        con.commit()
    found, findings = numbers_of(source)
    assert [step for step, _, _ in found["spirals/second"]["loss"]] == [*range(3, 60)]
    assert found["spirals/second"]["loss"][0][1] == 0
    assert len(findings.problems) == 3
    assert all(str(row) in problem for row, problem in zip(rows, findings.problems, strict=False))


def test_a_damaged_project_is_named_and_the_others_come(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    path = source / "otherproject.db"
    path.write_bytes(path.read_bytes()[:5_000])
    found, findings = numbers_of(source)
    assert len(found) == 3
    assert len(findings.problems) == 1
    assert "otherproject" in findings.problems[0]


@pytest.mark.parametrize("name", ["spirals.db", "spirals.parquet", "spirals_configs.parquet", "spirals_system.parquet"])
def test_a_file_cut_at_many_bytes_is_named_and_nothing_else_is_raised(name: str, tmp_path: Path) -> None:
    source = unpack(tmp_path, NEWEST if name.endswith(".db") else f"{NEWEST}-parquet")
    whole = (source / name).read_bytes()
    for size in (*range(0, 200, 40), *range(200, len(whole), len(whole) // 25)):
        (source / name).write_bytes(whole[:size])
        findings = Findings()
        with contextlib.closing(TrackioImporter().open(source, findings)) as whole_source:
            assert read_whole(whole_source) >= 30
        assert size < 30 or findings.problems, size


def test_a_parquet_file_with_other_columns_is_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    good = pa.table({"timestamp": ["2024-01-01T00:00:00"], "run_name": ["a"], "step": [1], "loss": [0.5]})
    bad = pa.table({"timestamp": ["2024-01-01T00:00:00"], "run_name": ["a"], "step": ["one"], "loss": [0.5]})
    pq.write_table(good, tmp_path / "good.parquet")
    pq.write_table(bad, tmp_path / "bad.parquet")
    store = Store.create(tmp_path / "store")
    report = import_source(store, tmp_path)
    assert (report.points, len(report.problems)) == (1, 1)
    assert "step" in report.problems[0]


def test_other_databases_and_folders_are_not_trackios(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as con:
        con.execute("CREATE TABLE metrics (key, value)")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n')
    assert not TrackioImporter().recognizes(tmp_path)
    assert not TrackioImporter().recognizes(tmp_path / "other.db")
    with pytest.raises(SourceError, match="no database"):
        TrackioImporter().open(tmp_path, Findings())

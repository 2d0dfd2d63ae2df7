"""The engine, with an importer as another package may have one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import mltrack
from mltrack.errors import BusyError, NotFoundError, UsageError
from mltrack.importers import kinds
from mltrack.importers.batches import Columns, columns_of, make_batch, rebatched
from mltrack.importers.compare import Comparison, compare_source
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.importers.options import ImportReport
from mltrack.importers.source import SourceError
from mltrack.storage.check.check import check_store
from mltrack.store import Store

AT = 1_700_000_000_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that names the importer by an entry point, on the path."""
    folder = tmp_path / "site" / "json_runs-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: json-runs\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{kinds.GROUP}]\njson-runs = tests.support.json_importer:JsonImporter\n")
    monkeypatch.syspath_prepend(str(folder.parent))


def write(folder: Path, *runs: dict[str, Any]) -> Path:
    path = folder / "a.runs.json"
    path.write_text(json.dumps(runs))
    return path


def points(key: str, first: int, end: int, scale: float = 1.0) -> list[list[Any]]:
    return [[key, step, AT + step, scale * step] for step in range(first, end)]


def test_a_kind_of_another_package_is_recognized_and_named(tmp_path: Path, store: Store) -> None:
    source = write(tmp_path, {"id": "a", "points": [points("loss", 0, 5)]})
    assert import_source(store, source).kind == "json-runs"
    assert import_source(store, source, "json-runs").unchanged == 1


def test_what_is_no_source_is_refused_with_the_kinds_that_are_known(tmp_path: Path, store: Store) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        import_source(store, tmp_path / "missing")
    (tmp_path / "x.bin").write_bytes(b"\0")
    with pytest.raises(UsageError, match="not a source of any known kind"):
        import_source(store, tmp_path / "x.bin")
    with pytest.raises(UsageError, match="not known here") as raised:
        import_source(store, tmp_path / "x.bin", "nonsense")
    assert "json-runs" in raised.value.hint
    with pytest.raises(UsageError, match="can't be read as"):
        import_source(store, tmp_path / "x.bin", "mlruns")


def test_rich_values_come_once_and_are_compared(tmp_path: Path, store: Store) -> None:
    run = {"id": "a", "histograms": [[1, 2, 3], [2, 2]], "texts": ["hello"], "images": [4, 5]}
    source = write(tmp_path, run)
    foreseen = import_source(store, source, dry_run=True)
    report = import_source(store, source)
    assert (foreseen.values, report.values, report.runs) == (5, 5, 1)
    stored = next(store.runs())
    assert stored.series_kinds() == {"said": "text", "seen_ it": "image", "weights": "histogram"}
    assert [point.value.counts.sum() for point in stored.series("weights")] == [3, 2]  # type: ignore[union-attr]
    assert any(artifact.path.startswith("series/") for artifact in stored.artifacts)
    again = import_source(store, source)
    assert (again.values, again.runs) == (0, 0)
    assert next(store.runs()).tags["mlflow.loggedImages"] == "True"
    compared = compare_source(store, source)
    assert (compared.values, compared.differences) == (5, ())
    more = write(tmp_path, {**run, "texts": ["hello", "there"], "images": [4, 5, 6]})
    assert [each.what for each in compare_source(store, more).differences] == [
        "text said at step 1",
        "image seen: it at step 2",
    ]
    assert import_source(store, more).values == 2
    assert compare_source(store, more).same
    assert check_store(store.path).sound


def test_a_run_that_breaks_keeps_what_could_be_read_and_the_others_come(tmp_path: Path, store: Store) -> None:
    source = write(
        tmp_path,
        {"id": "a", "points": [points("loss", 0, 5)], "breaks": True},
        {"points": []},
        {"id": "b", "status": "WEIRD"},
        {"id": "c", "points": [points("loss", 0, 3)], "notes": "x", "files": {"../up": "x", "ok.txt": "y"}},
    )
    report = import_source(store, source)
    assert (report.created, report.points, report.artifacts) == (2, 8, 1)
    assert report.problems[0] == "run a: it ends in the middle of a record"
    assert report.problems[1] == "a.runs.json: a run without id"
    assert report.problems[2].startswith("run b: its status is 'WEIRD'")
    assert report.problems[3].startswith("run c: ")
    assert report.left_out == ("notes of c",)
    assert not report.complete


def test_a_metric_without_a_name_is_named_as_lost_and_the_others_next_to_it_come(tmp_path: Path, store: Store) -> None:
    rows = [row for step in range(3) for row in ([*points("", step, step + 1), *points("loss", step, step + 1)])]
    source = write(tmp_path, {"id": "a", "points": [[*rows, *points("x" * 70_000, 0, 1), *points("acc", 0, 1)]]})
    report = import_source(store, source)
    assert (report.points, len(report.problems)) == (4, 2)
    (run,) = store.runs()
    assert {key: run.metrics(key).column("value").to_pylist() for key in ("loss", "acc")} == {
        "loss": [0.0, 1.0, 2.0],
        "acc": [0.0],
    }
    assert import_source(store, source).points == 0
    assert not compare_source(store, source).differences


def test_a_metric_that_was_changed_in_the_source_is_compared_point_by_point(tmp_path: Path, store: Store) -> None:
    source = write(tmp_path, {"id": "a", "points": [points("x", 0, 10), points("y", 0, 10)]})
    import_source(store, source)
    changed = points("x", 0, 5) + points("x", 5, 7, 2.0) + points("x", 7, 12)
    source = write(tmp_path, {"id": "a", "points": [changed, points("y", 0, 11)]})
    report = import_source(store, source)
    assert report.points == 2 + 2 + 1  # two others at steps 5 and 6, two more of x, one of y
    assert import_source(store, source).points == 0
    (difference,) = compare_source(store, source).differences
    assert difference.what == "metric x"
    assert difference.local == f"step 5: 5.0 at {AT + 5} ns, and 1 more, of 14 points"


def test_equal_points_count_as_often_as_they_are_in_the_source(tmp_path: Path, store: Store) -> None:
    twice = [["x", 0, AT, 1.0], ["x", 0, AT, 1.0]]
    assert import_source(store, write(tmp_path, {"id": "a", "points": [twice]})).points == 2
    source = write(tmp_path, {"id": "a", "points": [twice, twice[:1]]})
    assert import_source(store, source).points == 1
    assert compare_source(store, source).same


def test_what_was_recorded_or_edited_here_stays(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path, {"id": "a", "points": [points("x", 0, 3)]})
    import_source(store, source)
    run_id = store.run_ids()[0]
    monkeypatch.setenv("MLTRACK_STORE", str(store.path))
    with mltrack.start_run(run_id=run_id) as run:
        run.log_metric("x", 9.0, step=9)
        run.set_tag("note", "mine")
    report = import_source(store, source)
    assert (report.runs, report.points) == (0, 0)
    found = store.run(run_id)
    assert found.tags["note"] == "mine"
    assert found.head().points == 4
    assert compare_source(store, source).same


def test_ids_are_the_same_in_every_store_and_differ_by_project(tmp_path: Path, store: Store) -> None:
    other = Store.create(tmp_path / "other")
    source = write(tmp_path, {"id": "a"}, {"id": "b", "project": "p"}, {"id": "b", "project": "q"})
    import_source(store, source)
    import_source(other, source)
    assert store.run_ids() == other.run_ids()
    assert len(store.run_ids()) == 3


def test_the_same_run_twice_in_a_source_comes_once_and_is_named(tmp_path: Path, store: Store) -> None:
    report = import_source(store, write(tmp_path, {"id": "a"}, {"id": "a"}))
    assert report.created == 1
    assert report.problems == ("run a: the same run as run a, left out",)


def test_two_imports_at_a_time_are_refused(tmp_path: Path, store: Store) -> None:
    from mltrack.disk.locks import file_lock

    source = write(tmp_path, {"id": "a"})
    with (
        file_lock(store.layout.workspace / "import.lock", timeout_s=0),
        pytest.raises(BusyError, match="another import"),
    ):
        import_source(store, source)
    assert import_source(store, source).created == 1


def test_findings_name_each_problem_once_and_count_what_is_too_much() -> None:
    findings = Findings()
    for number in range(1_005):
        for _ in range(2):
            findings.problem("file", f"line {number}")
    assert len(findings.problems) == 1_001
    assert findings.problems[-1] == "10 further problems"


def test_points_of_another_form_are_refused() -> None:
    with pytest.raises(SourceError, match="another form"):
        columns_of(pa.RecordBatch.from_pydict({"x": [1]}))


def test_batches_are_joined_with_the_names_of_all() -> None:
    def columns(keys: list[str], codes: list[int]) -> Columns:
        zeros = np.zeros(len(codes), np.int64)
        return columns_of(
            make_batch(keys, np.array(codes, np.int64), zeros, zeros, np.arange(len(codes), dtype=np.float64))
        )

    (joined,) = rebatched([columns(["a", "b"], [0, 1]), columns(["b", "c"], [1, 0])])
    assert [joined.keys[code] for code in joined.codes] == ["a", "b", "c", "b"]


def test_reports_say_whether_anything_is_missing() -> None:
    assert ImportReport(source="x", kind="y").complete
    assert not Comparison(source="x", kind="y", problems=("z",)).same

"""Histograms, images, tables and texts beside plain numbers: stored compactly, read back, and shown by MLflow."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import mltrack
from mltrack import Histogram, Image, Store, Table, Text
from mltrack.disk.codec import decode_line, encode_line
from mltrack.disk.filesystem import FileSystem
from mltrack.disk.layout import Layout
from mltrack.errors import InvalidMetricError, NotFoundError, RunStateError, UsageError
from mltrack.journal.rich_series import SeriesJournal, journals, read_lines, read_series
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.series_artifacts import table_name, unpublished_series
from mltrack.values.rich import decode_value, encode_value
from tests.support.recording import run_python, start_python, stored


@pytest.fixture
def run(tmp_path: Path) -> mltrack.Run:
    mltrack.set_store(tmp_path / "s")
    return mltrack.start_run()


def table(run: Any, name: str) -> pd.DataFrame:
    """An artifact as MLflow's load_table reads it."""
    return pd.read_json(run.artifact_path(name), orient="split")


# --- values ---


def test_a_histogram_counts_as_numpy_does() -> None:
    values = np.random.default_rng(0).normal(size=(20, 50))
    made = Histogram(values, bins=10)
    counts, edges = np.histogram(values, 10)
    assert made.counts.tolist() == counts.tolist()
    assert made.edges.tolist() == pytest.approx(edges.tolist())
    assert made.left_out == 0


def test_a_histogram_leaves_out_what_is_not_finite_and_says_so() -> None:
    made = Histogram([1.0, math.nan, 2.0, math.inf, -math.inf], bins=1)
    assert (made.counts.tolist(), made.left_out) == ([2], 3)
    assert made.edges.tolist() == [1.0, 2.0]
    assert Histogram([math.nan]).counts.sum() == 0
    assert Histogram([]).counts.sum() == 0


@pytest.mark.parametrize(
    "values",
    [
        [5.0],
        [1e300, -1e300],
        [1.0, np.nextafter(1.0, 2.0)],
        [True, False],
        np.array([1, 2], np.float16),
        [2**62, 0],
        range(9),
    ],
    ids=repr,
)
def test_any_numbers_make_a_histogram(values: Any) -> None:
    made = Histogram(values)
    assert made.counts.sum() == len(values)
    assert np.isfinite(made.edges).all()
    assert (np.diff(made.edges / 2) > 0).all()
    assert made.edges[0] <= min(values)
    assert made.edges[-1] >= max(values)


def test_a_tensor_is_read_by_its_methods() -> None:
    class Tensor:
        """What torch's tensors do: NumPy can't read them while they are on a device, or of a type it lacks."""

        dtype = "torch.bfloat16"

        def __init__(self, state: str = "device") -> None:
            self.state = state

        def detach(self) -> Tensor:
            return self

        def cpu(self) -> Tensor:
            return Tensor("host")

        def float(self) -> Any:
            assert self.state == "host"
            return np.array([1, 2, 3], np.float32)

    assert Histogram(Tensor(), bins=3).counts.tolist() == [1, 1, 1]


def test_given_counts_need_matching_edges() -> None:
    made = Histogram.from_counts([1, 2.5], [0, 1, 10])
    assert made.counts.tolist() == [1, 2.5]
    for counts, edges in (([1], [0]), ([1], [1, 1]), ([1], [0, math.inf]), ([-1], [0, 1]), ([], [0]), (["a"], [0, 1])):
        with pytest.raises(UsageError):
            Histogram.from_counts(counts, edges)
    for values, bins in (("text", 3), ([1j], 3), ([1], 0), ([1], True), ([[1], [2, 3]], 3)):
        with pytest.raises(UsageError):
            Histogram(values, bins=bins)


def through_a_line(value: Any) -> Any:
    return decode_value(decode_line(encode_line(encode_value(value))[:-1]))


@example(np.array([-np.finfo(float).max, np.finfo(float).max]), 3)
@given(arrays.arrays(np.float64, st.integers(0, 30), elements=st.floats(width=64)), st.integers(1, 9))
def test_a_histogram_survives_a_line(values: Any, bins: int) -> None:
    made = Histogram(values, bins)
    assert through_a_line(made) == made


@given(st.lists(st.integers(0, 2**63), min_size=1, max_size=9) | st.lists(st.floats(0, 1e300), min_size=1, max_size=9))
def test_given_counts_and_edges_are_read_back_unchanged(counts: list[Any]) -> None:
    made = Histogram.from_counts(
        np.array(counts, None if isinstance(counts[0], float) else np.uint64), np.arange(len(counts) + 1) ** 1.5
    )
    assert through_a_line(made) == made


@given(st.text(st.characters(codec=None)))
def test_any_text_is_read_back_unchanged(text: str) -> None:
    assert through_a_line(Text(text)) == Text(text)


def test_a_table_is_a_copy_of_its_data_at_creation() -> None:
    data: dict[str, list[Any]] = {"id": ["001", None], "n": [1, 2]}
    made = Table(data)
    data["n"].append(3)
    assert through_a_line(made) == made == Table(pd.DataFrame({"id": ["001", None], "n": [1, 2]}))
    frame = made.to_pandas()
    assert frame["n"].tolist() == [1, 2]
    assert frame["id"].isna().tolist() == [False, True]
    with pytest.raises(UsageError):
        Table([1])


def test_a_table_can_be_created_from_rows() -> None:
    whole = Table({"a": [1, 2], "b": ["x", "y"]})
    assert Table([[1, "x"], [2, "y"]], columns=["a", "b"]) == whole
    assert Table(columns=["a", "b"], data=[(1, "x"), (2, "y")]) == whole
    assert Table([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]) == whole
    for rows in ([[1, 2, 3]], [1], 7):
        with pytest.raises(UsageError):
            Table(rows, columns=["a", "b"])  # type: ignore[arg-type]


def test_a_text_must_be_a_string() -> None:
    with pytest.raises(UsageError):
        Text(1)  # type: ignore[arg-type]


# --- logging ---


def test_rich_values_mix_with_numbers_and_are_read_back(run: mltrack.Run) -> None:
    made = [Histogram(np.arange(n + 5)) for n in range(3)]
    for n, histogram in enumerate(made):
        mltrack.log({"loss": n / 2, "grad/größe": histogram, "note": Text(f"step {n}"), "n": n})
    run.log({"note": Text("late")}, step=-7)
    found = run.stored()
    assert found.data.metrics == {"loss": 1.0, "n": 2.0}
    assert [(step, value) for step, _, value in found.series("grad/größe")] == list(enumerate(made))
    notes = found.series("note")
    assert [(point.step, point.value) for point in notes] == [
        (0, Text("step 0")),
        (1, Text("step 1")),
        (2, Text("step 2")),
        (-7, Text("late")),
    ]
    assert notes[0].time == found.series("grad/größe")[0].time
    assert found.series_kinds() == {"grad/größe": "histogram", "note": "text"}
    with pytest.raises(NotFoundError, match="no series 'loss'"):
        found.series("loss")


def test_misuse_raises_and_stores_nothing(run: mltrack.Run) -> None:
    good: dict[str, Any] = {"h": Histogram([1.0]), "t": Text("x")}
    bads: list[dict[str, Any]] = [
        {"loss": "text"},
        {"i": Image(np.zeros(5))},
        {"": Text("x")},
        {"ü": Image(np.zeros((2, 2)))},
    ]
    for bad in bads:
        with pytest.raises((InvalidMetricError, UsageError)):
            run.log({**good, "loss": 1.0, **bad})
    with pytest.raises(InvalidMetricError):
        run.log(good, step=1.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidMetricError):
        run.log_metrics(good)
    assert run.stored().series_kinds() == {}
    assert run.stored().data.metrics == {}
    run.log(good)
    assert run.stored().series("t")[0].step == 0
    run.end()
    with pytest.raises(RunStateError):
        run.log(good)


def test_images_are_named_and_tagged_as_mlflow_shows_them(run: mltrack.Run) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    run.log({"val/sample": Image(pixels)}, step=3)
    run.log_image(pixels, key="val/sample", step=4)
    found = run.stored()
    assert [point.step for point in found.series("val/sample")] == [3, 4]
    image = found.series("val/sample")[0].value
    assert isinstance(image, Image)
    assert image.to_array().tolist() == pixels.tolist()
    names = [artifact.path for artifact in found.artifacts]
    assert sum(name.endswith(".png") for name in names) == sum(name.endswith("+compressed.webp") for name in names) == 2
    assert found.tags["mlflow.loggedImages"] == "True"


def test_plain_numbers_import_neither_numpy_nor_pillow(tmp_path: Path) -> None:
    code = """
import sys, mltrack
mltrack.set_store(sys.argv[1])
with mltrack.start_run() as run:
    run.log({"loss": 1.0, "n": 2})
print([name for name in sys.modules if name in ("numpy", "PIL")])
"""
    assert run_python(code, tmp_path / "s").strip() == "[]"


# --- on disk ---


def test_a_closed_run_has_one_journal_and_one_table_a_series(run: mltrack.Run) -> None:
    for n in range(50):
        run.log({f"grad/{k}": Histogram(np.arange(n + 1)) for k in range(4)} | {"note": Text(str(n))})
    run.end()
    (journal,) = journals(run.folder.path)
    assert journal.stat().st_size < 50 * 5 * 350
    assert [artifact.path for artifact in run.stored().artifacts] == [
        *(f"series/histograms/grad~{k}.json" for k in range(4)),
        "series/texts/note.json",
    ]
    assert not unpublished_series(run.folder)
    assert [path.name for path in run.folder.path.rglob("*.tmp")] == []


def test_the_tables_hold_everything_logged_in_mlflows_layout(run: mltrack.Run) -> None:
    histogram, given = Histogram([1.0, 1.0, 3.0, math.nan], bins=2), Histogram.from_counts([1, 2], [0, 1, 5])
    run.log({"h": histogram, "t": Table({"step": [7, 8], "x": ["a", "b"]}), "n": Text('"q"\nü')})
    run.log({"h": given, "t": Table({"x": ["c"], "y": [None]})})
    run.end()
    found = run.stored()
    rows = table(found, "series/histograms/h.json")
    assert list(rows.columns) == ["step", "time", "total", "low", "high", "counts", "edges", "left_out"]
    assert rows["counts"].tolist() == [[2, 1], [1, 2]]
    assert rows["edges"].tolist() == [None, [0, 1, 5]]
    assert rows[["step", "total", "low", "high", "left_out"]].to_numpy().tolist() == [[0, 3, 1, 3, 1], [1, 3, 0, 5, 0]]
    assert json.loads(found.artifact_path("series/tables/t.json").read_bytes())["columns"] == [
        "_step",
        "_time",
        "step",
        "x",
        "y",
    ]
    cells = table(found, "series/tables/t.json").drop(columns="_time")
    assert cells.astype(object).where(cells.notna(), None).to_numpy().tolist() == [
        [0, 7, "a", None],
        [0, 8, "b", None],
        [1, None, "c", None],
    ]
    assert table(found, "series/texts/n.json")["text"].tolist() == ['"q"\nü']
    listed = json.loads(found.tags["mlflow.loggedArtifacts"])
    assert {entry["path"] for entry in listed} == {artifact.path for artifact in found.artifacts}
    assert {entry["type"] for entry in listed} == {"table"}


def test_mlflow_loads_the_tables_from_the_store(run: mltrack.Run, tmp_path: Path) -> None:
    import mlflow

    from tests.support.mlflow_recording import forget_where

    run.log({"n": Text("hello")})
    run.end()
    mlflow.set_tracking_uri(f"mltrack://{tmp_path / 's'}")
    try:
        experiment_id = run.stored().info.experiment_id  # else it would be one that another test has set
        loaded = mlflow.MlflowClient().load_table(experiment_id, "series/texts/n.json", run_ids=[run.run_id])
    finally:
        forget_where()
    assert loaded["text"].tolist() == ["hello"]


def test_the_tag_that_names_tables_stays_short_enough_for_a_server(run: mltrack.Run) -> None:
    run.set_tag("mlflow.loggedArtifacts", '[{"path": "mine.json", "type": "table"}]')
    run.log({f"layer.{k}": Histogram([1.0]) for k in range(200)} | {"t": Table({"a": [1]})})
    run.end()
    tag = run.stored().tags["mlflow.loggedArtifacts"]
    assert len(tag) <= 5_000
    assert [entry["path"] for entry in json.loads(tag)][:2] == ["mine.json", "series/tables/t.json"]
    assert len(run.stored().artifacts) == 201


def test_any_key_gets_its_own_artifact() -> None:
    keys = ["a", "a/b", "a~b", "..", "/", "a.json", "模型", "x" * 300, "x" * 301, "a\nb", "a%b", "\ud800"]
    names = [table_name("text", key) for key in keys]
    assert len(set(names)) == len(keys)
    assert names[:2] == ["series/texts/a.json", "series/texts/a~b.json"]
    assert table_name("histogram", "größe/模型 1") == "series/histograms/größe~模型 1.json"
    for name in names:
        assert len(name.split("/")[2].encode()) <= 255
        assert name.startswith("series/texts/")
        assert "\n" not in name
        assert name.count("/") == 2


# --- crashes, damage, full disks ---


def test_what_a_log_call_returned_from_survives_kill_9(tmp_path: Path) -> None:
    code = """
import sys, mltrack, os
mltrack.set_store(sys.argv[1])
run = mltrack.start_run()
print(run.run_id, flush=True)
n = 0
while True:
    run.log({"h": mltrack.Histogram(range(n + 1)), "note": mltrack.Text(str(n)), "n": n})
    os.write(1, b"%d\\n" % n)
    n += 1
"""
    process = start_python(code, tmp_path / "s")
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    while int(process.stdout.readline()) < 100:
        pass
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    last = int(out.split()[-1]) if out.split() else 100
    run = stored(tmp_path / "s", run_id)
    for key in ("h", "note"):
        steps = [point.step for point in run.series(key)]
        assert steps == list(range(len(steps)))
        assert len(steps) > last
    assert run.damage == []
    assert run.artifacts == []
    (note,) = [finding.advice for finding in check_store(tmp_path / "s").findings]
    assert note == f"run: mltrack seal {run_id}"
    store = Store.open(tmp_path / "s")
    assert store.finish_series(run_id)
    assert check_store(tmp_path / "s").findings == []
    assert not store.finish_series(run_id)
    again = store.run(run_id)
    assert [a.path for a in again.artifacts] == ["series/histograms/h.json", "series/texts/note.json"]
    assert table(again, "series/texts/note.json")["step"].tolist() == [p.step for p in again.series("note")]
    assert again.info.status == "FAILED"


def test_a_run_is_not_removed_while_only_its_journals_hold_a_series(tmp_path: Path) -> None:
    from mltrack.storage.runs.edit import remove_run

    code = """
import os, sys, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run()
run.log({"note": mltrack.Text("x")})
print(run.run_id, flush=True)
os.kill(os.getpid(), 9)
"""
    run_id = run_python(code, tmp_path / "s", status=-9).strip()
    layout = Layout.open(tmp_path / "s")
    with pytest.raises(RunStateError, match="crashed process left"):
        remove_run(layout, run_id, Store(layout).run(run_id).head())
    Store(layout).finish_series(run_id)
    remove_run(layout, run_id, Store(layout).run(run_id).head())
    assert not layout.run(run_id).path.exists()


def test_a_truncated_journal_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    journal = SeriesJournal(tmp_path / "series", "18bcfe568000a1b2", on_loss=lambda error: None)
    for n in range(3):
        journal.append([{"time": n, "key": "t", "step": n, **encode_value(Text("x" * n))}])
    journal.close()
    (path,) = journals(tmp_path)
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        assert len(list(read_lines(path))) == sum(end <= size for end in ends)


def test_a_damaged_line_is_reported_and_the_others_are_read(run: mltrack.Run) -> None:
    for n in range(3):
        run.log({"t": Text(f"text {n}")})
    (path,) = journals(run.folder.path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"text 1", b"text !"))
    found = run.stored()
    assert [point.step for point in found.series("t")] == [0, 2]
    assert [str(path) in str(damage) for damage in found.damage] == [True]
    report = check_store(run.store_folder)
    where = str(path.relative_to(run.store_folder))
    assert [(finding.path, finding.severity, finding.offset) for finding in report.findings] == [
        (where, "error", len(data.splitlines(keepends=True)[0]))
    ]


class FullDisk(FileSystem):
    """A disk that takes nothing while it is full."""

    full = False

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            os.write(fd, data[:5])  # some of it goes in
            raise OSError(28, "No space left on device")
        return super().write(fd, data)


def test_a_full_disk_loses_lines_counts_them_and_recording_continues(tmp_path: Path) -> None:
    disk = FullDisk()
    told: list[Exception] = []
    journal = SeriesJournal(tmp_path / "series", "18bcfe568000a1b2", on_loss=told.append, fs=disk)

    def log(n: int) -> None:
        journal.append([{"time": n, "key": "t", "step": n, **encode_value(Text("x"))}])

    log(0)
    disk.full = True
    log(1)
    log(2)
    disk.full = False
    log(3)
    journal.close()
    assert [point.step for point in read_series(tmp_path, "t", [])] == [0, 3]
    assert journal.lost == 2
    assert len(told) == 1


# --- several writers ---


def test_writers_of_one_run_share_one_table(tmp_path: Path, run: mltrack.Run) -> None:
    code = """
import sys, mltrack
mltrack.set_store(sys.argv[1])
with mltrack.start_run(run_id=sys.argv[2]) as run:
    run.log({"note": mltrack.Text("from " + sys.argv[3])}, step=int(sys.argv[3]))
"""
    run.log({"note": Text("from 0")}, step=0)
    ranks = [start_python(code, tmp_path / "s", run.run_id, rank) for rank in (1, 2)]
    for process in ranks:
        assert process.communicate()[1] == ""
    run.end()
    found = run.stored()
    assert sorted(point.value.text for point in found.series("note")) == ["from 0", "from 1", "from 2"]  # type: ignore[union-attr]
    assert sorted(table(found, "series/texts/note.json")["text"]) == ["from 0", "from 1", "from 2"]
    assert len(journals(run.folder.path)) == 3


def test_what_only_a_forked_child_logged_is_kept(tmp_path: Path) -> None:
    code = """
import os, sys, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run()
if sys.argv[2] == "both":
    run.log({"note": mltrack.Text("parent")})
if os.fork() == 0:
    run.log({"note": mltrack.Text("child")}, step=1)
    os._exit(0)
os.wait()
run.end()
print(run.run_id)
"""
    for who, texts in (("both", ["parent", "child"]), ("child", ["child"])):
        run = stored(tmp_path / "s", run_python(code, tmp_path / "s", who).strip())
        assert [point.value for point in run.series("note")] == [Text(text) for text in texts]
        assert table(run, "series/texts/note.json")["text"].tolist() == texts

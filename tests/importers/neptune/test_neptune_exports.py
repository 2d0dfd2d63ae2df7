"""Exports of neptune-exporter's: every number, decimal steps, forks, files, and what is not whole."""

from __future__ import annotations

import contextlib
import json
import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mltrack.environment import NOTE_TAG, PARENT_TAG
from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.importers.kinds import kind_of
from mltrack.importers.neptune.importer import NeptuneImporter
from mltrack.importers.neptune.steps import StepScale, millionths
from mltrack.importers.png_image import PngImage
from mltrack.importers.source import SourceError, SourceRun
from mltrack.store import Store
from mltrack.values.rich import Histogram, Text
from tests.support.mutations import read_whole
from tests.support.neptune_sources import changed, part, part_path, unpack, write_part
from tests.support.source_reading import contents, points_of

FIRST_SECOND = 1_704_067_200 * 1_000_000_000


def runs_of(path: Path) -> tuple[dict[str, SourceRun], Findings]:
    findings = Findings()
    return {run.source_id: run for run in NeptuneImporter().open(path, findings).runs()}, findings


def test_every_number_is_as_it_was_exported(tmp_path: Path) -> None:
    runs, findings = runs_of(unpack(tmp_path))
    read = json.loads((tmp_path / "read.json").read_text())
    assert runs.keys() == read.keys()
    for run_id, metrics in read.items():
        points = points_of(runs[run_id])
        factor = 100 if run_id == "decimal" else 1
        for key, rows in metrics.items():
            expected = [(int(step * factor), repr(value)) for step, value in rows]
            assert [(step, repr(value)) for step, _, value in points.pop(key)] == expected, (run_id, key)
        assert not points
    assert len(findings.problems) == 1


def test_times_are_to_the_millisecond(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    times = [time for _, time, _ in points_of(runs["decimal"])["loss"]]
    assert times[:3] == [FIRST_SECOND, FIRST_SECOND + 250_000_000, FIRST_SECOND + 500_000_000]
    assert (runs["first"].start_time, runs["first"].end_time) == (FIRST_SECOND, FIRST_SECOND + 7_200 * 10**9)


def test_decimal_steps_are_multiplied_and_a_tag_says_by_what(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    assert runs["decimal"].tags["neptune.step_multiplier"] == "100"
    assert [step for step, _, _ in points_of(runs["decimal"])["loss"]][:3] == [0, 25, 50]
    assert "neptune.step_multiplier" not in runs["first"].tags


@pytest.mark.parametrize(
    ("steps", "factor", "whole"),
    [
        (["0", "1", "-3", "999999999999"], 1, [0, 1, -3, 999_999_999_999]),
        (["0.5", "2"], 10, [5, 20]),
        (["-0.000001", "999999999999.999999"], 10**6, [-1, 999_999_999_999_999_999]),
        ([None, "1.25"], 100, [0, 125]),
        ([], 1, []),
    ],
)
def test_steps_are_exact(steps: list[str | None], factor: int, whole: list[int]) -> None:
    column = pa.array([None if step is None else Decimal(step) for step in steps], pa.decimal128(18, 6))
    for given in (
        column,
        pa.concat_arrays([column[:1], column]).slice(min(1, len(column))),
        column.cast(pa.decimal128(30, 6)),
    ):
        raw, valid = millionths(given)
        scale = StepScale()
        scale.see(raw)
        assert (scale.factor, scale.whole(raw).tolist()) == (factor, whole)
        assert valid.tolist() == [step is not None for step in steps]


def test_facts_params_and_tags_come_along(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    first = runs["first"]
    assert (first.name, first.experiment, first.user, first.status) == ("first", "lab/spirals", "ada", "FINISHED")
    assert first.params == {
        "config/lr": "0.1",
        "config/layers": "3",
        "config/name": "mlp",
        "config/bias": "True",
        "config/since": "2024-01-01T00:00:00+00:00",
        "config/sets": '["x", "y"]',
    }
    assert (first.tags["neptune.name"], first.tags["neptune.tags"]) == ("Experiment A", '["a", "b"]')
    assert first.tags[NOTE_TAG] == "größe"
    assert runs["decimal"].status == "FAILED"


def test_a_fork_is_a_child_that_says_from_which_step(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    runs, _ = runs_of(source)
    forked = runs["forked"]
    assert (forked.tags[PARENT_TAG], forked.tags["neptune.forking.step"]) == ("first", "100.0")
    assert (forked.status, forked.deleted) == ("KILLED", True)
    store = Store.create(tmp_path / "store")
    import_source(store, source)
    ids = {run.tags["mltrack.origin.run_id"]: run.run_id for run in store.runs()}
    assert store.run(ids["forked"]).tags[PARENT_TAG] == ids["first"]


def test_histograms_images_texts_and_files_come_along(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    values = {(value.key, value.step): value.value for value in runs["first"].values()}
    assert [key for key in values if key[0] == "pixels"] == [("pixels", 0), ("pixels", 1)]
    assert isinstance(values["pixels", 1], PngImage)
    weights = values["weights", 2]
    assert isinstance(weights, Histogram)
    assert (weights.counts.tolist(), weights.edges.tolist()) == ([1, 2, 3], [0.0, 0.5, 1.0, 2.0])
    assert (values["notes", 1], values["notes", 2]) == (Text("a text"), Text("another"))
    assert contents(runs["first"]) == {
        "source/train.py": b"print()\n",
        "runtime/stdout.log": b"line one\nline two\n",
    }


def test_files_that_are_not_there_are_counted(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    shutil.rmtree(source / "files")
    store = Store.create(tmp_path / "store")
    report = import_source(store, source)
    assert "files that the export names and that are not in its folder of files: 3" in report.left_out
    assert "models and model versions of Neptune's registry: 1" in report.left_out
    assert report.artifacts == 1


@pytest.mark.parametrize("place", [".", "data", "data/*"])
def test_the_folder_of_data_and_one_project_are_sources_too(place: str, tmp_path: Path) -> None:
    source = next(unpack(tmp_path).glob(place)) if place != "." else unpack(tmp_path)
    assert kind_of(source).name == "neptune"
    runs, _ = runs_of(source)
    assert (len(runs), len(contents(runs["first"]))) == (4, 2)


def test_an_export_that_was_not_finished_is_named_and_comes_when_it_is(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    store = Store.create(tmp_path / "store")
    report = import_source(store, source)
    assert len(report.problems) == 1
    assert "broken" in report.problems[0]
    assert "was not finished" in report.problems[0]
    unfinished = next(source.rglob("*.tmp"))
    unfinished.rename(unfinished.with_suffix(""))
    again = import_source(store, source)
    assert (again.problems, again.created, again.points) == ((), 1, 1)
    assert compare_source(store, source).same


def test_a_missing_part_is_named_and_its_points_come_when_it_was_added(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    path = part_path(source, "parts", 2)
    kept = path.read_bytes()
    path.unlink()
    store = Store.create(tmp_path / "store")
    report = import_source(store, source, runs=("parts",))
    assert report.points == 60
    assert any("part 2 is missing" in problem for problem in report.problems)
    path.write_bytes(kept)
    assert import_source(store, source, runs=("parts",)).points == 30


def test_attributes_that_could_not_be_fetched_are_counted(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    record = {"project_id": "lab/spirals", "run_id": "first", "attribute_path": "a", "exception": "NeptuneError"}
    (tmp_path / "neptune_exporter_errors.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps(record)}\n")
    report = import_source(Store.create(tmp_path / "store"), source, dry_run=True)
    assert any(words.startswith("attributes that neptune-exporter could not fetch") for words in report.left_out)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["first", "decimal"])
def test_a_file_cut_at_many_bytes_costs_that_run_and_is_named(run: str, tmp_path: Path) -> None:
    source = unpack(tmp_path)
    path = part_path(source, run, 0)
    whole = path.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        findings = Findings()
        with contextlib.closing(NeptuneImporter().open(source, findings)) as opened:
            assert read_whole(opened) > 90
        assert any(run in problem for problem in findings.problems), size


@pytest.mark.slow
def test_pages_that_are_damaged_cost_that_run_and_are_named(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    path, chance = part_path(source, "first", 0), np.random.default_rng(3)
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    for _ in range(60):
        data = bytearray(whole)
        for at in chance.integers(4, len(data) - footer, 3).tolist():
            data[at] ^= 1 << int(chance.integers(8))
        path.write_bytes(data)
        with contextlib.closing(NeptuneImporter().open(source, Findings())) as opened:
            assert read_whole(opened) > 90


def test_a_file_of_another_program_is_named(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    write_part(source, "decimal", 0, pa.table({"a": [1]}))
    texts = changed(part(source, "parts", 1), "step", lambda step: step)
    step = texts.schema.get_field_index("step")
    write_part(source, "parts", 1, texts.set_column(step, "step", pa.array(["x"] * len(texts))))
    runs, findings = runs_of(source)
    assert "decimal" not in runs
    assert any("decimal" in problem and "no column" in problem for problem in findings.problems)
    assert any("parts" in problem for problem in findings.problems)


def test_other_folders_are_not_exports(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "table_part_0.parquet").write_bytes(b"PAR1")
    assert not NeptuneImporter().recognizes(tmp_path)
    assert not NeptuneImporter().recognizes(tmp_path / "data" / "table_part_0.parquet")
    with pytest.raises(SourceError, match="no file in it"):
        NeptuneImporter().open(tmp_path, Findings())

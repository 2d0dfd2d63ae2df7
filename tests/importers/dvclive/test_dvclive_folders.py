"""DVCLive's folders: numbers, texts, params and files; times that were not logged; tables cut and of other programs."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.dvclive.importer import DvcliveImporter
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.importers.kinds import kind_of
from mltrack.importers.source import SourceRun
from mltrack.store import Store
from mltrack.values.rich import Text
from tests.support.dvclive_sources import unpack
from tests.support.mutations import read_whole
from tests.support.source_reading import contents, points_of


def run_of(path: Path) -> tuple[SourceRun, Findings]:
    findings = Findings()
    (run,) = DvcliveImporter().open(path, findings).runs()
    return run, findings


def test_every_number_comes_with_its_step(tmp_path: Path) -> None:
    run, findings = run_of(unpack(tmp_path))
    points = {key: [(step, value) for step, _, value in rows] for key, rows in points_of(run).items()}
    assert points["loss"] == [(step, 1 / (step + 1)) for step in range(100)]
    assert points["train/accuracy"] == [(step, step / 100) for step in range(100)]
    assert points["val/loss"] == [(step, 2 / (step + 1)) for step in range(0, 100, 10)]
    assert (points["odd2"], points["größe 模型"]) == ([(100, math.inf)], [(100, 1e-300)])
    assert math.isnan(points["odd"][0][1])
    assert points["best"] == [(100, 0.125)]
    assert findings.problems == ()


def test_params_texts_and_files_come_along(tmp_path: Path) -> None:
    run, _ = run_of(unpack(tmp_path))
    assert run.params == {
        "lr": "0.1",
        "model.depth": "3",
        "model.name": "mlp",
        "layers": "[1, 2]",
        "bias": "True",
        "none": "None",
    }
    assert [(value.step, value.value) for value in run.values()][:2] == [(0, Text("text 0")), (10, Text("text 10"))]
    assert sorted(contents(run)) == ["plots/custom/curve.json", "plots/images/pixels.png"]


def test_links_that_lead_out_of_the_folder_are_left_out(tmp_path: Path) -> None:
    source, secret = unpack(tmp_path), tmp_path / "secret.yaml"
    secret.write_text("token: secret")
    (source / "params.yaml").unlink()
    (source / "params.yaml").symlink_to(secret)
    (source / "plots" / "more").symlink_to(tmp_path)
    run, findings = run_of(source)
    assert (run.params, sorted(contents(run))) == ({}, ["plots/custom/curve.json", "plots/images/pixels.png"])
    assert any("plots/more, a link" in words for words in findings.omissions)
    assert any(repr(str(secret)) in words for words in findings.omissions)


def test_times_that_were_not_logged_are_when_the_run_began_also_when_the_files_change(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    store = Store.create(tmp_path / "store")
    import_source(store, source)
    (run,) = store.runs()
    start = run.info.start_time
    times = {key: {time // 1_000_000 for _, time, _ in rows} for key, rows in _stored(run.run_id, store).items()}
    assert times["loss"] == {start}
    assert start not in times["train/accuracy"] or len(times["train/accuracy"]) > 1
    for path in source.rglob("*.tsv"):
        os.utime(path)
    assert import_source(store, source).points == 0
    assert compare_source(store, source).same


def _stored(run_id: str, store: Store) -> dict[str, list[tuple[int, int, float]]]:
    found: dict[str, list[tuple[int, int, float]]] = {}
    for _, points in store.run(run_id).read_points():
        for code, step, time, value in zip(points.codes, points.steps, points.times, points.values, strict=True):
            found.setdefault(points.keys[code], []).append((int(step), int(time), float(value)))
    return found


def test_another_run_in_the_same_folder_is_another_run(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    store = Store.create(tmp_path / "store")
    import_source(store, source)
    path = source / "plots" / "metrics" / "loss.tsv"
    path.write_text(path.read_text().replace("0\t1.0\n", "0\t0.875\n"))
    assert import_source(store, source).created == 1


def test_a_folder_of_several_is_several_runs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        unpack(tmp_path / name)
    assert kind_of(tmp_path).name == "dvclive"
    report = import_source(Store.create(tmp_path / "store"), tmp_path)
    assert (report.runs, report.experiments) == (2, 2)


@pytest.mark.slow
def test_files_cut_at_many_bytes_cost_what_is_torn(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    for name in ("plots/metrics/loss.tsv", "plots/metrics/train/accuracy.tsv", "metrics.json", "params.yaml"):
        path = source / name
        whole = path.read_bytes()
        for size in range(0, len(whole), max(1, len(whole) // 30)):
            path.write_bytes(whole[:size])
            findings = Findings()
            assert read_whole(DvcliveImporter().open(source, findings)) >= 110
            ends_whole = size == 0 or whole[:size].endswith(b"\n") or path.suffix == ".yaml"
            assert ends_whole or findings.problems, (name, size)
        path.write_bytes(whole)


def test_a_table_of_another_program_is_named(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    (source / "plots" / "metrics" / "foreign.tsv").write_text("a\tb\tc\n1\t2\t3\n")
    (source / "plots" / "metrics" / "bytes.tsv").write_bytes(b"step\tbytes\n0\t1.0\nx\t2\n\xff\0\t3\n1\t2.0\n")
    run, findings = run_of(source)
    points = points_of(run)
    assert [step for step, _, _ in points["bytes"]] == [0, 1]
    assert "foreign" not in points
    assert any("other columns" in problem for problem in findings.problems)
    assert sum("is torn" in problem for problem in findings.problems) == 2

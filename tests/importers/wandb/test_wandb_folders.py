"""wandb's folders: as wandb's own classes read them, torn, damaged and growing."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from mltrack.importers.batches import columns_of
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.importers.kinds import kind_of
from mltrack.importers.log_file import LogFile
from mltrack.importers.png_image import PngImage
from mltrack.importers.source import SourceRun
from mltrack.importers.wandb.system_names import system_name
from mltrack.importers.wandb.wandb_run import WandbRun
from mltrack.importers.wandb.wandb_source import WandbSource
from mltrack.store import Store
from mltrack.values.rich import Histogram, Table, Text
from tests.support.mutations import mutated, read_whole
from tests.support.source_reading import contents, points_of
from tests.support.wandb_sources import MAGIC, field, fragments, history, log, run, unpack


def runs_of(path: Path) -> tuple[dict[str, SourceRun], Findings]:
    findings = Findings()
    return {run.source_id: run for run in WandbSource(path, findings).runs()}, findings


def steps_of(run: SourceRun, key: str = "loss") -> list[int]:
    return [step for step, _, _ in points_of(run).get(key, [])]


def test_files_that_are_links_out_of_the_folder_are_left_out(tmp_path: Path) -> None:
    source, home = unpack(tmp_path), tmp_path / "home"
    home.mkdir()
    for name in ("output.log", "secret.txt"):
        (home / name).write_text("secret")
    for folder in {path.parent for path in source.rglob("*.wandb")}:
        shutil.rmtree(folder / "files", ignore_errors=True)
        (folder / "files").symlink_to(home)
    store = Store.create(tmp_path / "store")
    found = import_source(store, source).left_out
    assert any(f"such as {str(home)!r}" in words for words in found)
    assert not [path for path in store.path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


# --- what wandb wrote ---


def test_every_number_is_as_wandb_reads_it(tmp_path: Path) -> None:
    runs, findings = runs_of(unpack(tmp_path))
    read = json.loads((tmp_path / "read.json").read_text())
    assert runs.keys() == read.keys()
    compared = 0
    for run_id, metrics in read.items():
        points = points_of(runs[run_id])
        for key, rows in metrics.items():
            expected = [
                (step, round(float(time) * 1e6), repr(float(json.loads(value))))
                for step, time, value in rows
                if isinstance(json.loads(value), bool | int | float) and not key.startswith(("pixels.", "table."))
            ]
            mine = [(step, round(time / 1000), repr(value)) for step, time, value in points.get(key, [])]
            assert mine == sorted(expected), key  # the folders of a resumed run by name
            compared += len(expected)
    assert compared == 200 * 3 + 5 * 2 + 4 + 2 + 100
    assert findings.problems == ()


def test_steps_nested_keys_and_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    points = points_of(runs["abc12345"])
    assert [(step, value) for step, _, value in points["loss"]] == [(step, 1 / (step + 1)) for step in range(200)]
    assert [value for _, _, value in points["train.deep.er"]] == list(range(200))
    odd = [points[key][0][2] for key in ("odd", "odd2", "odd3", "flag", "größe 模型", "tiny")]
    assert list(map(repr, odd)) == ["nan", "inf", "-inf", "1.0", repr(float(2**53 + 1)), "1e-300"]
    assert [(step, value) for step, _, value in points["epoch"]] == [(200 + i, 10.0 * i) for i in range(5)]
    assert runs["abc12345"].tags["wandb.step_metric.val/*"] == "epoch"


def test_config_names_summary_and_end_come_along(tmp_path: Path) -> None:
    runs, findings = runs_of(unpack(tmp_path))
    first = runs["abc12345"]
    assert first.params == {
        "lr": "0.1",
        "model.depth": "3",
        "model.name": "mlp",
        "layers": "[1, 2]",
        "bias": "True",
        "none": "None",
        "late": "yes",
    }
    assert (first.name, first.experiment, first.status) == ("first", "spirals", "FINISHED")
    assert (first.tags["wandb.group"], first.tags["mlflow.note.content"]) == ("sweep", "größe")
    assert json.loads(first.tags["wandb.tags"]) == ["a", "b"]
    assert [value for _, _, value in points_of(first)["best"]] == [0.125]
    assert [value for _, _, value in points_of(first)["nested.deep"]] == [3.0]
    assert first.end_time is not None
    assert 0 < first.end_time - first.start_time < 60 * 10**9
    assert findings.omissions == ("files of wandb's artifacts that are not on this machine: 1",)


def test_values_and_files_come_along(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    values = {value.key: value.value for value in runs["abc12345"].values()}
    assert values.keys() == {"weights", "pixels", "table", "word"}
    assert values["weights"] == Histogram.from_counts([1, 2, 3], [0.0, 0.5, 1.0, 2.0])
    assert values["word"] == Text("text")
    assert values["table"] == Table([[1, "a"], [2.5, "b"]], ["x", "name"])
    image = values["pixels"]
    assert isinstance(image, PngImage)
    assert (image.to_array() == (np.arange(8 * 6 * 3) % 256).astype(np.uint8).reshape(8, 6, 3)).all()
    files = contents(runs["abc12345"])
    assert files.keys() == {"notes.txt", "output.log", "wandb-summary.json"}
    assert files["output.log"] == b"a line of output\na line of errors\n"
    assert json.loads(files["wandb-summary.json"])["loss"] == 1 / 200


def test_system_metrics_have_mlflows_names(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    points = points_of(runs["abc12345"])
    used = points["system/system_memory_usage_percentage"]
    assert [step for step, _, _ in used] == list(range(len(used)))
    assert all(0 < value < 100 for _, _, value in used)
    assert "system/network_receive_megabytes" in points
    assert system_name("gpu.1.memoryAllocatedBytes") == ("system/gpu_1_memory_usage_megabytes", 1e-6)
    assert system_name("proc.cpu.threads") == ("system/proc.cpu.threads", 1.0)


def test_the_folders_of_a_resumed_run_are_one_run(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    runs, _ = runs_of(source)
    resumed = runs["def67890"]
    assert [(step, value) for step, _, value in points_of(resumed)["loss"]] == [
        (step, 2 / (step + 1)) for step in range(100)
    ]
    assert (resumed.status, resumed.params) == ("FINISHED", {"part": "1"})
    alone, _ = runs_of(min(source.glob("*def67890")))
    assert (alone["def67890"].status, steps_of(alone["def67890"])) == ("FAILED", list(range(50)))


def test_points_that_are_read_again_are_those_that_were_kept(tmp_path: Path) -> None:
    (path,) = unpack(tmp_path).glob("*abc12345/*.wandb")
    found = []
    for points_max in (0, 1 << 20):
        run = WandbRun([LogFile(path, path.name, Findings())], Findings(), points_max)
        run.scan()
        batches = [columns_of(batch) for batch in run.points()]
        found.append(
            sorted(
                (points.keys[code], step, time, repr(value))
                for points in batches
                for code, step, time, value in zip(
                    points.codes.tolist(),
                    points.steps.tolist(),
                    points.times.tolist(),
                    points.values.tolist(),
                    strict=True,
                )
            )
        )
    assert found[0] == found[1]
    assert len(found[0]) == 929


# --- torn, damaged, growing ---


def small() -> bytes:
    return log(run("r"), *(history(step, loss=str(step / 2), train__acc="0.5") for step in range(8)))


@pytest.mark.slow
def test_cut_at_every_byte_what_is_whole_is_read_and_the_cut_is_named(tmp_path: Path) -> None:
    data = small()
    ends = [end for _, end, _ in fragments(data)]
    path = tmp_path / "run-r.wandb"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        runs, findings = runs_of(tmp_path)
        whole = sum(end <= size for end in ends)
        assert sum(len(steps_of(found)) for found in runs.values()) == max(0, whole - 1)
        assert bool(findings.problems) == (size not in ends), (size, findings.problems)


@pytest.mark.slow
def test_cut_at_every_byte_of_what_wandb_wrote(tmp_path: Path) -> None:
    data = next(min(unpack(tmp_path).glob("*def67890")).glob("*.wandb")).read_bytes()
    ends = [end for _, end, _ in fragments(data)]
    (tmp_path / "cut").mkdir()
    path, steps = tmp_path / "cut" / "run-def67890.wandb", 0
    for size in range(len(data)):
        path.write_bytes(data[:size])
        runs, findings = runs_of(path.parent)
        found = sum(len(steps_of(found)) for found in runs.values())
        assert steps <= found <= steps + 1
        steps = found
        assert bool(findings.problems) == (size not in ends or not runs)
    assert steps == 50


def test_a_flipped_byte_costs_its_record_only_and_names_the_place(tmp_path: Path) -> None:
    data = small()
    places = fragments(data)
    for place in range(places[1][0] + 7, len(data)):
        hit = next(number for number, (start, end, _) in enumerate(places) if start <= place < end)
        changed = bytearray(data)
        changed[place] ^= 0x15
        (tmp_path / "run-r.wandb").write_bytes(changed)
        runs, findings = runs_of(tmp_path)
        steps = steps_of(runs["r"])
        if place < places[hit][0] + 7 and place not in range(places[hit][0], places[hit][0] + 4):
            assert set(range(hit - 1)) <= set(steps) < set(range(8))  # its size or kind: up to the next block
        else:
            assert steps == [step for step in range(8) if step != hit - 1]
        assert findings.problems
        assert f"byte {places[hit][0]:,}:" in findings.problems[0]


def test_records_that_are_damaged_inside_cost_themselves_only(tmp_path: Path) -> None:
    (path,) = unpack(tmp_path).glob("*abc12345/*.wandb")
    data = path.read_bytes()
    whole = [data[start + 7 : end] for start, end, kind in fragments(data) if kind == 1]
    chance, source = random.Random(3), tmp_path / "damaged"
    source.mkdir()
    for _ in range(60):
        (source / "run-r.wandb").write_bytes(log(run("r"), *mutated(chance, whole[:20] + whole[-60:])))
        assert read_whole(WandbSource(source, Findings()))


def test_damage_costs_no_more_than_its_block_and_the_record_that_ends_in_the_next(tmp_path: Path) -> None:
    data = bytearray(log(run("r"), *(history(step, loss="1", text='"' + "x" * 500 + '"') for step in range(400))))
    start = next(start for start, _, _ in fragments(data) if start > 32_768 * 2)
    data[start + 4 : start + 6] = b"\xff\xff"
    (tmp_path / "run-r.wandb").write_bytes(data)
    runs, findings = runs_of(tmp_path)
    steps = steps_of(runs["r"])
    lost = sorted(set(range(400)) - set(steps))
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert 40 < len(lost) < 70
    assert len(findings.problems) == 2


def test_records_over_several_blocks_and_keys_of_older_versions_are_read(tmp_path: Path) -> None:
    long = '"' + "größe " * 30_000 + '"'
    records = [run("r"), history(0, nested=False, loss="0.5", train__acc="1"), history(-3, word=long, loss="7")]
    (tmp_path / "run-r.wandb").write_bytes(log(*records, history(1, loss="2", deep='{"a": [1, null]}', no="null")))
    runs, findings = runs_of(tmp_path)
    points = points_of(runs["r"])
    assert [(step, value) for step, _, value in points["loss"]] == [(0, 0.5), (-3, 7.0), (1, 2.0)]
    assert points.keys() == {"loss", "train.acc"}
    assert {value.key: value.value for value in runs["r"].values()} == {
        "word": Text("größe " * 30_000),
        "deep": Text('{"a": [1, null]}'),
    }
    assert findings.problems == ()


def test_a_run_without_an_end_goes_on_with_the_next_reading(tmp_path: Path) -> None:
    path = tmp_path / "run-r.wandb"
    path.write_bytes(log(run("r"), history(0, loss="1")))
    first = runs_of(tmp_path)[0]["r"]
    path.write_bytes(log(run("r"), history(0, loss="1"), history(1, loss="2"), field(18, field(1, 3))))
    assert (first.status, steps_of(first)) == ("KILLED", [0])
    again = runs_of(tmp_path)[0]["r"]
    assert (again.status, steps_of(again)) == ("FAILED", [0, 1])


def test_files_of_something_else_are_named(tmp_path: Path) -> None:
    damaged = log(run("r"), b"\xff" * 20, field(2, b"\x0a\x7f"))
    for data in (b"", MAGIC, MAGIC[:3], b"x" * 100, log(b"\xff" * 9), damaged):
        (tmp_path / "run-r.wandb").write_bytes(data)
        runs, findings = runs_of(tmp_path)
        assert findings.problems, data
        assert sum(len(points_of(found)) for found in runs.values()) == 0


def test_output_in_records_becomes_the_log_where_wandb_left_none(tmp_path: Path) -> None:
    lines = [field(13, field(3, text)) for text in (b"a", b"\n", b"b\n")]
    (tmp_path / "run-r.wandb").write_bytes(log(run("r"), *lines))
    assert contents(runs_of(tmp_path)[0]["r"]) == {"output.log": b"a\nb\n"}


def test_files_of_artifacts_come_where_they_are_what_was_logged(tmp_path: Path) -> None:
    local = tmp_path / "staged"
    local.write_bytes(b"weights")
    digest = base64.b64encode(hashlib.md5(b"weights").digest())
    entry = field(1, b"a/w.bin") + field(2, digest) + field(4, 7) + field(6, str(local).encode())
    artifact = field(8, field(4, b"model") + field(5, b"net") + field(12, field(4, entry)))
    (tmp_path / "run-r.wandb").write_bytes(log(run("r"), artifact))
    runs, findings = runs_of(tmp_path)
    assert contents(runs["r"]) == {"artifacts/model/net/a/w.bin": b"weights"}
    assert findings.omissions == ()
    local.write_bytes(b"secrets")
    runs, findings = runs_of(tmp_path)
    assert contents(runs["r"]) == {}
    assert findings.omissions == ("files of wandb's artifacts that are not on this machine: 1",)


def test_a_source_is_recognized(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    places = [source, tmp_path, next(source.iterdir()), next(source.glob("*/*.wandb"))]
    assert [kind_of(place).name for place in places] == ["wandb"] * 4

"""Comet's archives: every number, facts, files, experiments that go on, and archives that are not what they say."""

from __future__ import annotations

import contextlib
import json
import random
import zipfile
from pathlib import Path

import pytest

from mltrack.importers.comet.importer import CometImporter
from mltrack.importers.comet.names import file_name, metric_name
from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.importers.png_image import PngImage
from mltrack.importers.source import SourceError, SourceRun
from mltrack.store import Store
from mltrack.values.rich import Text
from tests.support.comet_sources import (
    FIRST,
    SECOND,
    archive_of,
    change_messages,
    message,
    unpack,
    write_archive,
)
from tests.support.mutations import mutated, read_whole
from tests.support.source_reading import contents, points_of

HEAD = {"offline_id": "a" * 32, "project_name": "p", "start_time": 1_700_000_000_000, "stop_time": 1_700_000_001_000}


def runs_of(path: Path) -> tuple[dict[str, SourceRun], Findings]:
    findings = Findings()
    return {run.source_id: run for run in CometImporter().open(path, findings).runs()}, findings


def written(folder: Path, *lines: bytes, **members: bytes) -> Path:
    path = folder / "made.zip"
    write_archive(path, {"experiment.json": json.dumps(HEAD).encode(), "messages.json": b"".join(lines), **members})
    return path


def upload(member: str, kind: str = "asset", **more: object) -> bytes:
    payload = {"file_path": member, "upload_type": kind, "additional_params": more, "local_timestamp": 1}
    return json.dumps({"type": "file_upload", "payload": payload}).encode() + b"\n"


def test_every_number_comes_with_its_step_and_its_time(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    runs, findings = runs_of(source)
    for run, paths in ((FIRST, sorted(source.glob("f*.zip"), reverse=True)), (SECOND, [archive_of(source, SECOND)])):
        expected: dict[str, list[tuple[int, int, str]]] = {}
        for path in paths:
            with zipfile.ZipFile(path) as packed:
                records = map(json.loads, packed.read("messages.json").splitlines())
            for payload in (record["payload"] for record in records if record["type"] == "metric_msg"):
                metric = payload["metric"]
                value = repr(float(str(metric["metricValue"]).replace("Infinity", "inf")))
                row = (metric["step"], payload["local_timestamp"] * 1_000_000, value)
                expected.setdefault(metric["metricName"], []).append(row)
        found = points_of(runs[run])
        own = {key for key in expected if not key.startswith("sys.")}
        assert own == {key for key in found if not key.startswith("system/")}
        for key in own:
            assert [(step, time, repr(value)) for step, time, value in found[key]] == expected[key], key
    assert findings.problems == ()


def test_facts_params_and_tags_come_along(tmp_path: Path) -> None:
    runs, findings = runs_of(unpack(tmp_path))
    first = runs[FIRST]
    assert (first.name, first.experiment, first.user, first.status) == ("first", "spirals", "ada", "FINISHED")
    assert first.params == {
        "lr": "0.1",
        "model.depth": "3",
        "model.name": "mlp",
        "layers": "[1, 2]",
        "bias": "True",
        "none": "None",
        "word": "größe",
    }
    assert first.tags == {
        "comet.tags": '["a", "b"]',
        "comet.note": "a note",
        "comet.host": "somewhere",
        "comet.workspace": "lab",
    }
    assert first.end_time is not None
    assert 0 < first.start_time < first.end_time
    assert findings.omissions == ("files that Comet only has the addresses of: 1",)


def test_texts_images_files_and_the_console_come_along(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    values = [(value.key, value.step, value.value) for value in runs[FIRST].values()]
    assert [(key, step) for key, step, _ in values] == [("text", 301), ("pixels", 302)]
    assert values[0][2] == Text("größe")
    assert isinstance(values[1][2], PngImage)
    files = contents(runs[FIRST])
    assert files["weights.bin"] == files["models/mlp/weights.bin"] == bytes(range(256))
    assert (files["table.csv"], files["graph.txt"]) == (b"a,b\r\n1,x\r\n2,y\r\n", b"a graph")
    assert b"a line of the console\n" in files["output.log"]
    assert sorted(files) == [
        "graph.txt",
        "histogram3d/weights",
        "html.html",
        "models/mlp/weights.bin",
        "output.log",
        "requirements.txt",
        "table.csv",
        "weights.bin",
    ]


def test_an_archive_that_goes_on_with_an_experiment_adds_to_its_run(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    more = next(source.glob("f*-*.zip"))
    kept = more.rename(tmp_path / "kept")
    store = Store.create(tmp_path / "store")
    import_source(store, source)
    kept.rename(more)
    added = import_source(store, source)
    assert (added.created, added.runs) == (0, 1)
    assert added.points > 10
    assert compare_source(store, source).same


def test_an_exception_that_ended_the_program_makes_the_run_failed(tmp_path: Path) -> None:
    path = archive_of(unpack(tmp_path), SECOND)
    with zipfile.ZipFile(path) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    head = json.loads(members["experiment.json"])
    texts = {
        "Unexpected error detected in the user script: ValueError('broken')": ("FAILED", "ValueError('broken')"),
        "Unexpected error while logging figure": ("FINISHED", None),
    }
    for text, expected in texts.items():
        said = {**head, "customer_error_reported": True, "customer_error_message": text}
        write_archive(path, {**members, "experiment.json": json.dumps(said).encode()})
        [run] = runs_of(path)[0].values()
        assert (run.status, run.tags.get("comet.error")) == expected


def test_one_archive_is_a_source(tmp_path: Path) -> None:
    runs, _ = runs_of(archive_of(unpack(tmp_path), SECOND))
    assert list(runs) == [SECOND]


@pytest.mark.parametrize(
    ("key", "context", "name"),
    [
        ("loss", None, "loss"),
        ("loss", "train", "train_loss"),
        ("sys.gpu.1.gpu_utilization", None, "system/gpu_1_utilization_percentage"),
        ("sys.load.avg", None, "system/load.avg"),
    ],
)
def test_metrics_are_named_with_their_context(key: str, context: str | None, name: str) -> None:
    assert metric_name(key, context) == (name, 1.0)


def test_files_are_named_by_what_they_were_logged_as() -> None:
    assert file_name("audio", {"fileName": "a", "extension": "wav"}) == "audio/a.wav"
    assert file_name("text-sample", {"fileName": "auto-generated-in-the-backend", "assetId": "x"}) == "text-sample/x"


def test_files_of_one_name_each_get_a_name_of_their_own(tmp_path: Path) -> None:
    lines = [upload(name, fileName="a.txt", step=3) for name in ("one", "two", "three")]
    runs, _ = runs_of(written(tmp_path, *lines, one=b"1", two=b"2", three=b"3"))
    assert contents(runs["a" * 32]) == {"a.txt": b"1", "a-3.txt": b"2", "a-3-1.txt": b"3"}


def test_names_that_lead_out_of_the_run_are_refused_and_named(tmp_path: Path) -> None:
    path = written(tmp_path, upload("one", fileName="../../evil"), upload("two", fileName="/evil"), one=b"1", two=b"2")
    store = Store.create(tmp_path / "store")
    report = import_source(store, path)
    assert (report.artifacts, len(report.problems)) == (0, 2)
    assert not list(tmp_path.rglob("evil*"))


def test_a_member_that_is_not_there_is_named(tmp_path: Path) -> None:
    runs, findings = runs_of(written(tmp_path, upload("../../etc/passwd", fileName="a")))
    assert contents(runs["a" * 32]) == {}
    assert any("is not in the archive" in problem for problem in findings.problems)


def test_a_member_that_unpacks_to_far_more_than_it_takes_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, upload("big", fileName="a"), big=bytes(1_000))
    data = bytearray(path.read_bytes())
    for sign, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = data.rindex(b"big") if sign == b"PK\x01\x02" else data.index(b"big")
        start = data.rindex(sign, 0, place)
        data[start + at : start + at + 4] = (3 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    report = import_source(Store.create(tmp_path / "store"), path)
    assert report.artifacts == 0
    assert any("unpacks to 3,221,225,472" in problem for problem in report.problems)


def test_a_message_of_more_than_a_line_can_have_or_of_another_sort_is_named(tmp_path: Path) -> None:
    odd = [message("x", "words", 1), message("x", 1.0, None), b'{"type": 3}\n', b"[]\n", message("y", 2.0, 7.5)]  # type: ignore[arg-type]
    runs, findings = runs_of(written(tmp_path, *odd))
    assert [(step, value) for step, _, value in points_of(runs["a" * 32])["x"]] == [(0, 1.0)]
    assert [problem.rpartition("line ")[2][:2] for problem in findings.problems] == ["1:", "3:", "4:", "5:"]


def test_a_number_without_a_step_has_that_of_the_number_before_it(tmp_path: Path) -> None:
    lines = [message("x", 1.0, 7), message("y", 2.0, None), message("x", 3.0, 8), message("x", 4.0, None)]
    runs, _ = runs_of(written(tmp_path, *lines))
    found = {key: [step for step, _, _ in rows] for key, rows in points_of(runs["a" * 32]).items()}
    assert found == {"x": [7, 8, 8], "y": [7]}


def test_other_zip_files_are_not_archives(tmp_path: Path) -> None:
    write_archive(tmp_path / "other.zip", {"experiment.json": b"{}"})
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04")
    assert not CometImporter().recognizes(tmp_path)
    with pytest.raises(SourceError, match="no ZIP file"):
        CometImporter().open(tmp_path, Findings())


def test_a_head_that_is_damaged_is_named(tmp_path: Path) -> None:
    write_archive(tmp_path / "made.zip", {"experiment.json": b"[", "messages.json": b""})
    runs, findings = runs_of(tmp_path)
    assert runs == {}
    assert findings.problems[0].startswith("made.zip: experiment.json is not JSON")


@pytest.mark.slow
def test_messages_changed_at_random_raise_nothing(tmp_path: Path) -> None:
    source, chance = unpack(tmp_path), random.Random(5)
    with zipfile.ZipFile(archive_of(source, FIRST)) as packed:
        records = packed.read("messages.json").splitlines(keepends=True)
    for _ in range(150):
        change_messages(archive_of(source, FIRST), lambda _: b"".join(mutated(chance, records)))
        with contextlib.closing(CometImporter().open(source, Findings())) as opened:
            assert read_whole(opened) > 50


@pytest.mark.slow
def test_archives_damaged_at_random_raise_nothing(tmp_path: Path) -> None:
    source, chance = unpack(tmp_path), random.Random(6)
    path = archive_of(source, FIRST)
    whole = path.read_bytes()
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(3):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        with contextlib.closing(CometImporter().open(source, Findings())) as opened:
            assert read_whole(opened) > 50

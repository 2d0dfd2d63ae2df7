"""ClearML's sessions: every number, facts, files, sessions that go on, and sessions that are not what they say."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import zipfile
from pathlib import Path

import pytest

from mltrack.environment import NOTE_TAG
from mltrack.importers.clearml.importer import ClearmlImporter
from mltrack.importers.findings import Findings
from mltrack.importers.png_image import PngImage
from mltrack.importers.source import SourceError, SourceRun
from tests.support.clearml_sources import event, folder_of, unpack
from tests.support.mutations import mutated, read_whole
from tests.support.source_reading import contents, points_of


def runs_of(path: Path) -> tuple[dict[str, SourceRun], Findings]:
    findings = Findings()
    return {run.name: run for run in ClearmlImporter().open(path, findings).runs()}, findings


def change_task(session: Path, **fields: object) -> None:
    path = session / "task.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_every_number_comes_with_its_step_and_its_time(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    runs, findings = runs_of(source)
    with zipfile.ZipFile(next(source.glob("*.zip"))) as packed:
        lines = packed.read("metrics.jsonl").splitlines()
    expected: dict[str, list[tuple[int, int, float]]] = {}
    for each in (each for line in lines for each in json.loads(line) if "value" in each):
        key = f"{each['metric']}/{each['variant']}"
        row = (max(each["iter"], 0), each["timestamp"] * 1_000_000, each["value"])
        expected.setdefault(key, []).append(row)
    names = {
        "accuracy/accuracy": "accuracy",
        ":monitor:machine/cpu_usage": "system/cpu_utilization_percentage",
        ":monitor:gpu/gpu_0_utilization": "system/gpu_0_utilization_percentage",
    }
    assert points_of(runs["first"]) == {names.get(key, key): rows for key, rows in expected.items()}
    assert findings.problems == ()


def test_facts_params_and_tags_come_along(tmp_path: Path) -> None:
    runs, findings = runs_of(unpack(tmp_path))
    first = runs["first"]
    assert (first.experiment, first.status) == ("lab/spirals", "FINISHED")
    assert first.params == {
        "lr": "0.1",
        "model/depth": "3",
        "model/name": "mlp",
        "layers": "[1, 2]",
        "bias": "True",
        "word": "größe",
        "Loader/workers": "4",
    }
    assert (first.tags["clearml.tags"], first.tags[NOTE_TAG]) == ('["a", "b"]', "a note")
    assert first.end_time is not None
    assert 0 < first.start_time < first.end_time
    assert findings.omissions == ()


def test_images_artifacts_plots_and_the_console_come_along(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    values = list(runs["first"].values())
    assert [(value.key, value.step) for value in values] == [("pixels/png", 3)]
    assert isinstance(values[0].value, PngImage)
    files = contents(runs["first"])
    assert files["artifacts/weights/weights.bin"] == bytes(range(256))
    assert files["output.log"] == b"a line of the console\n"
    assert sorted(files) == [
        "artifacts/object/object.json",
        "artifacts/weights/weights.bin",
        "configuration/optimizer",
        "media/pixels/jpeg_3.jpeg",
        "output.log",
        "plots/weights/layer_2.json",
        "requirements.txt",
        "uncommitted.diff",
    ]


def test_of_a_folder_and_its_archive_the_archive_is_read(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    folder = folder_of(source)
    with zipfile.ZipFile(source / f"{folder.name}.zip", "w") as packed:
        for path in folder.iterdir():
            packed.write(path, path.name)
    runs, _ = runs_of(source)
    assert (len(runs), runs["second"].where) == (2, f"{folder.name}.zip")


@pytest.mark.parametrize("pattern", ["*.zip", "*[!.zip]"])
def test_one_session_is_a_source(pattern: str, tmp_path: Path) -> None:
    runs, _ = runs_of(next(unpack(tmp_path).glob(pattern)))
    assert len(runs) == 1


def test_artifacts_that_are_elsewhere_are_counted_and_never_read(tmp_path: Path) -> None:
    session = folder_of(unpack(tmp_path))
    (tmp_path / "secret").write_text("secret")
    (session / "link").symlink_to(tmp_path / "secret")
    uris = ["/etc/passwd", "/there/../../../secret", "/there/link", "s3://bucket/x", None]
    artifacts = [{"key": f"a{number}", "uri": uri} for number, uri in enumerate(uris)]
    change_task(session, offline_folder="/there", execution={"artifacts": artifacts})
    runs, findings = runs_of(session)
    assert not any(name.startswith("artifacts/") for name in contents(runs["second"]))
    assert findings.omissions == ("artifacts that are not in the session: 5",)


def test_a_session_where_clearml_writes_it_ends_with_its_archive(tmp_path: Path) -> None:
    session = folder_of(unpack(tmp_path))
    assert runs_of(session)[0]["second"].status == "FINISHED"  # it was moved
    change_task(session, offline_folder=str(session.resolve()))
    assert runs_of(session)[0]["second"].status == "KILLED"
    session.with_name(f"{session.name}.zip").write_bytes(b"")
    assert runs_of(session)[0]["second"].status == "FINISHED"


def test_a_zip_file_and_a_folder_of_one_session_are_one_run(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    shutil.make_archive(str(folder_of(source)), "zip", folder_of(source))
    assert sorted(run.name for run in ClearmlImporter().open(source, Findings()).runs()) == ["first", "second"]


def test_events_of_other_tasks_are_left_and_those_of_unknown_types_are_counted(tmp_path: Path) -> None:
    session = folder_of(unpack(tmp_path))
    with (session / "metrics.jsonl").open("a") as file:
        file.write(event("another", iter=700, value=1.0))
        file.write(event(session.name, type="training_stats_vector", values=[1]))
        file.write(event(session.name, value="words"))
        file.write(event(session.name, iter="x", value=1.0))
    runs, findings = runs_of(session)
    assert len(points_of(runs["second"])["loss/train"]) == 50
    assert findings.omissions == ("events of the type training_stats_vector: 1",)
    assert len(findings.problems) == 2


def test_a_task_that_is_damaged_is_named(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    (folder_of(source) / "task.json").write_text("[")
    runs, findings = runs_of(source)
    assert list(runs) == ["first"]
    assert "task.json is not JSON" in findings.problems[0]


def test_a_task_with_fields_of_other_forms_is_read(tmp_path: Path) -> None:
    session = folder_of(unpack(tmp_path))
    change_task(session, hyperparams=[1], execution="x", script=None, tags=3, configuration={"a": 1}, name=None)
    runs, findings = runs_of(session)
    assert list(runs) == [session.name]
    assert (runs[session.name].params, findings.problems) == ({}, ())


def test_other_folders_are_not_sessions(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text("{}")
    assert not ClearmlImporter().recognizes(tmp_path)
    with pytest.raises(SourceError, match=r"has a task\.json"):
        ClearmlImporter().open(tmp_path, Findings())


@pytest.mark.slow
def test_events_changed_at_random_raise_nothing(tmp_path: Path) -> None:
    session, chance = folder_of(unpack(tmp_path)), random.Random(5)
    records = (session / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    for _ in range(150):
        (session / "metrics.jsonl").write_bytes(b"".join(mutated(chance, records)))
        with contextlib.closing(ClearmlImporter().open(session, Findings())) as opened:
            assert read_whole(opened) > 1

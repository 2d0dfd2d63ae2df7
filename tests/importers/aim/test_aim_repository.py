"""aim's repositories: every number as aim reads it, facts, media, a live repository, torn and hostile files."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.environment import NOTE_TAG
from mltrack.errors import UsageError
from mltrack.importers.aim.encoding import TypedObject, decode_path, decode_value, encode_path, fold
from mltrack.importers.aim.importer import AimImporter
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.importers.kinds import kind_of
from mltrack.importers.png_image import PngImage
from mltrack.importers.source import SourceRun
from mltrack.store import Store
from mltrack.values.rich import Histogram, Text
from tests.support.aim_sources import NEWEST, NO_CONTEXT, OLDER, chunk_of, put, read_by_aim, run_of, unpack
from tests.support.mutations import changed, read_whole
from tests.support.source_reading import contents, points_of

SYSTEM = {"memory_percent": "system_memory_usage_percentage", "disk_percent": "disk_usage_percentage"}
NAMES = {
    '["same", {"a": "x"}]': "a=x/same",
    '["same", {"b": "x"}]': "b=x/same",
    '["loss", {"subset": "train"}]': "train/loss",
    '["accuracy", {"fold": 1, "subset": "val"}]': "val/1/accuracy",
}


def runs_of(path: Path) -> tuple[dict[str, SourceRun], Findings]:
    findings = Findings()
    source = AimImporter().open(path, findings)
    return {run.name: run for run in source.runs()}, findings


def name_of(name: str) -> str:
    key = str(json.loads(name)[0])
    own = key.removeprefix("__system__")
    return NAMES.get(name, key if own == key else f"system/{SYSTEM.get(own, own)}")


@pytest.mark.parametrize("version", [NEWEST, OLDER])
def test_every_number_is_as_aim_reads_it(version: str, tmp_path: Path) -> None:
    unpack(tmp_path)
    read = read_by_aim(tmp_path)
    (tmp_path / "source").mkdir()
    runs, findings = runs_of(unpack(tmp_path / "source", version))
    assert runs.keys() == read.keys() == {"first", "second", "killed"}
    for name, metrics in read.items():
        found = points_of(runs[name])
        steps = {key: sorted((step, repr(value)) for step, _, value in rows) for key, rows in found.items()}
        expected = {name_of(key): sorted(map(tuple, rows)) for key, rows in metrics.items()}
        assert steps.keys() == expected.keys()
        compared = [key for key in steps if version == NEWEST or not key.startswith("system/")]
        assert {key: steps[key] for key in compared} == {key: expected[key] for key in compared}
        for rows in found.values():
            times = [time for _, time, _ in rows]
            assert times == sorted(times)
            assert 1_795_000_000 < times[0] / 1e9 < 1_797_000_000
    assert findings.problems == ()


@pytest.mark.parametrize("version", [NEWEST, OLDER])
def test_facts_and_media_come_and_what_has_no_place_is_listed(version: str, tmp_path: Path) -> None:
    runs, findings = runs_of(unpack(tmp_path, version))
    first = runs["first"]
    assert (first.experiment, first.status, runs["second"].status) == ("spirals", "FINISHED", "FINISHED")
    assert (runs["killed"].status, runs["killed"].end_time) == ("KILLED", None)
    assert first.params == {
        "hparams.lr": "0.1",
        "hparams.layers": '[1, 2, {"a": null}]',
        "hparams.model.depth": "3",
        "hparams.model.word": "größe",
        "hparams.none": "None",
        "bias": "True",
        "empty": "{}",
        "large": "9007199254740993",
    }
    assert first.tags == {"aim.tags": '["a", "größe"]', NOTE_TAG: "# A *note*"}
    assert runs["second"].tags == {"aim.archived": "True"}
    values = {(value.key, value.step): value.value for value in first.values()}
    assert values["word", 4] == Text("größe")
    assert values["weights", 5] == Histogram.from_counts([10.0] * 10, [9.9 * edge for edge in range(11)])
    pictures = [value.key for value in first.values() if isinstance(value.value, PngImage)]
    assert pictures == [*(["photo"] if version == OLDER else []), "pictures", "pictures", "val/picture"]
    files = contents(first)
    expected = ["captions of images: 1", "metrics of which the points have epochs: 1"]
    if version == NEWEST:
        assert files["media/photo/3_0.jpeg"].startswith(b"\xff\xd8\xff")
        assert files["output.log"].decode().splitlines()[:2] == ["one line", "größe"]
        assert "WARNING look here" in files["messages.log"].decode()
        expected.insert(0, "artifacts that are not on this machine: 1")
    assert list(findings.omissions) == expected


def test_artifacts_notes_and_what_aim_noted_of_the_machine_come(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    (source / "a b.txt").write_text("weights")
    uri = (source / "a b.txt").as_uri().encode()
    noted = ("attrs", "__system_params")
    facts: dict[tuple[str | int, ...], bytes] = {
        ("artifacts", "a b.txt"): b"\x0faim.artifact",
        ("artifacts", "a b.txt", "uri"): b"\4" + uri,
        (*noted, "packages", "numpy"): b"\x042.0",
        (*noted, "env_variables", "TOKEN"): b"\4secret",
        (*noted, "git_info", "branch"): b"\4main",
        (*noted, "git_info", "commit", "hash"): b"\x04abc",
        (*noted, "arguments"): b"\6",
        (*noted, "arguments", 0): b"\4train.py",
    }
    put(source, "second", facts, "meta")
    runs, findings = runs_of(source)
    assert contents(runs["second"]) == {"artifacts/a b.txt": b"weights", "requirements.txt": b"numpy==2.0\n"}
    assert runs["second"].tags == {
        "aim.archived": "True",
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.commit": "abc",
        "mlflow.source.name": "train.py",
    }
    assert not any("secret" in text for text in runs["second"].params.values())
    assert "environment variables of runs: 1" in findings.omissions


def test_a_damaged_block_costs_its_run_and_is_named(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    [table] = chunk_of(source, "second").glob("*.sst")
    data = bytearray(table.read_bytes())
    data[35_000:35_004] = b"torn"
    table.write_bytes(data)
    report = import_source(Store.create(tmp_path / "store"), source)
    [problem] = [each for each in report.problems if "'loss'" in each]
    assert problem.startswith(f"run {run_of(source, 'second')}: ")
    assert "checksum mismatch" in problem
    assert (report.created, report.points) == (3, 668)


def test_what_a_run_that_goes_on_has_only_in_its_log_comes_up_to_a_torn_end(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    [log] = [path for path in chunk_of(source, "killed").glob("*.log") if path.stat().st_size]
    log.write_bytes(log.read_bytes()[:-20])
    points = points_of(runs_of(source)[0]["killed"])
    assert 40 < len(points["loss"]) < 50


def test_files_that_are_links_are_not_read(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    folder = chunk_of(source, "second", "meta")
    (folder / "CURRENT").rename(tmp_path / "elsewhere")
    (folder / "CURRENT").symlink_to(tmp_path / "elsewhere")
    runs, findings = runs_of(source)
    assert runs.keys() == {"first", "killed"}
    assert "can't be read" in findings.problems[0]


def test_facts_of_any_type_and_names_of_any_form_end_no_import(tmp_path: Path) -> None:
    source, noted = unpack(tmp_path), ("attrs", "__system_params")
    facts: dict[tuple[str | int, ...], bytes] = {
        ("artifacts", "broken"): b"\x0faim.artifact",
        ("artifacts", "broken", "uri"): b"\4file://[::1/x",
        ("artifacts", "../above"): b"\x0faim.artifact",
        ("artifacts", "../above", "uri"): b"\4" + source.joinpath("run_metadata.sqlite").as_uri().encode(),
        (*noted, "env_variables"): b"\2" + bytes(8),
        ("traces", NO_CONTEXT, "__system__{x[0]}"): b"\7",
        ("traces", NO_CONTEXT, "__system__{x[0]}", "dtype"): b"\4float",
    }
    put(source, "second", facts, "meta")
    store = Store.create(tmp_path / "store")
    report = import_source(store, source)
    assert (report.created, [words for words in report.problems if "above" not in words]) == (3, [])
    assert "../above" in "".join(report.problems)
    assert [path.name for path in (tmp_path / "store").rglob("*above*")] == []


def test_any_damage_costs_no_more_than_a_run_and_ends_no_import(tmp_path: Path) -> None:
    chance = random.Random(1)
    for number in range(12):
        source = unpack(tmp_path / str(number))
        files = sorted(path for path in source.rglob("*") if path.is_file() and path.stat().st_size > 20)
        path = chance.choice([file for file in files if file.suffix != ".sqlite"])
        path.write_bytes(changed(chance, path.read_bytes()))
        assert read_whole(AimImporter().open(source, Findings())) > 300


@given(st.lists(st.one_of(st.text(min_size=1), st.integers(-(1 << 63), (1 << 63) - 1)), max_size=5))
def test_paths_are_read_as_they_were_written(path: list[str | int]) -> None:
    assert decode_path(encode_path(*path)) == tuple(path)


@pytest.mark.parametrize("data", [b"\2abc", b"\3", b"\1", b"\x09a"])
def test_values_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="a value of type"):
        decode_value(data)


def test_leaves_are_folded_into_lists_objects_and_types() -> None:
    leaves = {
        ("list",): b"\6",
        ("list", 1): b"\2" + struct.pack("<q", 5),
        ("list", 0, "a"): b"\0",
        ("empty",): b"\7",
        ("text",): b"\x0faim.text",
        ("text", "data"): b"\x04word",
    }
    assert fold((path, decode_value(data)) for path, data in leaves.items()) == {
        "list": [{"a": None}, 5],
        "empty": {},
        "text": TypedObject("aim.text", {"data": "word"}),
    }


@pytest.mark.parametrize("name", [".", ".aim"])
def test_a_repository_is_recognized_by_its_folders(name: str, tmp_path: Path) -> None:
    for folder in ("meta", "seqs"):
        (tmp_path / "work" / ".aim" / folder).mkdir(parents=True)
    assert kind_of(tmp_path / "work" / name).name == "aim"
    assert runs_of(tmp_path / "work" / name)[0] == {}
    (tmp_path / "work" / "data.csv").write_text("step,loss\n1,2\n")
    assert kind_of(tmp_path / "work").name == "csv"


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no folder \.aim"):
        import_source(Store.create(tmp_path / "store"), tmp_path, kind="aim")

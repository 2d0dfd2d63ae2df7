"""SwanLab's folders: every number as SwanLab reads it, facts, media, torn and hostile files."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from mltrack.environment import NOTE_TAG
from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.importers.log_file import LogFile
from mltrack.importers.png_image import PngImage
from mltrack.importers.source import SourceError, SourceRun
from mltrack.importers.swanlab.importer import SwanlabImporter
from mltrack.importers.swanlab.scalars import is_scalar
from mltrack.importers.times import ns_of
from mltrack.store import Store
from mltrack.values.rich import Text
from tests.support.mutations import mutated, read_whole
from tests.support.source_reading import contents, points_of
from tests.support.swanlab_sources import NEWEST, OLDER, head, log_of, read_by_swanlab, record, scalar, unpack

SYSTEM = {"cpu.pct": "cpu_utilization_percentage", "mem.pct": "system_memory_usage_percentage"}
SYSTEM["disk.usage"] = "disk_usage_percentage"


def runs_of(path: Path) -> tuple[dict[str, SourceRun], Findings]:
    findings = Findings()
    return {run.name: run for run in SwanlabImporter().open(path, findings).runs()}, findings


def name_of(key: str) -> str:
    own = key.removeprefix("__swanlab__.")
    return key if own == key else f"system/{SYSTEM.get(own, own)}"


@pytest.mark.parametrize("version", [NEWEST, OLDER])
def test_every_number_is_as_swanlab_reads_it(version: str, tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path, version))
    read = read_by_swanlab(tmp_path)
    assert runs.keys() == read.keys()
    for name, metrics in read.items():
        found = {
            key: [(step, time, repr(value)) for step, time, value in rows]
            for key, rows in points_of(runs[name]).items()
        }
        expected = {
            name_of(key): [(step, ns_of(time) if isinstance(time, str) else time, value) for step, time, value in rows]
            for key, rows in metrics.items()
        }
        assert found == expected


@pytest.mark.parametrize("version", [NEWEST, OLDER])
def test_facts_come_along(version: str, tmp_path: Path) -> None:
    runs, findings = runs_of(unpack(tmp_path, version))
    first, second, killed = (runs[name] for name in ("first", "second", "killed"))
    assert [run.status for run in (first, second, killed)] == ["FINISHED", "FAILED", "KILLED"]
    assert first.params["model.depth"] == "3"
    assert (first.params["layers"], first.params["word"]) == ("[1, 2]", "größe")
    assert (first.experiment, first.tags["swanlab.tags"], first.tags[NOTE_TAG]) == (
        "spirals",
        '["a", "b"]',
        "# A *note*",
    )
    assert first.end_time is not None
    assert 0 < first.start_time < first.end_time < second.start_time
    assert all("killed" in problem or "ends within a record" in problem for problem in findings.problems)


def test_group_git_and_error_are_tags(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    tags = runs["first"].tags
    assert (tags["swanlab.group"], tags["swanlab.job_type"], tags["swanlab.host"]) == ("sweep", "train", "somewhere")
    assert tags["mlflow.source.git.commit"] == "abc123"
    assert runs["second"].tags["swanlab.error"] == "it broke"


@pytest.mark.parametrize("version", [NEWEST, OLDER])
def test_texts_images_files_and_the_console_come_along(version: str, tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path, version))
    values = [(value.key, value.step, value.value) for value in runs["first"].values()]
    assert [(key, step) for key, step, _ in values] == [("word", 301), ("pixels", 302), ("pixels", 302)]
    assert values[0][2] == Text("größe")
    assert isinstance(values[1][2], PngImage)
    files = contents(runs["first"])
    assert b"a line of the console\n" in files["output.log"]
    assert any(name.startswith("media/") and name.endswith(".wav") for name in files)
    assert not any(name.endswith((".png", ".txt")) for name in files)


def test_two_folders_of_one_run_are_one_run(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    log = log_of(source, "killed")
    again = source / "run-20991231_235959-again"
    again.mkdir()
    start = next(LogFile(log, "", Findings(), head()).records())
    (again / "run-again.swanlab").write_bytes(head() + record(start) + record(scalar(b"loss", 31, 0.5)))
    runs, findings = runs_of(source)
    assert len(runs) == 3
    assert "output.log" in contents(runs["killed"])
    assert findings.problems == ()
    assert points_of(runs["killed"])["loss"][-1][::2] == (31, 0.5)


def test_a_run_that_went_on_gets_its_end_later(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    store = Store.create(tmp_path / "store")
    log = log_of(source, "first")
    whole = log.read_bytes()
    log.write_bytes(whole[:20_000])
    first = import_source(store, source)
    assert any("ends within a record" in problem for problem in first.problems)
    log.write_bytes(whole)
    second = import_source(store, source)
    assert (second.problems, second.created, first.points + second.points) == ((), 0, 490)
    assert compare_source(store, source).same


def test_names_of_media_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    run = tmp_path / "swanlog" / "run-20240101_000000-a"
    run.mkdir(parents=True)
    start = b"\x52\x07\x0a\x01p\x52\x02id"
    item = b"\x0a\x12\x0a\x10../../secret.txt"
    media = b"\x0a\x01t\x18\x04\x2a" + bytes([len(item)]) + item
    log = head() + record(start) + record(b"\x72" + bytes([len(media)]) + media)
    (run / "run-a.swanlab").write_bytes(log)
    runs, findings = runs_of(tmp_path / "swanlog")
    assert list(runs["id"].values()) == []
    assert any("leads out of" in problem or ".." in problem for problem in findings.problems)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"secret")
    (log_of(source, "first").parent / "files" / "weights.bin").symlink_to(tmp_path / "weights.bin")
    runs, findings = runs_of(source)
    assert "weights.bin" not in contents(runs["first"])
    assert any("weights.bin, a link that leads elsewhere" in words for words in findings.omissions)


def test_a_config_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    (tmp_path / "elsewhere.yaml").write_text("secret: 1\n")
    config = log_of(source, "first").parent / "files" / "config.yaml"
    config.unlink()
    config.symlink_to(tmp_path / "elsewhere.yaml")
    runs, _ = runs_of(source)
    assert "secret" not in runs["first"].params


def test_a_config_that_unfolds_to_millions_of_values_is_named(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    (log_of(source, "first").parent / "files" / "config.yaml").write_text("\n".join(lines))
    runs, findings = runs_of(source)
    assert runs["first"].params == {}
    assert any("config.yaml can't be read: more than" in problem for problem in findings.problems)


def test_a_log_of_a_version_that_is_not_known_is_named(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    log = log_of(source, "second")
    log.write_bytes(head(9) + log.read_bytes()[7:])
    runs, findings = runs_of(source)
    assert sorted(runs) == ["first", "killed"]
    assert any("has version 9 of SwanLab's format" in problem for problem in findings.problems)


def test_the_database_of_the_dashboard_is_not_a_log(tmp_path: Path) -> None:
    (tmp_path / "runs.swanlab").write_bytes(b"SQLite format 3\0")
    assert not SwanlabImporter().recognizes(tmp_path)
    with pytest.raises(SourceError, match="no file in it is a log"):
        SwanlabImporter().open(tmp_path, Findings())


def test_negative_steps_and_records_of_an_unusual_layout_are_read(tmp_path: Path) -> None:
    source = unpack(tmp_path)
    log = log_of(source, "killed")
    assert sum(map(is_scalar, LogFile(log, "", Findings(), head()).records())) == 30
    negative = b"\x0a\x01x\x10" + b"\xff" * 9 + b"\x01\x18\x01\x2a\x09\x09" + bytes(8)
    log.write_bytes(log.read_bytes() + record(b"\x6a" + bytes([len(negative)]) + negative))
    runs, _ = runs_of(source)
    assert points_of(runs["killed"])["x"] == [(-1, 0, 0.0)]


@pytest.mark.slow
@pytest.mark.parametrize("version", [NEWEST, OLDER])
def test_records_changed_at_random_raise_nothing(version: str, tmp_path: Path) -> None:
    source = unpack(tmp_path, version)
    log, chance = log_of(source, "first"), random.Random(5)
    magic = log.read_bytes()[:7]
    records = list(LogFile(log, "", Findings(), magic).records())
    for _ in range(200):
        log.write_bytes(magic + b"".join(map(record, records[:3] + mutated(chance, records))))
        with contextlib.closing(SwanlabImporter().open(source, Findings())) as opened:
            assert read_whole(opened) > 50

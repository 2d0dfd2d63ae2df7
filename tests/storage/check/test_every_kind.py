"""The check tells the whole truth: of every kind of file, what was doubled, lost, emptied or put in its place."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mltrack.disk.codec import decode_line, encode_line
from mltrack.disk.segment import write_segment
from mltrack.disk.segment_reader import read_blocks
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from tests.support.full_store import LOGS, PATTERNS, make_full_store
from tests.support.full_store import file_of as of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_full_store(tmp_path_factory.mktemp("full") / "store").path


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "store")
    return tmp_path / "store"


def errors(root: Path) -> list[str]:
    return [f"{f.path}: {f.what}" for f in check_store(root).findings if f.severity == "error"]


def test_a_store_with_a_file_of_every_kind_is_sound(root: Path) -> None:
    assert all(any(root.glob(pattern)) for pattern in PATTERNS.values())
    report = check_store(root)
    assert report.findings == []
    assert (report.runs, report.models, report.artifacts) == (2, 1, 6)


@pytest.mark.parametrize("kind", LOGS)
def test_a_duplicated_line_is_reported_anywhere(root: Path, kind: str) -> None:
    path = of(root, kind)
    lines = path.read_bytes().splitlines(keepends=True)
    for at in range(len(lines)):
        path.write_bytes(b"".join([*lines[: at + 1], *lines[at:]]))
        assert any(path.name in error for error in errors(root)), lines[at]
    path.write_bytes(b"".join(lines + lines))
    assert any(path.name in error for error in errors(root))


@pytest.mark.parametrize("kind", LOGS)
def test_a_missing_line_before_others_is_reported(root: Path, kind: str) -> None:
    path = of(root, kind)
    lines = path.read_bytes().splitlines(keepends=True)
    for at in range(len(lines) - 1):
        path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
        assert any(path.name in error for error in errors(root)), lines[at]


@pytest.mark.parametrize("kind", ["events", "facts", "points", "segment", "artifact", "store", "model"])
def test_a_file_cut_to_nothing_is_reported(root: Path, kind: str) -> None:
    if kind == "model":
        kept = of(root, kind).parent / "artifacts" / "weights.bin"
        kept.parent.mkdir()
        kept.write_bytes(b"w")
    of(root, kind).write_bytes(b"")
    assert errors(root)


@pytest.mark.parametrize("kind", ["experiments", "registry", "ledger", "uploads"])
def test_a_log_that_may_have_been_empty_from_the_start_is_noted(root: Path, kind: str) -> None:
    of(root, kind).write_bytes(b"")
    assert any("is empty" in finding.what for finding in check_store(root).findings)


@pytest.mark.parametrize("kind", [kind for kind in PATTERNS if kind != "store"])
@pytest.mark.parametrize("sort", ["pipe", "folder", "device"])
def test_anything_else_in_place_of_a_file_is_reported_without_waiting(root: Path, kind: str, sort: str) -> None:
    path = of(root, kind)
    path.unlink()
    if sort == "pipe":
        os.mkfifo(path)
    elif sort == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    assert any(path.name in error for error in errors(root))


def test_spans_whose_facts_are_gone_are_reported(root: Path) -> None:
    of(root, "facts").unlink()
    assert any("is missing, but this writer has spans" in error for error in errors(root))


def test_spans_that_no_fact_of_a_closed_writer_names_are_reported(root: Path) -> None:
    path = of(root, "spans")
    path.write_bytes(path.read_bytes() + encode_line({"seq": 1, "trace_id": "tr-1", "spans": ["{}"]}))
    assert any("does not name 1 line of spans" in error for error in errors(root))


def test_overlapping_segments_and_unread_names_are_reported(root: Path) -> None:
    segment = of(root, "segment")
    writer, _, rest = segment.name.partition(".")
    shutil.copy(segment, segment.with_name(f"{writer}.5-{rest.split('-')[1]}"))
    shutil.copy(segment, segment.with_name(f"{writer}.0-{10**40}.parquet"))
    found = errors(root)
    assert any("as the segment before it does" in error for error in found)
    assert any("files there have other names" in error for error in found)


@pytest.mark.slow
def test_a_sparse_file_of_a_terabyte_is_reported_quickly(root: Path) -> None:
    for kind in ("events", "points", "segment", "facts", "ledger", "artifact", "remotes"):
        path = of(root, kind)
        kept = path.read_bytes()
        os.truncate(path, 1 << 40)
        assert any(path.name in error for error in errors(root)), kind
        path.write_bytes(kept)


def test_a_remote_without_a_url_is_reported(root: Path) -> None:
    of(root, "remotes").write_text("[remotes.lab]\nkind = 'mlflow'\n")
    assert any("without a url" in error for error in errors(root))


def test_registry_lines_about_missing_things_are_reported(root: Path) -> None:
    Store.open(root)
    path = of(root, "registry")
    at = path.stat().st_size
    line = {"time": 1, "type": "alias", "name": "none", "alias": "a", "version": 1, "byte": at}
    path.write_bytes(path.read_bytes() + encode_line(line))
    assert any("alias" in error for error in errors(root))


def test_metrics_in_a_segment_that_its_writer_never_named_are_reported(root: Path) -> None:
    path = of(root, "segment")
    whole = next(read_blocks(path))
    write_segment(path, [replace(whole, keys=["loss", "stranger"])])
    assert any("1 metric that its writer did not name: 'stranger'" in error for error in errors(root))


def test_a_sparse_artifact_of_a_terabyte_is_reported_although_its_size_was_recorded(root: Path) -> None:
    path = of(root, "artifact")
    os.truncate(path, 1 << 40)
    path = next((path.parents[2] / "events").iterdir())
    lines = path.read_bytes().splitlines()
    time = decode_line(lines[-1])["time"]
    line = {"seq": len(lines), "time": time, "type": "artifact", "path": "notes/text.txt"}
    path.write_bytes(path.read_bytes() + encode_line({**line, "size": 1 << 40, "sha256": "0" * 64}))
    assert any("almost none of them on the disk" in error for error in errors(root))
